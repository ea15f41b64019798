"""Cells as means of gene vectors and as sentences: what is asked of any adapter, and what these alone can get wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate
from scfm_eval.models.card import card
from scfm_eval.models.gene2vec import Gene2vec, OtherGeneVectors
from scfm_eval.models.genept import GenePTS, GenePTW, sentence_sha256, sentences, write_sentences
from scfm_eval.models.protocols import Embedder, GeneEmbedder, Pretrained, missing_methods
from scfm_eval.store import Store
from scfm_eval.tasks import probes
from scfm_eval.tasks.annotation import Annotation
from tests.toys import toy_cells

FOLDER = Path(__file__).parent.parent / "parity" / "genept"
TABLE = {"TP53": [1.0, 0.0], "GATA1": [0.0, 2.0], "SPI1": [0.0, 0.0]}


def made_of(counts, genes, names=None):
    var = pd.DataFrame(index=genes)
    obs = pd.DataFrame(index=names or [f"c{i}" for i in range(len(counts))])
    return ad.AnnData(sparse.csr_matrix(np.array(counts, dtype=np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def golden():
    cells = ad.read_h5ad(FOLDER / "cells.h5ad")
    return cells[~np.isin(cells.obs_names, ["c3", "c5"])].copy()


@pytest.fixture(scope="module")
def model():
    return GenePTW(weights=FOLDER)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return path


class TestMean:
    def test_by_hand(self, table):
        made = GenePTW(weights=table).embed(made_of([[3, 1, 5, 2]], ["TP53", "GATA1", "SPI1", "OTHER"]))
        w = np.log1p(np.array([3, 1]) / 4 * 1e4)
        np.testing.assert_allclose(made, [[w[0] / w.sum(), 2 * w[1] / w.sum()]], rtol=1e-6)

    def test_total_of_all_genes_by_hand(self, table):
        cells = made_of([[3, 1, 5, 2]], ["TP53", "GATA1", "SPI1", "OTHER"])
        w = np.log1p(np.array([3, 1]) / 11 * 1e4)
        notebook = GenePTW(weights=table, total="all", divisor="genes")
        np.testing.assert_allclose(notebook.embed(cells), [[w[0] / 4, 2 * w[1] / 4]], rtol=1e-6)

    def test_genes_without_a_vector_change_nothing(self, model, golden):
        known = [gene for gene in golden.var_names if np.isfinite(model.embed_genes([gene])).all()]
        np.testing.assert_array_equal(model.embed(golden[:, known].copy()), model.embed(golden))

    @given(st.permutations(range(13)), st.integers(0, 999))
    @settings(max_examples=15, deadline=None)
    def test_order_of_cells_and_genes_changes_nothing(self, model, golden, order, seed):
        genes = np.random.default_rng(seed).permutation(golden.n_vars)
        turned = model.embed(golden[list(order)][:, genes].copy())
        np.testing.assert_array_equal(turned, model.embed(golden)[list(order)])

    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_a_cell_does_not_depend_on_the_others(self, model, golden, batch_size):
        small = GenePTW(weights=FOLDER, batch_size=batch_size)
        np.testing.assert_array_equal(small.embed(golden), model.embed(golden))
        np.testing.assert_array_equal(model.embed(golden[3:4].copy()), model.embed(golden)[3:4])

    def test_the_input_stays_as_it_is(self, model, golden):
        before = golden.X.copy()
        model.embed(golden)
        assert (before != golden.X).nnz == 0

    def test_backed_cells_are_read(self, model, golden, tmp_path):
        golden.write_h5ad(tmp_path / "cells.h5ad")
        backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        np.testing.assert_array_equal(model.embed(backed), model.embed(golden))

    def test_a_cell_without_a_readable_gene_is_named(self, model):
        cells = ad.read_h5ad(FOLDER / "cells.h5ad")
        with pytest.raises(InvalidInputError, match="2 cells without any gene that the model can read: c3, c5"):
            model.embed(cells)
        kept = GenePTW(weights=FOLDER, unread="keep").embed(cells)
        assert not kept[[3, 5]].any()
        assert kept[[0, 1, 2, 4]].any(axis=1).all()

    def test_stored_zeros_are_no_counts(self, model, golden):
        cells = golden[:2].copy()
        cells.X.data[cells.X.indptr[1] :] = 0
        with pytest.raises(InvalidInputError, match=f"1 cells .*: {cells.obs_names[1]}"):
            model.embed(cells)

    def test_a_gene_in_two_columns_is_refused(self, table):
        with pytest.raises(InvalidInputError, match="several columns for TP53"):
            GenePTW(weights=table).embed(made_of([[1, 2]], ["TP53", "TP53"]))

    def test_vectors_of_genes(self, table):
        made = GenePTW(weights=table).embed_genes(["GATA1", "SPI1", "OTHER", "TP53"])
        np.testing.assert_array_equal(made, [[0, 2], [np.nan] * 2, [np.nan] * 2, [1, 0]])

    def test_facts(self, model):
        assert model.n_parameters == (400 - 3) * 40
        assert (model.loaded_share, len(model.weights_sha256)) == (1.0, 64)
        assert len(GenePTW.vocabulary(FOLDER)) == 397

    def test_shares_without_a_vector(self, table):
        found = GenePTW(weights=table).missing(made_of([[3, 1, 5, 2], [0, 0, 0, 9]], ["TP53", "GATA1", "SPI1", "X1"]))
        assert (found.absent, found.without, found.genes, found.counts) == (1, 1, 0.5, 0.8)


class TestInTheSuite:
    def test_shares_of_genes_and_counts_are_in_the_result(self, tmp_path, monkeypatch):
        monkeypatch.setattr("scfm_eval.tasks.annotation._PROBES", {"": probes.nearest_neighbors})
        known = {f"GENE{i}": np.eye(1, 30, i).ravel() * (i != 0) for i in range(30)}
        (tmp_path / "table.pickle").write_bytes(pickle.dumps(known))
        dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
        cells = Cells(dataset, dataset.load())
        found = evaluate(
            Annotation(n_folds=3),
            GenePTW,
            cells,
            store=Store(tmp_path / "store"),
            resident=Resident(device="cpu", offline=True),
            weights=tmp_path / "table.pickle",
        )
        assert found.readable.genes == pytest.approx(29 / 40)
        counts = np.asarray(cells.adata.X.sum(axis=0)).ravel()
        assert found.readable.counts == pytest.approx(counts[1:30].sum() / counts.sum())
        assert "notebook" in found.model.definition
        assert found.model.parameters["divisor"] == "weights"

    @pytest.mark.parametrize("adapter", [GenePTW, GenePTS, Gene2vec, OtherGeneVectors])
    def test_cards(self, adapter):
        about = card(adapter)
        assert about.gene_ids == "symbol"
        assert about.licence != "not stated"
        assert about.definition
        assert not missing_methods(adapter, Embedder)

    @pytest.mark.parametrize("adapter", [GenePTW, Gene2vec, OtherGeneVectors])
    def test_without_weights_it_does_not_run(self, adapter, tmp_path, monkeypatch):
        monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
        monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
        assert not missing_methods(adapter, Pretrained)
        assert not missing_methods(adapter, GeneEmbedder)
        assert not adapter.available()
        with pytest.raises(InvalidInputError, match=f"--weights {adapter.name}="):
            adapter(offline=True)


class TestWhichFile:
    def test_the_file_itself_or_its_folder(self, table):
        (table.parent / "notes.md").write_text("x")
        assert GenePTW.locate(table) == GenePTW.locate(table.parent) == table
        assert GenePTW.sources(table.parent) == [table]
        assert GenePTW.available(table)

    def test_the_published_name_is_preferred(self):
        assert GenePTW.locate(FOLDER).name == "GPT_3_5_gene_embeddings.pickle"

    def test_several_tables_are_not_chosen_from(self, table):
        (table.parent / "other.npz").write_bytes(b"")
        with pytest.raises(InvalidInputError, match="give the file itself: --weights gene-vectors=FILE"):
            OtherGeneVectors.locate(table.parent)
        assert not OtherGeneVectors.available(table.parent)

    def test_another_kind_of_file_is_refused(self, tmp_path):
        (tmp_path / "w.bin").write_bytes(b"")
        with pytest.raises(InvalidInputError, match=r"w\.bin"):
            OtherGeneVectors.locate(tmp_path / "w.bin")

    def test_gene2vec_reads_the_published_form(self, tmp_path):
        (tmp_path / Gene2vec.downloads[0].name).write_text("2 2\nTP53 1 2\nGATA1 3 4\n")
        (tmp_path / "gene2vec_dim_200_iter_9.txt").write_text("TP53\t1 2 \nGATA1\t3 4 \n")
        made = Gene2vec(weights=tmp_path).embed(made_of([[0, 3]], ["TP53", "GATA1"]))
        np.testing.assert_array_equal(made, [[3, 4]])

    def test_downloads_are_pinned(self):
        assert Gene2vec.revision in Gene2vec.downloads[0].url
        assert GenePTW.revision.removeprefix("zenodo.") in GenePTW.downloads[0].url


class TestSentences:
    CELLS = made_of([[2, 0, 7, 2], [0, 0, 0, 1]], ["ZEB1", "ACTB", "MS4A1", "CD79A"], ["x", "y"])

    def test_by_hand(self):
        prompt = "A cell with genes ranked by expression: "
        assert sentences(self.CELLS) == [prompt + "MS4A1 CD79A ZEB1", prompt + "CD79A"]
        assert sentences(self.CELLS, max_genes=2)[0] == prompt + "MS4A1 CD79A"

    @given(st.permutations(range(4)))
    def test_the_order_of_genes_changes_nothing(self, order):
        assert sentences(self.CELLS[:, list(order)].copy()) == sentences(self.CELLS)

    def test_a_cell_without_counts_is_named(self):
        empty = made_of([[1, 0], [0, 0]], ["A", "B"])
        with pytest.raises(InvalidInputError, match=r"1 cells .*: c1"):
            sentences(empty)
        assert sentences(empty, unread="keep")[1] == "A cell with genes ranked by expression: "

    def test_stored_zeros_are_no_counts_and_stay_as_they_are(self):
        cells = self.CELLS.copy()
        cells.X.data[0] = 0
        assert sentences(cells)[0].endswith(": MS4A1 CD79A")
        assert cells.X.nnz == 4

    def test_they_are_written_for_a_language_model(self, tmp_path):
        path = write_sentences(self.CELLS, tmp_path / "texts.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["cell_id"] for line in lines] == ["x", "y"]
        assert [line["text"] for line in lines] == sentences(self.CELLS)
        assert [line["sha256"] for line in lines] == [sentence_sha256(text) for text in sentences(self.CELLS)]

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InvalidInputError, match="to write"):
            write_sentences(self.CELLS, tmp_path / "file" / "texts.jsonl")


class TestStoredSentences:
    ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])
    CELLS = TestSentences.CELLS

    def stored(self, folder, ids):
        np.savez(folder / "rows.npz", embedding=self.ROWS, cell_ids=np.array(ids))
        return GenePTS(weights=folder / "rows.npz")

    def test_found_by_the_names_of_the_cells(self, tmp_path):
        made = self.stored(tmp_path, ["y", "x"])
        np.testing.assert_array_equal(made.embed(self.CELLS), self.ROWS[::-1])
        assert made.sentences(self.CELLS) == sentences(self.CELLS)

    def test_found_by_their_sentences(self, tmp_path):
        made = self.stored(tmp_path, [sentence_sha256(text) for text in sentences(self.CELLS)])
        renamed = made_of(self.CELLS.X.toarray()[[1, 0, 1]], list(self.CELLS.var_names), ["p", "q", "r"])
        np.testing.assert_array_equal(made.embed(renamed), self.ROWS[[1, 0, 1]])

    def test_other_counts_have_no_row(self, tmp_path):
        made = self.stored(tmp_path, [sentence_sha256(text) for text in sentences(self.CELLS)])
        with pytest.raises(InvalidInputError, match="write_sentences"):
            made.embed(made_of([[9, 0, 7, 2]], list(self.CELLS.var_names)))

    def test_a_cell_without_a_row_is_named(self, tmp_path):
        made = self.stored(tmp_path, ["x", "z"])
        with pytest.raises(InvalidInputError, match="none for 1 of them: y"):
            made.embed(self.CELLS)

    def test_parquet_and_h5ad(self, tmp_path):
        pd.DataFrame(self.ROWS, index=["x", "y"], columns=["a", "b"]).to_parquet(tmp_path / "rows.parquet")
        np.testing.assert_array_equal(GenePTS(weights=tmp_path / "rows.parquet").embed(self.CELLS), self.ROWS)
        kept = ad.AnnData(obs=pd.DataFrame(index=["x", "y"]), obsm={"genept_s": self.ROWS})
        kept.write_h5ad(tmp_path / "rows.h5ad")
        made = GenePTS(weights=tmp_path / "rows.h5ad", key="genept_s").embed(self.CELLS)
        np.testing.assert_array_equal(made, self.ROWS)

    @pytest.mark.parametrize("given", [None, "gone.npz", "."])
    def test_no_file_of_rows_is_refused(self, given):
        with pytest.raises(InvalidInputError, match="--weights genept-s=FILE"):
            GenePTS(weights=given)

"""Cells of an organism that a model does not read: refused, or read through orthologs and said so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval.answers import StoredAnswers
from scfm_eval.cells import Cells, model_view, require_organism
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import clock, evaluate
from scfm_eval.models.card import card
from scfm_eval.store import Store
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.throughput import Throughput

MOUSE_SYMBOLS = ["Trp53", "Actb", "Cd3e", "Ms4a1", "Nkg7", "Alb", "Cd79a", "Cd19"]
HUMAN_SYMBOLS = ["TP53", "ACTB", "CD3E", "MS4A1", "NKG7", "ALB", "CD79A", "CD19"]
MOUSE_IDS = ["ENSMUSG00000059552", "ENSMUSG00000029580", "ENSMUSG00000032093", "ENSMUSG00000024673"]
HUMAN_IDS = ["ENSG00000141510", "ENSG00000075624", "ENSG00000198851", "ENSG00000156738"]
TABLE = (
    "human_ensembl\thuman_symbol\tmouse_ensembl\tmouse_symbol\n"
    "\tTP53\t\tTrp53\n\tACTB\t\tActb\n\tACTG1\t\tActb\n\tCD3E\t\tCd3e\n\tMS4A1\t\tMs4a1\n\tMS4A1\t\tNkg7\n"
)


def counted(genes, **var):
    counts = np.random.default_rng(0).poisson(3.0, size=(60, len(genes))).astype(np.float32)
    counts[:, :2] += 1
    obs = pd.DataFrame({"cell_type": np.array(["a", "b", "c"])[np.arange(60) % 3]}, index=[f"c{i}" for i in range(60)])
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(var, index=list(genes)))


def cells(genes=MOUSE_SYMBOLS, *, organism="Mus musculus", orthologs="", gene_ids="symbol", **var):
    dataset = Dataset(
        name="toy", build=lambda: counted(genes, **var), label_key="cell_type", organism=organism, gene_ids=gene_ids
    )
    return Cells(dataset, dataset.load(), orthologs=orthologs)


class Human:
    name = "human-model"
    gene_ids = "symbol"
    organisms = ("Homo sapiens",)
    loaded = 0

    def __init__(self):
        type(self).loaded += 1

    def embed(self, cells):
        return np.log1p(cells.X.toarray())

    def embed_genes(self, genes):
        return np.array([[len(gene), gene == gene.upper()] for gene in genes], dtype=np.float32)


class HumanIds(Human):
    name = "human-ids"
    gene_ids = "ensembl"


class Both(HumanIds):
    name = "both"
    organisms = ("Homo sapiens", "Mus musculus")

    @classmethod
    def locate(cls, weights=None, **_):
        return weights

    @classmethod
    def available(cls, *_):
        return True

    @classmethod
    def sources(cls, *_):
        return []

    @classmethod
    def vocabulary(cls, *_):
        return [*HUMAN_IDS[:3], MOUSE_IDS[3]]


class Anything(Human):
    name = "anything"
    organisms = ()


class MouseModel(Human):
    name = "mouse-model"
    organisms = ("Mus musculus",)


@pytest.fixture(autouse=True)
def _nothing_loaded():
    Human.loaded = 0


@pytest.fixture
def judge(tmp_path):
    def run(given, model=Human):
        store, resident = Store(tmp_path / "store"), Resident(device="cpu", precision="float32", offline=True)
        return evaluate(Annotation(), model, given, store=store, resident=resident)

    return run


def view(model, given, weights=None):
    return model_view(model, card(model), given, weights=weights)


def test_mouse_cells_are_refused_before_a_human_model_is_loaded_and_the_table_is_offered(judge):
    with pytest.raises(InvalidInputError, match="cells of Mus musculus, while human-model reads Homo sapiens") as told:
        judge(cells())
    assert "--orthologs packaged" in told.value.remedy
    resident = Resident(device="cpu", precision="float32", offline=True)
    with pytest.raises(InvalidInputError, match="Mus musculus"):
        clock(Throughput(), Human, cells(), name="human-model", resident=resident)
    assert Human.loaded == 0


@pytest.mark.parametrize("stated", ["Homo sapiens", "human", ""])
@pytest.mark.parametrize(("genes", "gene_ids"), [(MOUSE_SYMBOLS, "symbol"), (MOUSE_IDS, "ensembl")])
def test_mouse_genes_are_seen_where_nothing_or_human_is_stated(stated, genes, gene_ids):
    with pytest.raises(InvalidInputError, match="its genes are named as those of Mus musculus") as told:
        view(Human, cells(genes, organism=stated, gene_ids=gene_ids))
    assert "--orthologs packaged" in told.value.remedy
    assert (stated or "no organism") in told.value.found


def test_a_file_that_states_nothing_is_not_said_to_state_human():
    given = cells(MOUSE_SYMBOLS, organism="Homo sapiens")
    unstated = replace(given, dataset=replace(given.dataset, is_organism_stated=False))
    with pytest.raises(InvalidInputError, match="nothing is stated, which is taken as Homo sapiens; its genes"):
        view(Human, unstated)


def test_a_second_column_with_mouse_ids_is_seen_too():
    with pytest.raises(InvalidInputError, match="Mus musculus"):
        view(Human, cells(list("abcd"), organism="Homo sapiens", ensembl_id=MOUSE_IDS))


def test_with_the_packaged_table_mouse_cells_are_scored_and_the_result_says_so(judge):
    genes = [*MOUSE_SYMBOLS, "Gm99999", "Gapdh"]
    result = judge(cells(genes, orthologs="packaged"))
    told = result.readable.orthologs
    assert (told.table, told.organism, told.read_as) == ("packaged", "Mus musculus", "Homo sapiens")
    assert len(told.table_sha256) == 64
    # Gapdh is one of a family that is many-to-many, which the packaged table leaves out
    assert (told.mapped.n_genes, told.dropped.n_genes) == (8, 2)
    assert told.kept.n_genes == told.ambiguous.n_genes == 0
    parts = (told.mapped, told.kept, told.dropped, told.ambiguous)
    assert sum(part.genes for part in parts) == pytest.approx(1)
    assert sum(part.counts for part in parts) == pytest.approx(1)
    assert told.mapped.genes == result.readable.genes
    assert told.mapped.counts == pytest.approx(result.readable.counts)
    (note,) = [note for note in result.notes if "ortholog table" in note]
    assert "Mus musculus genes of toy were read as Homo sapiens genes by the ortholog table packaged" in note
    assert "2 dropped without an ortholog" in note
    assert result["macro_f1"] is not None


def test_genes_get_the_names_of_their_orthologs_and_not_their_own_in_capitals():
    given = cells(orthologs="packaged")
    seen, _ = view(Human, given)
    assert seen.var_names.tolist() == HUMAN_SYMBOLS
    np.testing.assert_array_equal(seen[:, "TP53"].X.toarray(), given.adata[:, "Trp53"].X.toarray())


@pytest.mark.parametrize(
    ("genes", "gene_ids", "var"),
    [
        (MOUSE_SYMBOLS[:4], "symbol", {}),
        (MOUSE_IDS, "ensembl", {}),
        ([f"{gene}.7" for gene in MOUSE_IDS], "ensembl", {}),
        (list("abcd"), "symbol", {"ensembl_id": MOUSE_IDS}),
    ],
)
@pytest.mark.parametrize(("reader", "names"), [(HumanIds, HUMAN_IDS), (Human, HUMAN_SYMBOLS[:4])])
def test_any_namespace_leads_to_any(genes, gene_ids, var, reader, names):
    seen, readable = view(reader, cells(genes, gene_ids=gene_ids, orthologs="packaged", **var))
    assert seen.var_names.tolist() == names
    assert readable.orthologs.mapped.n_genes == 4


def test_a_gene_that_is_not_one_to_one_is_dropped_and_counted(tmp_path):
    table = tmp_path / "mine.tsv"
    table.write_text(TABLE)
    given = cells([*MOUSE_SYMBOLS[:5], "Alb"], orthologs=str(table))
    seen, readable = view(Human, given)
    # Actb has two orthologs, and Ms4a1 and Nkg7 share one: none of them is one-to-one
    assert seen.var_names.tolist() == ["TP53", "CD3E"]
    told = readable.orthologs
    assert (told.mapped.n_genes, told.ambiguous.n_genes, told.dropped.n_genes) == (2, 3, 1)
    assert readable.ambiguous == ["Actb", "Ms4a1", "Nkg7"]
    counts = given.adata.to_df().sum()
    assert told.ambiguous.counts == pytest.approx(counts[["Actb", "Ms4a1", "Nkg7"]].sum() / counts.sum())
    assert told.table == "mine.tsv"


def test_a_model_of_both_keeps_the_mouse_genes_that_it_knows(tmp_path):
    given = cells(MOUSE_IDS, gene_ids="ensembl", orthologs="packaged")
    seen, readable = view(Both, given, weights=tmp_path)
    assert seen.var_names.tolist() == [*HUMAN_IDS[:3], MOUSE_IDS[3]]
    assert (readable.orthologs.mapped.n_genes, readable.orthologs.kept.n_genes) == (3, 1)
    alone, readable = view(Both, replace(given, orthologs=""), weights=tmp_path)
    assert alone.var_names.tolist() == MOUSE_IDS[3:]
    assert readable.orthologs is None
    with pytest.raises(InvalidInputError, match="--orthologs packaged"):
        view(Both, cells(MOUSE_IDS[:3], gene_ids="ensembl"), weights=tmp_path)


def test_human_cells_are_as_they_were_with_the_table():
    seen, readable = view(Human, cells(HUMAN_SYMBOLS, organism="Homo sapiens", orthologs="packaged"))
    assert seen.var_names.tolist() == HUMAN_SYMBOLS
    assert readable.orthologs is None


def test_it_goes_the_other_way_round_too():
    given = cells(HUMAN_SYMBOLS, organism="Homo sapiens")
    with pytest.raises(InvalidInputError, match="cells of Homo sapiens, while mouse-model reads Mus musculus"):
        view(MouseModel, given)
    seen, _ = view(MouseModel, replace(given, orthologs="packaged"))
    assert seen.var_names.tolist() == MOUSE_SYMBOLS


@pytest.mark.parametrize("reader", [Human, Anything])
def test_simulated_cells_and_models_that_state_no_organism_are_not_concerned(reader):
    view(reader, cells([f"GENE{i}" for i in range(9)], organism="simulated"))
    view(Anything, cells())


def test_no_table_is_offered_for_an_organism_that_it_does_not_have():
    with pytest.raises(InvalidInputError, match="Danio rerio") as told:
        view(Human, cells(["gapdhs", "acta1b"], organism="Danio rerio", orthologs="packaged"))
    assert "--orthologs" not in told.value.remedy


def test_mouse_cells_with_human_names_are_told_from_mapped_ones():
    with pytest.raises(InvalidInputError, match="its genes are named as those of Homo sapiens") as told:
        view(Human, cells(HUMAN_SYMBOLS, orthologs="packaged"))
    assert "state organism=Homo sapiens" in told.value.remedy


def test_cells_of_two_organisms_are_refused():
    given = cells(HUMAN_SYMBOLS, organism="Homo sapiens; Mus musculus", orthologs="packaged")
    with pytest.raises(InvalidInputError, match="cells of Mus musculus"):
        require_organism(card(Human), given)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file"),
        (b"a\tb\n1\t2\n", "its first line names 'a', 'b'"),
        (b"\x1f\x8bno gzip", "EOFError"),
        (b"", "no pair"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content, why):
    table = tmp_path / "table.tsv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(InvalidInputError, match=why) as told:
        view(Human, cells(orthologs=str(table)))
    assert "packaged" in told.value.remedy


def test_genes_outside_the_cells_are_found_by_their_orthologs_too(tmp_path):
    given = cells(orthologs="packaged")
    about = card(Human)
    seen, _ = view(Human, given)
    resident = Resident(device="cpu", precision="float32", offline=True)
    answers = StoredAnswers(Human, about, given, seen, Store(tmp_path), resident, None)
    vectors = answers.embed_genes(["Trp53", "Tbp", "Gm99999"], seed=0)
    np.testing.assert_array_equal(vectors[:2], [[4, 1], [3, 1]])
    assert np.isnan(vectors[2]).all()


def test_a_path_that_is_not_there_stops_the_run_before_anything_is_loaded(pytester, monkeypatch):
    root = Path(__file__).parents[1]
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(root))
    pytester.makeconftest((root / "conftest.py").read_text())
    run = pytester.runpytest_subprocess("--orthologs", "nowhere.tsv", "-p", "no:cacheprovider")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*the ortholog table nowhere.tsv*", "*no such file*"])

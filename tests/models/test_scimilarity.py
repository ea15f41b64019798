"""What a SCimilarity embedding may depend on, what else the model gives, and which faults are seen."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.protocols import (
    Embedder,
    FineTuner,
    GeneEmbedder,
    GenePairScorer,
    LayerEmbedder,
    Pretrained,
    missing_methods,
)
from scfm_eval.models.scimilarity import SCimilarity, read_gene_order
from scfm_eval.models.scimilarity_network import read_widths

FOLDER = Path(__file__).parents[1] / "parity" / "scimilarity"
UNREAD = 3  # the cell of the reference data that has counts outside the list only


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def load(folder=FOLDER, **options):
    return SCimilarity(weights=folder, **{"fewest_genes": 10, **options})


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def cells():
    read = ad.read_h5ad(FOLDER / "cells.h5ad")
    return read[np.arange(read.n_obs) != UNREAD].copy()


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "scimilarity"))


def near(made, wanted, atol=1e-5):
    np.testing.assert_allclose(made, wanted, rtol=0, atol=atol)


def test_card_and_capabilities():
    for capability in (Embedder, GeneEmbedder, GenePairScorer, Pretrained):
        assert missing_methods(SCimilarity, capability) == []
    for capability in (LayerEmbedder, FineTuner):
        assert missing_methods(SCimilarity, capability)
    assert len(card(SCimilarity).revision) == 40
    assert card(SCimilarity).exceptions == {}


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(15)), st.integers(1, 14), st.randoms(use_true_random=False))
def test_a_cell_depends_on_nothing_but_its_own_counts(model, cells, order, kept, random):
    genes, chosen = list(range(cells.n_vars)), order[:kept]
    random.shuffle(genes)
    near(load(batch_size=4).embed(cells[chosen, genes]), model.embed(cells)[chosen])


def test_genes_outside_the_list_change_nothing(model, cells):
    extra = ad.AnnData(
        sparse.csr_matrix(np.full((cells.n_obs, 1), 9000, dtype=np.float32)),
        obs=cells.obs,
        var=pd.DataFrame(index=["NOSUCH"]),
    )
    near(model.embed(ad.concat([extra, cells], axis=1)), model.embed(cells))


def test_an_unsorted_list_gives_the_same(folder, model, cells):
    """Upstream feeds genes into wrong inputs here."""
    order = np.random.default_rng(0).permutation(700)
    genes = (folder / "gene_order.tsv").read_text().split()
    (folder / "gene_order.tsv").write_text("\n".join(genes[i] for i in order) + "\n")
    content = torch.load(folder / "encoder.ckpt", weights_only=True)
    content["state_dict"]["network.0.1.weight"] = content["state_dict"]["network.0.1.weight"][:, order]
    torch.save(content, folder / "encoder.ckpt")
    near(load(folder).embed(cells), model.embed(cells))


def test_rows_have_unit_length_and_input_is_left_alone(model, cells):
    before = cells.copy()
    near(np.linalg.norm(model.embed(cells), axis=1), 1)
    assert (before.X != cells.X).nnz == 0
    low = load(precision="bfloat16").embed(cells)
    assert not np.array_equal(low, model.embed(cells))
    near(low, model.embed(cells), atol=0.05)


def test_a_cell_without_readable_counts_is_refused_or_kept(model):
    read = ad.read_h5ad(FOLDER / "cells.h5ad")
    with pytest.raises(InvalidInputError, match=r"1 cells without any gene(.|\n)*c3"):
        model.embed(read)
    kept = load(unread="keep").embed(read)
    near(np.delete(kept, UNREAD, axis=0), model.embed(read[np.arange(read.n_obs) != UNREAD]))
    assert np.linalg.norm(kept[UNREAD]) == pytest.approx(1, abs=1e-5)


def test_too_few_shared_genes_are_refused(cells):
    with pytest.raises(InvalidInputError, match=r"share 5000 genes(.|\n)*\d+ of its 700 genes"):
        SCimilarity(weights=FOLDER).embed(cells)


def test_several_columns_of_one_gene_are_refused(model, cells):
    known = next(name for name in cells.var_names if name in set(model.genes))
    twice = cells.copy()
    twice.var_names = [known] * 2 + list(cells.var_names[2:])
    with pytest.raises(InvalidInputError, match="several columns"):
        model.embed(twice)


def test_gene_vectors_are_the_weights_of_the_first_layer(model, cells):
    vectors = model.embed_genes([*model.genes, "NOSUCH"])
    assert np.isnan(vectors[-1]).all()
    state = torch.load(FOLDER / "encoder.ckpt", weights_only=True)["state_dict"]
    summed = model.log_normalised(cells) @ vectors[:-1] + state["network.0.1.bias"].numpy()
    summed = (summed - state["network.0.2.running_mean"].numpy()) / np.sqrt(
        state["network.0.2.running_var"].numpy() + 1e-5
    )
    summed = summed * state["network.0.2.weight"].numpy() + state["network.0.2.bias"].numpy()
    near(np.where(summed > 0, summed, summed * state["network.0.3.weight"].item()), model.hidden_blocks(cells)[0])


def test_pairs_of_genes_are_cosines_of_derivatives(model, cells):
    known = [name for name in cells.var_names if name in set(model.genes)][:4]
    missing = next(name for name in model.genes if name not in set(cells.var_names))
    made = model.score_gene_pairs(cells[:1], genes=[*known, missing, "NOSUCH"])
    assert np.isnan(made[4:]).all()
    assert np.isnan(np.diag(made)).all()
    encoder, row = model._encoder.double(), torch.from_numpy(model.log_normalised(cells[:1]).toarray()).double()
    moved = []
    for gene in known:
        step = torch.zeros_like(row)
        step[0, model.genes.index(gene)] = 1e-6
        ahead, behind = (torch.nn.functional.normalize(encoder(row + way * step)) for way in (1, -1))
        moved.append(torch.nn.functional.normalize(ahead - behind)[0].detach())
    model._encoder.float()
    wanted = torch.stack(moved) @ torch.stack(moved).T
    off = ~np.eye(4, dtype=bool)
    near(made[:4, :4][off], wanted.numpy()[off], atol=1e-3)


def test_mean_over_cells_and_both_directions(model, cells):
    known = [name for name in cells.var_names if name in set(model.genes)][:6]
    whole = model.score_gene_pairs(cells, genes=known)
    each = [model.score_gene_pairs(cells[[i]], genes=known) for i in range(cells.n_obs)]
    near(whole, np.mean(each, axis=0), atol=1e-5)
    near(whole, whole.T, atol=1e-6)


def test_ten_layers_are_read_by_their_numbers(tmp_path):
    path, widths = tmp_path / "layer_sizes.json", [40, *range(30, 19, -1), 8]
    shapes = {f"network.{i}.1.weight": [b, a] for i, (a, b) in enumerate(pairwise(widths[:-1]))}
    shapes["network.11.weight"] = [8, 20]
    shapes |= {f"network.{i}.3.weight": [1] for i in range(11)}
    path.write_text(json.dumps(dict(sorted(shapes.items()))))
    assert read_widths(path) == widths


def edited(folder, change):
    path = folder / "encoder.ckpt"
    content = torch.load(path, weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)


def widths_without(folder, name):
    path = folder / "layer_sizes.json"
    shapes = json.loads(path.read_text())
    del shapes[name]
    path.write_text(json.dumps(shapes))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FAULTS = {
    r"network\.1\.2\.running_mean is missing": lambda f: edited(f, lambda t: t.pop("network.1.2.running_mean")),
    r"network\.9\.weight is unexpected": lambda f: edited(f, lambda t: t.update({"network.9.weight": torch.ones(2)})),
    r"network\.2\.bias has shape \(9,\), not \(24,\)": lambda f: edited(
        f, lambda t: t.update({"network.2.bias": torch.ones(9)})
    ),
    r"700 names, 1 of them repeated": lambda f: (f / "gene_order.tsv").write_text(
        "\n".join([*(f / "gene_order.tsv").read_text().split()[1:], "SYM00168"])
    ),
    "0 names": lambda f: (f / "gene_order.tsv").write_text("\n"),
    "encoder of the 3 genes(.|\n)*reads 700": lambda f: (f / "gene_order.tsv").write_text("A\nB\nC\n"),
    "numbered from 0": lambda f: widths_without(f, "network.1.1.weight"),
    r"content of .*layer_sizes\.json": lambda f: cut(f / "layer_sizes.json"),
    r"content of .*encoder\.ckpt": lambda f: cut(f / "encoder.ckpt"),
    "something else than tensors": lambda f: torch.save({"state_dict": Evil()}, f / "encoder.ckpt"),
    "other content: NoneType": lambda f: torch.save({"weights": {}}, f / "encoder.ckpt"),
    r"gene_order\.tsv(.|\n)*found": lambda f: (f / "gene_order.tsv").unlink(),
}


@pytest.mark.parametrize("said", FAULTS)
def test_files_that_do_not_fit_are_refused(folder, said, capsys):
    FAULTS[said](folder)
    with pytest.raises(InvalidInputError, match=said):
        load(folder)
    assert "executed" not in capsys.readouterr().out


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    assert not SCimilarity.available()
    with pytest.raises(InvalidInputError, match=r"zenodo\.org/records/10685499"):
        SCimilarity()
    assert SCimilarity.vocabulary(FOLDER) == set(load().genes)
    assert load().loaded_share == 1


@pytest.mark.parametrize("content", ['A\n"B"\n', "A\tB\n", "A,B\n"])
def test_a_list_of_genes_holds_names_only(tmp_path, content):
    (tmp_path / "gene_order.tsv").write_text(content)
    with pytest.raises(InvalidInputError, match="more than a name"):
        read_gene_order(tmp_path / "gene_order.tsv")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "gene_order.tsv").write_text("A\nB\n", encoding="utf-8-sig")
    assert read_gene_order(tmp_path / "gene_order.tsv") == ["A", "B"]

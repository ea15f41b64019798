"""GenePT against the published notebook: weighted means of gene vectors, and sentences up to ties."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.models.genept import GenePTW, sentences

FOLDER = Path(__file__).parent / "genept"
PROMPT = "A cell with genes ranked by expression: "


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    return np.load(FOLDER / "expected.npz")


def assert_close(made, wanted):
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_mean_over_all_genes_as_in_the_notebook(cells, expected):
    model = GenePTW(weights=FOLDER, divisor="genes", total="all", unread="keep")
    assert_close(model.embed(cells), expected["genept_w_notebook"])


@pytest.mark.parametrize("divisor", ["weights", "genes"])
def test_rows_of_unit_length(cells, expected, divisor):
    model = GenePTW(weights=FOLDER, divisor=divisor, total="all", unit=True, unread="keep")
    assert_close(model.embed(cells), expected["genept_w_unit"])


def test_the_default_divides_by_the_weight_of_genes_that_have_a_vector(cells, expected):
    model = GenePTW(weights=FOLDER, total="all", unread="keep")
    has = ~np.isnan(model.embed_genes(cells.var_names)).any(axis=1)
    weight = expected["lognorm"][:, has].astype(np.float64).sum(axis=1)
    scale = np.divide(expected["n_genes"], weight, out=np.zeros_like(weight), where=weight > 0)
    assert_close(model.embed(cells), expected["genept_w_notebook"] * scale[:, None])


def test_the_default_total_is_that_of_genes_that_have_a_vector(cells):
    model = GenePTW(weights=FOLDER)
    read = cells[~np.isin(cells.obs_names, ["c3", "c5"])]
    has = ~np.isnan(model.embed_genes(read.var_names)).any(axis=1)
    counts = read.X.toarray()[:, has].astype(np.float64)
    weight = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    vectors = model.embed_genes(read.var_names[has]).astype(np.float64)
    assert_close(model.embed(read), weight @ vectors / weight.sum(axis=1, keepdims=True))


def test_log_normalised_expression_is_that_of_the_notebook(cells, expected):
    counts = cells.X.toarray().astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    made = np.log1p(np.divide(counts, total, out=np.zeros_like(counts), where=total > 0) * 1e4)
    np.testing.assert_allclose(made, expected["lognorm"], rtol=1e-6)


def test_genes_without_a_vector_are_counted(cells, expected):
    found = GenePTW(weights=FOLDER).missing(cells)
    assert found.absent == expected["n_missing_genes"]
    assert cells.n_vars == expected["n_genes"]
    assert found.genes == (found.absent + found.without) / cells.n_vars


def test_sentences_up_to_ties(cells, expected):
    made = sentences(cells, max_genes=int(expected["trunc_index"]), unread="keep")
    value = dict(zip(cells.var_names, expected["lognorm"].T, strict=True))
    for i, (text, wanted) in enumerate(zip(made, expected["genept_s_text"], strict=True)):
        genes, theirs = text.removeprefix(PROMPT).split(), str(wanted).removeprefix(PROMPT).split()
        real = expected["genept_s_ranked_genes"][i] != ""
        ranked = expected["genept_s_ranked_values"][i, real]
        assert text.startswith(PROMPT)
        assert theirs == list(expected["genept_s_ranked_genes"][i, real])
        np.testing.assert_array_equal([value[gene][i] for gene in genes], ranked)
        kept = [gene for gene in genes if value[gene][i] > ranked[-1]] if len(ranked) else []
        assert set(kept) <= set(theirs)
        assert len(set(genes)) == len(genes) == len(theirs)


def test_sentences_without_ties_are_identical(cells, expected):
    wanted = {name: str(text) for name, text in zip(cells.obs_names, expected["genept_s_text"], strict=True)}
    values = {
        name: row[~np.isnan(row)] for name, row in zip(cells.obs_names, expected["genept_s_ranked_values"], strict=True)
    }
    untied = [name for name in cells.obs_names if len(np.unique(values[name])) == len(values[name])]
    made = sentences(cells[untied], max_genes=int(expected["trunc_index"]), unread="keep")
    assert made == [wanted[name] for name in untied]
    assert "c5" in untied

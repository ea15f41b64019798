"""ScFoundation against what upstream computes."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scfm_eval.models.counts import aligned_counts
from scfm_eval.models.scfoundation import ScFoundation
from scfm_eval.models.scfoundation_tokens import read_genes

FOLDER = Path(__file__).parent / "scfoundation"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def aligned(cells):
    """The counts with one column per gene of the list, in its order."""
    order = read_genes(FOLDER / "OS_scRNA_gene_index.19264.tsv")
    counts = aligned_counts(cells, genes=cells.var["gene_name"].tolist(), order=order)
    return ad.AnnData(counts, obs=cells.obs, var=pd.DataFrame(index=list(order)))


@pytest.fixture(scope="module")
def normalised(aligned):
    """The aligned counts as log-normalised values."""
    total = np.asarray(aligned.X.sum(axis=1))
    values = np.log1p(aligned.X.toarray() / total * 1e4).astype(np.float32)
    return ad.AnnData(sparse.csr_matrix(values), obs=aligned.obs, var=aligned.var)


def close(made, expected):
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, rtol=0, atol=TOLERANCE)


def test_tokens(cells, expected):
    made = ScFoundation(weights=FOLDER).tokenise(cells)
    assert len(made) == cells.n_obs
    np.testing.assert_array_equal(expected["positions"] >= 0, expected["token_mask"])
    for i, (places, values) in enumerate(made):
        real = expected["token_mask"][i]
        np.testing.assert_array_equal(places, expected["positions"][i, real])
        np.testing.assert_allclose(values, expected["values"][i, real], rtol=3e-7, atol=0)
        np.testing.assert_allclose(values[-1], expected["S_token"][i], rtol=2e-7)
        np.testing.assert_allclose(values[-1], np.log10(expected["total_in_list"][i]), rtol=2e-7)


def test_every_layer(cells, expected):
    made = ScFoundation(weights=FOLDER).embed_layers(cells)
    close(np.stack(made), expected["pooled_per_layer_ce_t4"])


OPTIONS = {
    "ce_t4_all": {},
    "ce_t4_max": {"pooling": "max"},
    "ce_f1_all": {"tgthighres": "f1"},
    "ce_f2.5_all": {"tgthighres": "f2.5"},
    "rde_a5_all": {"version": "rde", "tgthighres": "a5"},
    "rde_t4.5_all": {"version": "rde", "tgthighres": "t4.5"},
}


@pytest.mark.parametrize("array", OPTIONS)
def test_cell_embedding(cells, expected, array):
    close(ScFoundation(weights=FOLDER, **OPTIONS[array]).embed(cells), expected[array])


def test_aligned_counts(aligned, expected):
    close(ScFoundation(weights=FOLDER).embed(aligned), expected["ce_t4_all_aligned_npy"])


def test_values_that_were_normalised_before(normalised, expected):
    close(ScFoundation(weights=FOLDER, pre_normalized="T").embed(normalised), expected["ce_t4_all_preT"])


def test_values_with_their_total_in_the_last_column(normalised, aligned, expected):
    joined = sparse.hstack([normalised.X, aligned.X.sum(axis=1)], format="csr")
    cells = ad.AnnData(joined, obs=aligned.obs, var=pd.DataFrame(index=[*aligned.var_names, "total"]))
    close(ScFoundation(weights=FOLDER, pre_normalized="A").embed(cells), expected["ce_t4_all_preA"])


def test_bulk_scaled_to_the_median_of_the_samples(cells, expected):
    model = ScFoundation(weights=FOLDER, input_type="bulk", bulk_target="median")
    close(model.embed(cells), expected["bulk_F_all"])


def test_bulk_as_it_is(normalised, expected):
    model = ScFoundation(weights=FOLDER, input_type="bulk", pre_normalized="T")
    close(model.embed(normalised), expected["bulk_T_all"])


def test_genes_in_cells_one_by_one(cells, expected):
    made = ScFoundation(weights=FOLDER, tgthighres="f1").embed_genes_in_cells(cells[expected["gene_f1_cells"]])
    close(made, expected["gene_f1"])


def test_genes_in_cells_of_one_batch(cells, expected):
    model = ScFoundation(weights=FOLDER, tgthighres="f1")
    # the batch was all twelve cells, of which three are kept
    made = model.embed_genes_in_cells(cells, stabiliser="batch")[expected["gene_f1_cells"]]
    close(made, expected["gene_batch_f1"])
    assert np.abs(made - expected["gene_f1"]).max() > 1e-3


def test_expression_of_every_gene(cells, expected):
    close(ScFoundation(weights=FOLDER, tgthighres="f1").predict_expression(cells), expected["gene_expression_f1"])


def test_reconstruction_from_the_last_layer(cells, expected):
    made, real = ScFoundation(weights=FOLDER).reconstruct_layers(cells), expected["token_mask"]
    genes = real & (expected["positions"] < 600)
    np.testing.assert_array_equal(made.cell, np.nonzero(genes)[0])
    np.testing.assert_allclose(made.target, expected["values"][genes], rtol=3e-7)
    assert made.layers.shape == (5, genes.sum())
    close(made.layers[-1], expected["gene_expression_f1"][made.cell, expected["positions"][genes]])


def test_every_array_is_compared(expected):
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in expected if f'"{name}"' not in source] == []

"""ScBERT against what upstream computes, one cell at a time and with all cells in one batch."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch

from scfm_eval.models.counts import aligned_counts
from scfm_eval.models.scbert import ScBERT
from scfm_eval.models.scbert_network import load_network
from scfm_eval.models.scbert_tokens import log2_values, read_genes

FOLDER = Path(__file__).parent / "scbert"


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    return np.load(FOLDER / "expected.npz")


@pytest.fixture(scope="module")
def genes():
    return read_genes(FOLDER / "panglao_10000.h5ad")


@pytest.fixture(scope="module")
def network(genes):
    return load_network(FOLDER / "panglao_pretrain.pth", n_genes=len(genes), bin_num=5, stabiliser="cell").network


def model(**how) -> ScBERT:
    return ScBERT(weights=FOLDER, unread="keep", **how)


def test_tokens_are_identical(cells, expected, network):
    made = network.tokens(model().tokenise(cells))
    np.testing.assert_array_equal(made, expected["tokens"])


def test_values_before_binning(cells, expected, genes):
    counts = aligned_counts(cells, genes=list(cells.var_names), order=genes)
    np.testing.assert_allclose(log2_values(counts).toarray(), expected["log2_values"], rtol=0, atol=1e-5)
    kept = cells.obs_names[(counts > 0).getnnz(axis=1) >= 200]
    assert list(kept) == expected["kept_by_preprocess"].tolist()


@pytest.mark.parametrize(
    ("pooling", "array"),
    [
        ("all", "mean_all_positions"),
        ("genes", "mean_genes"),
        ("max", "max_genes"),
        ("last", "last_position"),
        ("expressed", "mean_expressed_genes"),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_pooling(cells, expected, pooling, array, batch_size):
    made = model(pooling=pooling, batch_size=batch_size).embed(cells)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected[array], rtol=0, atol=1e-5)


def test_every_layer(cells, expected):
    made = np.stack(model(pooling="all").embed_layers(cells))
    np.testing.assert_allclose(made, expected["mean_all_positions_per_layer"], rtol=0, atol=1e-5)


def test_all_cells_in_one_batch(cells, expected):
    made = model(pooling="all", stabiliser="batch", batch_size=12).embed(cells)
    np.testing.assert_allclose(made, expected["mean_all_positions_whole_batch"], rtol=0, atol=1e-5)
    alone = model(pooling="all", stabiliser="batch", batch_size=1).embed(cells)
    np.testing.assert_allclose(alone, expected["mean_all_positions"], rtol=0, atol=1e-5)
    assert np.abs(made - alone).max() > 0.03


def test_contextual_vectors_of_genes(cells, expected):
    made = model().encode(cells[expected["gene_embedding_cells"]])
    np.testing.assert_allclose(made, expected["gene_embedding"], rtol=0, atol=1e-5)


def test_head(cells, expected, network):
    with torch.inference_mode():
        *_, hidden = network.hidden_layers(network.tokens(model().tokenise(cells[:1])), last=2)
        made = network.logits(hidden)[0]
    np.testing.assert_allclose(made, expected["mlm_logits_cell0"], rtol=0, atol=1e-5)


def test_position_table_is_gene2vec(genes):
    table = np.load(FOLDER / "gene2vec_16906.npy")
    np.testing.assert_allclose(model().embed_genes(genes), table, rtol=0, atol=1e-5)


def test_every_array_is_compared(expected):
    text = Path(__file__).read_text()
    assert [name for name in expected.files if f'"{name}"' not in text] == []

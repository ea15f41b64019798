"""UCE against what upstream computes: with its own draws, with padding attended to, and without padding."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.models.uce import UCE
from scfm_eval.models.uce_tokens import read_counts

FOLDER = Path(__file__).parent / "uce"
BATCHES = {"batch1": ("masked", 7), "batch25": ("attended", 25), "batch4": ("attended", 4)}


@pytest.fixture(scope="module")
def expected():
    return np.load(FOLDER / "expected.npz")


@pytest.fixture(scope="module")
def all_cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module", params=["nofilter", "filter"])
def run(request):
    return request.param


@pytest.fixture(scope="module")
def cells(all_cells, run):
    return all_cells if run == "nofilter" else UCE.filtered(all_cells)


def upstream(expected, **options):
    return UCE(weights=FOLDER, sampling="upstream", seed=int(expected["numpy_seed"]), **options)


def near(made, wanted):
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5)


def test_cells_and_genes_are_those_of_upstream(cells, expected, run):
    model = upstream(expected)
    counts, places = read_counts(cells, model.genes, sampling="upstream")
    names = expected[f"{run}_var_names"]
    np.testing.assert_array_equal(cells.obs_names, expected[f"{run}_obs_names"])
    np.testing.assert_array_equal(model.genes.names[places], [name.upper() for name in names])
    np.testing.assert_array_equal(counts.toarray(), expected[f"{run}_counts"])
    np.testing.assert_array_equal(model.genes.token[places], expected[f"{run}_gene_token"])
    np.testing.assert_array_equal(model.genes.chromosome[places] - 404, expected[f"{run}_chrom_code"])
    np.testing.assert_array_equal(model.genes.start[places], expected[f"{run}_start"])
    weight = np.log1p(counts.toarray())
    near(weight / weight.sum(axis=1, keepdims=True), expected[f"{run}_probability"])


def test_tokens_are_identical_when_drawn_as_upstream_does(cells, expected, run):
    made = upstream(expected).tokenise(cells)
    np.testing.assert_array_equal([len(tokens) for tokens in made], expected[f"{run}_length"])
    for tokens, wanted, real in zip(made, expected[f"{run}_tokens"], expected[f"{run}_mask"], strict=True):
        np.testing.assert_array_equal(tokens, wanted[real])


@pytest.mark.parametrize("batch", BATCHES)
def test_embedding(cells, expected, run, batch):
    padding, size = BATCHES[batch]
    made = upstream(expected, padding=padding, batch_size=size).embed(cells)
    assert made.dtype == np.float32
    near(made, expected[f"{run}_embedding_{batch}"])


@pytest.mark.parametrize("batch", ["batch1", "batch25"])
def test_every_layer(cells, expected, run, batch):
    padding, size = BATCHES[batch]
    made = upstream(expected, padding=padding, batch_size=size).embed_layers(cells)
    near(np.stack(made), expected[f"{run}_cls_per_layer_{batch}"])


def test_decoder_before_it_is_normalised(cells, expected, run):
    near(upstream(expected, normalise=False).embed(cells), expected[f"{run}_cls_decoder_batch1"])


def test_own_draws_follow_the_probabilities(all_cells, expected):
    """Over many seeds, each gene is drawn as often as its probability says (chi-square within five standard errors)."""
    some, n_seeds, model, drawn = [0, 7, 20], 60, UCE(weights=FOLDER), []
    for model.seed in range(n_seeds):
        drawn.append(model.tokenise(all_cells[some]))
    tokens, n = expected["nofilter_gene_token"], 100 * n_seeds
    for row, cell in enumerate(some):
        seen = np.bincount(np.concatenate([of_seed[row] for of_seed in drawn]), minlength=500)[tokens]
        wanted = expected["nofilter_probability"][cell].astype(float) * n
        assert seen.sum() == n
        assert (seen[wanted == 0] == 0).all()
        could = wanted > 0
        excess = ((seen - wanted)[could] ** 2 / wanted[could]).sum() - (could.sum() - 1)
        assert abs(excess) < 5 * np.sqrt(2 * could.sum())

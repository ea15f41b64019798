"""ScGPT against what upstream computes, with its random binning frozen in the middle."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.models.scgpt import ScGPT

FOLDER = Path(__file__).parent / "scgpt"


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    return np.load(FOLDER / "expected.npz")


def test_tokens_and_bins_are_identical(cells, expected):
    made = ScGPT(weights=FOLDER).tokenise(cells)
    for i, (tokens, values) in enumerate(made):
        real = ~expected["padding"][i]
        np.testing.assert_array_equal(tokens, expected["tokens"][i, real])
        np.testing.assert_array_equal(values, expected["values"][i, real])


def test_random_bins_stay_between_the_lowest_and_the_highest(cells, expected):
    drawn = ScGPT(weights=FOLDER, binning="random", seed=3).tokenise(cells)
    differ = 0
    for i, (tokens, values) in enumerate(drawn):
        real = ~expected["padding"][i]
        ours, theirs = np.argsort(tokens), np.argsort(expected["tokens"][i, real])
        lower, upper = expected["values_lower"][i, real][theirs], expected["values_upper"][i, real][theirs]
        assert (values[ours] >= lower).all()
        assert (values[ours] <= upper).all()
        differ += (values[ours] != expected["values"][i, real][theirs]).sum()
    assert differ > 100


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_every_layer(cells, expected, pooling):
    made = ScGPT(weights=FOLDER, pooling=pooling).embed_layers(cells)
    np.testing.assert_allclose(np.stack(made), expected[f"{pooling}_per_layer"], rtol=0, atol=1e-5)


def test_default_embedding(cells, expected):
    made = ScGPT(weights=FOLDER).embed(cells)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected["cell_embedding"], rtol=0, atol=1e-5)


def test_expression_decoder_on_every_layer(cells, expected):
    made = ScGPT(weights=FOLDER).reconstruct_layers(cells)
    genes = ~expected["padding"][:, 1:]
    np.testing.assert_array_equal(made.cell, np.nonzero(genes)[0])
    np.testing.assert_array_equal(made.target, expected["values"][:, 1:][genes])
    np.testing.assert_allclose(made.layers, expected["predicted_per_layer"][:, :, 1:][:, genes], rtol=0, atol=1e-5)


def test_unused_tensors_are_the_heads():
    model = ScGPT(weights=FOLDER)
    heads = {name.split(".")[0] for name in model.unused_tensors}
    assert heads == {"cls_decoder", "mvc_decoder"}
    assert len(model.unused_tensors) == 13

"""Geneformer against what upstream computes, V1 and V2 layouts."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.models.geneformer import Geneformer

HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["geneformer_v1", "geneformer_v2"])
def folder(request) -> Path:
    return HERE / request.param


@pytest.fixture(scope="module")
def cells(folder):
    return ad.read_h5ad(folder / "cells.h5ad")


@pytest.fixture(scope="module")
def expected(folder):
    return np.load(folder / "expected.npz")


def test_tokens_are_identical(folder, cells, expected):
    made = Geneformer(weights=folder).tokenise(cells)
    assert [len(cell) for cell in made] == expected["lengths"].tolist()
    for cell, tokens in zip(made, expected["tokens"], strict=True):
        np.testing.assert_array_equal(cell, tokens[: len(cell)])


@pytest.mark.parametrize(("pooling", "stem"), [("mean", "cell"), ("cls", "cls")])
def test_every_layer(folder, cells, expected, pooling, stem):
    if pooling == "cls" and folder.name == "geneformer_v1":
        pytest.skip("V1 has no <cls>; that it is refused is tested in tests/models/test_geneformer.py")
    made = Geneformer(weights=folder, pooling=pooling).embed_layers(cells)
    assert len(made) == 4
    for number, layer in enumerate(made):
        np.testing.assert_allclose(layer, expected[f"{stem}_layer{number}"], rtol=0, atol=1e-5)


def test_default_embedding_is_the_second_to_last_layer(folder, cells, expected):
    made = Geneformer(weights=folder).embed(cells)
    assert made.dtype == np.float32
    entry = int(expected["upstream_emb_layer_minus1"])
    np.testing.assert_allclose(made, expected[f"cell_layer{entry}"], rtol=0, atol=1e-5)


def test_last_layer_is_upstreams_offset_0(folder, cells, expected):
    entry = int(expected["upstream_emb_layer_0"])
    made = Geneformer(weights=folder, layer=-1).embed(cells)
    np.testing.assert_allclose(made, expected[f"cell_layer{entry}"], rtol=0, atol=1e-5)


def test_small_batches_give_the_same_rows(folder, cells, expected):
    made = Geneformer(weights=folder, batch_size=1).embed(cells)
    np.testing.assert_allclose(made, expected["cell_layer2"], rtol=0, atol=1e-5)

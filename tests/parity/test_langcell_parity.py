"""LangCell's cell encoder against what upstream computes."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.models.langcell import LangCell
from scfm_eval.models.langcell_tokens import total_counts

HERE = Path(__file__).parent / "langcell"


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(HERE / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    return np.load(HERE / "expected.npz")


@pytest.mark.parametrize("ranking", ["exact", "float32"])
def test_tokens_are_identical(cells, expected, ranking):
    made = LangCell(weights=HERE, unread="keep", ranking=ranking).tokenise(cells)
    assert [len(cell) for cell in made] == expected["attention_mask"].sum(axis=1).tolist()
    for cell, tokens in zip(made, expected["tokens"], strict=True):
        np.testing.assert_array_equal(cell, tokens[: len(cell)])


def test_stored_length_is_that_before_cls(cells, expected):
    made = LangCell(weights=HERE, unread="keep").tokenise(cells)
    full = expected["tokens"].shape[1]
    np.testing.assert_array_equal(
        [len(cell) - (len(cell) < full) for cell in made], np.minimum(expected["stored_length"], full)
    )


def test_totals_are_over_all_columns(cells, expected):
    made = total_counts(cells)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, expected["n_counts"])


@pytest.mark.parametrize("ranking", ["exact", "float32"])
def test_the_projected_embedding(cells, expected, ranking):
    made = LangCell(weights=HERE, unread="keep", ranking=ranking).embed(cells)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected["cell_embedding"], rtol=0, atol=1e-5)


def test_the_projected_embedding_without_the_unread_cell(cells, expected):
    read = np.arange(14) != 4
    made = LangCell(weights=HERE).embed(cells[read])
    np.testing.assert_allclose(made, expected["cell_embedding"][read], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "array"), [("cls", "cls_per_layer"), ("mean", "mean_per_layer"), ("mean_genes", "mean_genes_per_layer")]
)
def test_every_layer(cells, expected, pooling, array):
    made = LangCell(weights=HERE, unread="keep", pooling=pooling).embed_layers(cells)
    np.testing.assert_allclose(np.stack(made), expected[array], rtol=0, atol=1e-5)
    last = LangCell(weights=HERE, unread="keep", pooling=pooling).embed(cells)
    np.testing.assert_allclose(last, expected[array][-1], rtol=0, atol=1e-5)


def test_small_batches_give_the_same_rows(cells, expected):
    made = LangCell(weights=HERE, unread="keep", batch_size=1).embed(cells)
    np.testing.assert_allclose(made, expected["cell_embedding"], rtol=0, atol=1e-5)

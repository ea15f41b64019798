"""Nicheformer against what upstream computes, with each of its three ways to treat the technology's means."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch

from scfm_eval.models.counts import aligned_counts
from scfm_eval.models.nicheformer import Nicheformer
from scfm_eval.models.nicheformer_tokens import PADDING, ranked_genes, read_means

FOLDER = Path(__file__).parent / "nicheformer"
MEANS = {"filled": "nanfixed", "rounded": "rounded", "raw": "rawnan"}


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    return np.load(FOLDER / "expected.npz")


def model(means="filled", **options):
    return Nicheformer(weights=FOLDER, means=means, unread="keep", **options)


def given(expected, means):
    """The sentences that upstream's network read."""
    rows = expected[f"input_tokens_{MEANS[means]}"].astype(np.int64)
    return [row[row != PADDING] for row in rows]


@pytest.mark.parametrize("means", ["filled", "rounded"])
def test_means_are_identical(expected, means):
    made = read_means(FOLDER / "dissociated_mean_script.npy", n_genes=400, means=means)
    np.testing.assert_array_equal(made, expected[f"technology_mean_{MEANS[means]}"])


@pytest.mark.parametrize("means", ["filled", "rounded"])
def test_scores_are_identical_and_tokens_but_for_the_order_of_equals(cells, expected, means):
    mean = read_means(FOLDER / "dissociated_mean_script.npy", n_genes=400, means=means)
    order = model().genes
    counts = aligned_counts(cells, genes=list(cells.var_names), order=order)
    tokens, scores = expected[f"tokens_{MEANS[means]}"], expected[f"scores_{MEANS[means]}"]
    for i, (genes, found) in enumerate(ranked_genes(counts, mean=mean, n_genes=120)):
        real = tokens[i] > 0
        theirs = scores[i, real]
        np.testing.assert_allclose(found, theirs, rtol=1e-6)
        values = dict(zip(genes + 30, found, strict=True))
        alone = [k for k, score in enumerate(theirs) if np.isclose(theirs, score, rtol=1e-6, atol=0).sum() == 1]
        # the last gene that a long cell keeps may be one of several equals
        ends = real.sum() == 120
        kept = [k for k in alone if not (ends and k == 119)]
        assert [genes[k] + 30 for k in kept] == tokens[i, real][kept].tolist()
        cut = theirs[-1] if ends else -np.inf
        above = [token for token, score in zip(tokens[i, real], theirs, strict=True) if score > cut * (1 + 1e-6)]
        assert set(above) == {token for token, score in values.items() if score > cut * (1 + 1e-6)}


def test_a_gene_without_mean_is_a_token_of_every_cell_where_upstream_makes_it_one(cells, expected):
    unseen = np.flatnonzero(np.isnan(np.load(FOLDER / "dissociated_mean_script.npy"))) + 30
    made = model("raw").tokenise(cells)
    for ours, theirs in zip(made, given(expected, "raw"), strict=True):
        assert len(ours) == len(theirs)
        real = ~np.isin(theirs, unseen)
        np.testing.assert_array_equal(np.flatnonzero(real), np.flatnonzero(~np.isin(ours, unseen)))
        assert set(ours[~real]) == set(theirs[~real]) or len(theirs) == 120
    assert np.isin(unseen, given(expected, "raw")[3]).all()


def test_default_tokens_are_identical_where_no_genes_tie(cells, expected):
    made, theirs = model().tokenise(cells), given(expected, "filled")
    same = [np.array_equal(a, b) for a, b in zip(made, theirs, strict=True)]
    assert sum(same) >= 7
    assert all(sorted(a) == sorted(b) for a, b in zip(made, theirs, strict=True))


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize(
    ("array", "options"),
    [
        ("embedding", {"pooling": "padded_mean"}),
        ("embedding_with_context", {"pooling": "padded_mean", "with_context": True}),
        ("masked_mean", {}),
    ],
)
def test_every_layer_of_upstreams_own_tokens(expected, means, array, options):
    loaded = model(means, **options)
    made = loaded._pooled(given(expected, means), range(4))
    theirs = expected[f"{array}_per_layer_{MEANS[means]}"]
    np.testing.assert_allclose(np.stack(made[1:]), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        ("embedding", {"pooling": "padded_mean"}),
        ("embedding_with_context", {"pooling": "padded_mean", "with_context": True}),
        ("masked_mean", {}),
    ],
)
def test_cells_from_counts_to_every_layer(cells, expected, array, options):
    loaded = model(**options)
    same = [np.array_equal(a, b) for a, b in zip(loaded.tokenise(cells), given(expected, "filled"), strict=True)]
    theirs = expected[f"{array}_per_layer_nanfixed"]
    made = np.stack(loaded.embed_layers(cells))[1:]
    np.testing.assert_allclose(made[:, same], theirs[:, same], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(loaded.embed(cells), made[-1])


def test_a_cell_without_readable_genes_is_zero_or_what_its_context_gives(cells, expected):
    assert not model().embed(cells[[3]]).any()
    made = model(pooling="padded_mean").embed(cells[[3]])
    np.testing.assert_allclose(made, expected["embedding_per_layer_nanfixed"][-1, [3]], rtol=0, atol=1e-5)


def test_unused_tensors_are_named():
    loaded = model()
    state = torch.load(FOLDER / "nicheformer.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in loaded.unused_tensors} == {"encoder_layer", "pooler_head", "cls_head", "pos"}
    assert loaded.loaded_share == 1 - len(loaded.unused_tensors) / len(state)

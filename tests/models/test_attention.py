"""Scores of gene pairs from attention, by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.models.attention import PairMeans, pair_scores

HOW = {"token_budget": 64, "device": "cpu", "precision": "float32", "name": "test"}


def test_rows_are_sources_and_means_are_over_cells_that_have_both():
    means = PairMeans(np.array([7, 4, 9]))
    # tokens: the second gene, another, the first gene
    means.add(np.array([[0.1, 0.2, 0.7], [0, 0, 0], [0.4, 0.4, 0.2]]), tokens=np.array([4, 5, 7]))
    means.add(np.array([[0.5, 0.5], [0.3, 0.7]]), tokens=np.array([4, 7]))
    scores = means.scores()
    # gene 1 attends to gene 0 with 0.7 and 0.5; gene 0 to gene 1 with 0.4 and 0.3
    np.testing.assert_allclose(scores[0, 1], 0.6, rtol=1e-6)
    np.testing.assert_allclose(scores[1, 0], 0.35, rtol=1e-6)
    assert np.isnan(scores[2]).all()
    assert np.isnan(np.diag(scores)).all()


def test_a_gene_with_two_tokens_counts_with_their_mean():
    means = PairMeans(np.array([0, 3]))
    means.add(np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]), tokens=np.array([0, 0, 3]))
    scores = means.scores()
    np.testing.assert_allclose(scores[1, 0], (0.5 + 0.8) / 2, rtol=1e-6)
    np.testing.assert_allclose(scores[0, 1], (0.6 + 0.2) / 2, rtol=1e-6)


def test_genes_of_one_token_share_their_scores_and_unknown_ones_have_none():
    means = PairMeans(np.array([5, -1, 2, 5, -1]))
    means.add(np.array([[0.4, 0.6], [0.9, 0.1]]), tokens=np.array([2, 5]))
    scores = means.scores()
    np.testing.assert_allclose([scores[0, 2], scores[3, 2]], 0.6, rtol=1e-6)
    np.testing.assert_allclose([scores[2, 0], scores[2, 3]], 0.9, rtol=1e-6)
    assert np.isfinite(scores).sum() == 4


def test_a_cell_without_the_genes_changes_nothing():
    means = PairMeans(np.array([1, 2]))
    means.add(np.ones((2, 2)), tokens=np.array([8, 9]))
    assert np.isnan(means.scores()).all()


def attention_of(tokens: np.ndarray, *, length: int) -> torch.Tensor:
    """Return made-up attention of a cell, with NaN where padding would be read."""
    made = torch.full((length, length), float("nan"))
    made[: len(tokens), : len(tokens)] = torch.from_numpy(np.sin(tokens[:, None] * 3.0 + tokens[None, :]))
    return made


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=9), st.integers(1, 64))
def test_scores_do_not_depend_on_batches(sentences, budget):
    cells = [np.array(cell) for cell in sentences]
    asked, seen = np.arange(10), []

    def attend(batch):
        seen.append(batch)
        assert torch.is_inference_mode_enabled()
        length = max(len(cells[i]) for i in batch)
        return torch.stack([attention_of(cells[i], length=length) for i in batch])

    made = pair_scores(attend, cells, asked=asked, **{**HOW, "token_budget": budget})
    assert sorted(np.concatenate(seen)) == list(range(len(cells)))
    means = PairMeans(asked)
    for cell in cells:
        means.add(attention_of(cell, length=len(cell)).numpy(), tokens=cell)
    np.testing.assert_allclose(made, means.scores(), atol=1e-6)


@pytest.mark.parametrize(("length", "n_together"), [(4096, 1), (2048, 4), (256, 64)])
def test_long_cells_are_attended_to_one_by_one(length, n_together):
    cells, sizes = [np.arange(length)] * 64, []

    def attend(batch):
        sizes.append(len(batch))
        return torch.zeros(1, 1, 1).expand(len(batch), length, length)

    pair_scores(attend, cells, asked=np.array([0, 1]), **{**HOW, "token_budget": 16 * 4096})
    assert set(sizes) == {n_together}


def test_no_torch_is_imported_with_it():
    asked = "import sys; import scfm_eval.models.attention; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0

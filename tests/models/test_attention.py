"""Scores of gene pairs from attention, by hand."""

from __future__ import annotations

import numpy as np

from scfm_eval.models.attention import PairMeans, number_of


def test_rows_are_sources_and_means_are_over_cells_that_have_both():
    means = PairMeans(3)
    # tokens: gene 1, another, gene 0
    means.add(np.array([[0.1, 0.2, 0.7], [0, 0, 0], [0.4, 0.4, 0.2]]), gene=np.array([1, -1, 0]))
    means.add(np.array([[0.5, 0.5], [0.3, 0.7]]), gene=np.array([1, 0]))
    scores = means.scores()
    # gene 1 attends to gene 0 with 0.7 and 0.5; gene 0 to gene 1 with 0.4 and 0.3
    np.testing.assert_allclose(scores[0, 1], 0.6, rtol=1e-6)
    np.testing.assert_allclose(scores[1, 0], 0.35, rtol=1e-6)
    assert np.isnan(scores[2]).all()
    assert np.isnan(np.diag(scores)).all()


def test_a_gene_with_two_tokens_counts_with_their_mean():
    means = PairMeans(2)
    means.add(np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]), gene=np.array([0, 0, 1]))
    scores = means.scores()
    np.testing.assert_allclose(scores[1, 0], (0.5 + 0.8) / 2, rtol=1e-6)
    np.testing.assert_allclose(scores[0, 1], (0.6 + 0.2) / 2, rtol=1e-6)


def test_the_first_of_a_repeated_name_counts():
    assert number_of(["B", "A", "B"]) == {"B": 0, "A": 1}

"""Gene terms: hand-worked values, exact chance, and what must not change a value."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.gene_terms import chance_auprc, expected_average_precision, term_auprc, term_auroc
from scfm_eval.metrics.metric import InapplicableMetricError


def drawn(seed, *, n_genes=30, n_terms=3):
    rng = np.random.default_rng(seed)
    members = rng.permuted(np.tile(np.arange(n_genes)[:, None] < 10, n_terms), axis=0)
    fold = np.empty(members.shape, dtype=int)
    for term, truth in enumerate(members.T):
        fold[truth, term], fold[~truth, term] = np.arange(10) % 2, np.arange(n_genes - 10) % 2
    return rng.integers(8, size=members.shape).astype(float), members, fold


def test_hand_worked():
    # fold 0: the gene of the term is first of two; fold 1: second of two
    scores, members, fold = np.array([[2.0], [1.0], [1.0], [2.0]]), np.array([[1], [0], [1], [0]]), [[0], [0], [1], [1]]
    assert term_auprc(scores, members=members, fold=fold) == pytest.approx((1 + 1 / 2) / 2)
    assert term_auroc(scores, members=members, fold=fold) == pytest.approx(1 / 2)
    assert chance_auprc(members=members, fold=fold) == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize(("n_positive", "n"), [(1, 1), (2, 2), (1, 4), (2, 5), (3, 6)])
def test_chance_is_the_mean_over_all_orders(n_positive, n):
    truth = np.arange(n) < n_positive
    every = [average_precision_score(truth, order) for order in permutations(range(n))]
    assert expected_average_precision(n_positive=n_positive, n=n) == pytest.approx(np.mean(every))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_monotone_transforms_and_the_order_of_genes_change_nothing(seed):
    scores, members, fold = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    for metric in (term_auprc, term_auroc):
        value = metric(scores, members=members, fold=fold)
        assert metric(np.exp(scores / 3), members=members, fold=fold) == pytest.approx(value)
        assert metric(scores[order], members=members[order], fold=fold[order]) == pytest.approx(value)


def test_folds_are_never_ranked_together():
    scores, members, fold = drawn(0)
    assert term_auprc(scores + 100 * fold, members=members, fold=fold) == term_auprc(scores, members=members, fold=fold)


def test_weights_are_repeated_terms():
    scores, members, fold = drawn(1)
    again = [0, 0, 2]
    repeated = term_auprc(scores[:, again], members=members[:, again], fold=fold[:, again])
    statistic = term_auprc.statistic(scores, members=members, fold=fold)
    assert statistic.of_weights(np.array([[2.0, 0.0, 1.0]]))[0] == pytest.approx(repeated)


def test_truth_is_best_and_noise_is_chance():
    rng = np.random.default_rng(0)
    members = np.tile(np.arange(200)[:, None] < 40, 50)
    fold = np.tile(np.arange(200)[:, None] % 5, 50)
    assert term_auprc(members.astype(float), members=members, fold=fold) == 1
    noise = rng.normal(size=members.shape)
    expected = chance_auprc(members=members, fold=fold)
    assert term_auprc(noise, members=members, fold=fold) == pytest.approx(expected, abs=0.02)
    assert expected > members.mean()


def test_what_cannot_be_scored_is_refused():
    scores, members, fold = drawn(0)
    with pytest.raises(InapplicableMetricError, match="no term"):
        term_auprc(scores[:, :0], members=members[:, :0], fold=fold[:, :0])
    with pytest.raises(InvalidInputError, match="genes of one kind only"):
        term_auprc(scores, members=np.zeros_like(members), fold=fold)
    with pytest.raises(InvalidInputError, match="not finite"):
        term_auroc(np.full_like(scores, np.nan), members=members, fold=fold)
    with pytest.raises(InvalidInputError, match="shapes"):
        term_auroc(scores[:5], members=members, fold=fold)

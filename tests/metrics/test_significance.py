"""Tests of differences: by hand, calibrated where nothing differs, undefined where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.classification import accuracy
from scfm_eval.metrics.gains import gain_absolute, gain_relative_percent
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.significance import benjamini_hochberg, mcnemar, wilcoxon_over_seeds


def test_mcnemar_by_hand():
    left, right = np.array([1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 1, 1, 0])
    found = mcnemar(left, right)
    assert (found.only_left, found.only_right) == (5, 1)
    assert found.p == pytest.approx(2 * (6 + 1) / 64)  # P(5 or 6 of 6), both sides


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_mcnemar_is_symmetric_and_knows_no_order(pairs, seed):
    left, right = map(np.array, zip(*pairs, strict=True))
    if (left == right).all():
        with pytest.raises(UndefinedMetricError, match="very same cells"):
            mcnemar(left, right)
        return
    order = np.random.default_rng(seed).permutation(len(left))
    found, mirrored = mcnemar(left, right), mcnemar(right[order], left[order])
    assert 0 < found.p <= 1
    assert (found.only_left, found.only_right, found.p) == (mirrored.only_right, mirrored.only_left, mirrored.p)


def test_mcnemar_errs_at_most_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p = [mcnemar(rng.random(60) < 0.7, rng.random(60) < 0.7).p for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) <= 0.06


def test_wilcoxon_by_hand():
    assert wilcoxon_over_seeds([2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 1, 1]) == pytest.approx(2 / 2**6)
    assert wilcoxon_over_seeds([1, 2, 3, 4, 5, 6.5, 1], [2, 1, 5, 1, 9, 1, 1]) == pytest.approx(
        stats.wilcoxon([-1, 1, -2, 3, -4, 5.5]).pvalue
    )


def test_too_few_seeds_say_nothing():
    with pytest.raises(UndefinedMetricError, match="differ on 5 of 7 seeds"):
        wilcoxon_over_seeds([1, 2, 3, 4, 5, 0, 0], [0] * 7)


def test_false_discovery_rates_by_hand():
    found = benjamini_hochberg([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(found, [0.02, np.nan, 0.04, 0.04, 0.02])
    assert len(benjamini_hochberg([])) == 0
    assert np.isnan(benjamini_hochberg([np.nan])).all()


@pytest.mark.parametrize("test", [mcnemar, wilcoxon_over_seeds])
def test_what_is_not_paired_is_refused(test):
    with pytest.raises(InvalidInputError, match=r"shapes \(2,\) and \(3,\)"):
        test([1, 0], [1, 0, 1])


def share(n_right):
    """Return the accuracy of 1,000 cells of which some are right."""
    return accuracy.statistic(["a"] * 1000, ["a"] * n_right + ["b"] * (1000 - n_right), classes=["a", "b"])


def test_gains_are_what_their_names_say():
    tuned, frozen = share(978), share(613)
    assert gain_absolute(tuned, frozen=frozen) == pytest.approx(0.365)
    assert gain_relative_percent(tuned, frozen=frozen) == pytest.approx(59.5, abs=0.05)
    assert gain_relative_percent(frozen, frozen=tuned) == pytest.approx(-37.3, abs=0.05)
    weights = np.random.default_rng(0).integers(0, 3, size=(4, 1000)).astype(float)
    np.testing.assert_allclose(
        gain_absolute.statistic(tuned, frozen=frozen).of_weights(weights),
        tuned.of_weights(weights) - frozen.of_weights(weights),
    )


def test_nothing_is_a_percentage_of_zero():
    with pytest.raises(UndefinedMetricError, match="scores 0"):
        gain_relative_percent(share(10), frozen=share(0))


@pytest.mark.parametrize("test", [mcnemar, wilcoxon_over_seeds])
@pytest.mark.parametrize(
    ("values", "found"), [([], r"shapes \(0,\)"), ([[1, 0], [0, 1]], r"shapes \(2, 2\) and \(2, 2\)")]
)
def test_none_and_tables_are_no_pairs(test, values, found):
    with pytest.raises(InvalidInputError, match=found):
        test(values, values)


def test_whatever_is_true_is_right():
    found = mcnemar([3, 0, 2, 0.5], ["yes", "", "", ""])
    assert (found.only_left, found.only_right) == (2, 0)
    assert found.p == 0.5


def test_values_may_be_texts_of_numbers():
    values, zeros = [str(value) for value in (1, 2, 3, 4, 5, 6)], ["0"] * 6
    assert wilcoxon_over_seeds(values, [0] * 6) == pytest.approx(2 / 64)
    assert wilcoxon_over_seeds([0] * 6, values) == pytest.approx(2 / 64)
    assert wilcoxon_over_seeds(values, zeros) == pytest.approx(2 / 64)
    np.testing.assert_allclose(benjamini_hochberg(["0.01", "nan", "0.04"]), [0.02, np.nan, 0.04])


def test_six_seeds_that_differ_are_enough():
    with pytest.raises(UndefinedMetricError, match=r"5 of 5 seeds; below 6 no p is under 0.05"):
        wilcoxon_over_seeds([1, 2, 3, 4, 5], [0] * 5)
    assert wilcoxon_over_seeds([1, 2, 3, 4, 5, 6], [0] * 6) < 0.05

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.metrics.weighted import (
    group_mean_statistic,
    group_sums,
    mean_of_group_means,
    ratio,
    weighted_mean,
    weighted_median,
)

counts = st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any)


@settings(max_examples=100, deadline=None)
@given(counts, st.integers(0, 2**32 - 1))
def test_median_with_integer_weights_is_the_median_of_the_repeated_values(repeats, seed):
    values = np.random.default_rng(seed).integers(5, size=len(repeats)).astype(float)
    weights = np.array([repeats], dtype=float)
    assert weighted_median(weights, values)[0] == np.median(np.repeat(values, repeats))
    assert weighted_mean(weights, values)[0] == pytest.approx(np.repeat(values, repeats).mean())


def test_median_takes_both_middle_values_of_an_even_total():
    weights = np.array([[1.0, 1, 1, 1], [2, 0, 0, 1], [0, 0, 1, 1]])
    np.testing.assert_array_equal(weighted_median(weights, np.array([4.0, 1, 2, 8])), [3, 4, 5])


def test_nothing_left_is_nan_and_not_zero():
    none = np.zeros((1, 3))
    values, codes = np.array([1.0, 2, 3]), np.array([0, 1, 1])
    assert np.isnan(weighted_median(none, values)[0])
    assert np.isnan(weighted_mean(none, values)[0])
    assert np.isnan(mean_of_group_means(none, values, codes=codes, n_groups=2)[0])


def test_an_absent_group_leaves_the_mean_of_that_resample():
    values, codes = np.array([1.0, 2, 4]), np.array([0, 1, 1])
    means = mean_of_group_means(np.array([[1.0, 1, 1], [0, 1, 3], [1, 0, 0]]), values, codes=codes, n_groups=2)
    np.testing.assert_allclose(means, [(1 + 3) / 2, (2 + 12) / 4, 1])


def test_cells_of_no_group_count_nowhere():
    sums = group_sums(np.array([[1.0, 2, 5]]), np.array([1, 1, -1]), n_groups=2, values=np.array([10, 100, np.nan]))
    np.testing.assert_array_equal(sums, [[0, 210]])


def test_weights_alone_are_summed_by_group():
    sums = group_sums(np.array([[1.0, 2, 5], [0, 1, 0]]), np.array([1, 0, 1]), n_groups=3)
    np.testing.assert_array_equal(sums, [[2, 6, 0], [1, 0, 0]])
    texts = group_sums(np.ones((1, 2)), np.array([0, 0]), n_groups=1, values=np.array([True, False]))
    np.testing.assert_array_equal(texts, [[1]])


def test_ratios_of_zero_and_negative_parts():
    with np.errstate(all="raise"):
        found = ratio(np.array([1.0, 0, -2, 3]), np.array([0.0, 0, -4, 0.5]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0.5, 6])


def test_a_statistic_over_groups_has_its_cells_and_how():
    made = group_mean_statistic(np.array([1.0, 2, 5]), codes=np.array([0, 1, -1]), n_groups=2, how={"k": 1})
    assert (made.value(), made.n_cells, made.how, made.spread) == (1.5, 3, {"k": 1}, 1.0)

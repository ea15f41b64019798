"""What permuted types score: orders that are the same everywhere, and a p-value that is never zero."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from scfm_eval.metrics.permutation import permutation_null, type_orders


def test_orders_are_a_thousand_and_the_same_every_time():
    orders = type_orders(6)
    assert orders.shape == (1000, 6)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(6), (1000, 1)))
    np.testing.assert_array_equal(orders, np.random.default_rng(0).permuted(np.tile(np.arange(6), (1000, 1)), axis=1))
    assert type_orders(3, n_permutations=7).shape == (7, 3)


VALUES = [1.0, 2.0, 3.0, 6.0, math.nan]


@pytest.mark.parametrize(
    ("observed", "higher", "as_good"),
    # as good as what was observed, or without a value; rounding is no difference
    [
        (3.0, True, 3),
        (3.0, False, 4),
        (3 + 5e-13, True, 3),
        (3 - 5e-13, False, 4),
        (3 + 5e-12, True, 2),
        (3 - 5e-12, False, 3),
        (7.0, True, 1),
        (0.0, False, 1),
    ],
)
def test_p_is_the_share_of_orders_as_good_with_the_observed_one(observed, higher, as_good):
    null = permutation_null(observed, iter(VALUES), higher_is_better=higher)
    assert null["p_value"] == (1 + as_good) / 6
    assert (null["n_permutations"], null["mean"]) == (5, 3.0)
    assert null["sd"] == pytest.approx(np.std([1, 2, 3, 6]))


def test_a_difference_of_exactly_the_tolerance_is_none():
    assert permutation_null(1e-12, [0.0], higher_is_better=True)["p_value"] == 1
    assert permutation_null(0.0, [1e-12], higher_is_better=False)["p_value"] == 1
    assert permutation_null(1.0, [0.0], higher_is_better=True)["p_value"] == 1 / 2


def test_orders_without_any_value_have_no_mean():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        null = permutation_null(1.0, [math.nan, math.nan], higher_is_better=True)
    assert math.isnan(null["mean"])
    assert math.isnan(null["sd"])
    assert null["p_value"] == 1

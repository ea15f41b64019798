"""Effective rank and linear CKA: values by hand, what they do not depend on, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.inputs import as_matrix
from scfm_eval.metrics.layers import effective_rank, linear_cka
from scfm_eval.metrics.metric import UndefinedMetricError


def rotation(width, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def test_rank_by_hand():
    # centred already; singular values 2, 2 and then sqrt(2), sqrt(8)
    cross = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert effective_rank(cross) == pytest.approx(2)
    assert effective_rank(np.column_stack([cross, np.zeros(4), 0 * cross])) == pytest.approx(2)
    shares = np.array([1, 2]) / 3
    assert effective_rank(cross * [1, 2]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(np.outer(np.arange(5), [1, 2, 3])) == pytest.approx(1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_rank_and_cka_do_not_change_under_rotation_and_scale(seed, factor):
    X = np.random.default_rng(seed).normal(size=(20, 4)) * [1, 2, 3, 4]
    turned = factor * X @ rotation(4, seed) + 7
    assert effective_rank(turned) == pytest.approx(effective_rank(X))
    np.testing.assert_allclose(linear_cka([X, turned]), 1, atol=1e-9)


def test_rank_is_bounded():
    X = np.random.default_rng(0).normal(size=(6, 40))
    assert 4 < effective_rank(X) <= 5
    with pytest.raises(UndefinedMetricError):
        effective_rank(np.full((5, 3), 2.0))


def test_cka_by_the_kernel_definition():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(15, 3)), rng.normal(size=(15, 5))
    centre = np.eye(15) - 1 / 15
    K, L = (centre @ table @ table.T @ centre for table in (X, Y))
    expected = (K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum())
    np.testing.assert_allclose(linear_cka([X, Y]), [[1, expected], [expected, 1]])


def test_cka_of_unrelated_and_of_constant_layers():
    X, Y = np.random.default_rng(2).normal(size=(2, 4000, 3))
    made = linear_cka([X, Y, np.ones((4000, 2))])
    assert made[0, 1] < 0.01
    assert np.isnan(made[2]).all()
    assert np.isnan(made[:, 2]).all()


def test_layers_of_other_cells_are_refused():
    with pytest.raises(InvalidInputError, match="4 to 5 cells"):
        linear_cka([np.eye(4), np.eye(5)])


def test_cka_does_not_depend_on_the_order_of_layers():
    rng = np.random.default_rng(3)
    layers = [rng.normal(size=(12, width)) for width in (2, 3, 4)]
    found = linear_cka(layers)
    np.testing.assert_allclose(found[::-1, ::-1], linear_cka(layers[::-1]))
    np.testing.assert_allclose(found[:2, :2], linear_cka(layers[:2]))
    assert found.max() <= 1


def test_one_cell_is_a_matrix():
    np.testing.assert_array_equal(as_matrix([[5.0]]), [[0.0]])

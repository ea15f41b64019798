"""Energy distance and maximum mean discrepancy: golden values, no bias, and what a mean cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.distributions import e_distance, energy_distance, kernel_width, mmd, squared_mmd
from scfm_eval.metrics.metric import UndefinedMetricError
from tests.perturbation_golden import expected, golden

DISTANCES = pytest.mark.parametrize("distance", [energy_distance, squared_mmd])
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("against", ["pred", "control"])
def test_reaches_the_golden_values(against):
    data = golden()
    energy, kernel = expected("energy_distance")["values"], expected("mmd")["values"]
    for name in data.conditions:
        other = data.predicted_cells[name] if against == "pred" else data.cells["non-targeting"]
        known = energy[name][f"real_vs_{against}"]["euclidean_unbiased"]
        assert energy_distance(data.cells[name], other) == pytest.approx(known, rel=1e-6)
        known = kernel[name][f"real_vs_{against}"]["corrected"]["rbf_median_heuristic_unbiased"]
        assert squared_mmd(data.cells[name], other) == pytest.approx(known, rel=1e-6)


def test_halves_of_the_same_cells_reach_the_golden_value():
    known = expected("energy_distance")["facts"]["two_random_halves_of_the_control_cells"]
    control = golden().cells["non-targeting"]
    half = np.isin(np.arange(len(control)), known["half_1_rows_of_control"])
    found = energy_distance(control[half], control[~half])
    assert found == pytest.approx(known["euclidean_unbiased"], rel=1e-6)


def test_hand_worked():
    # between: 0, 2, 1, 1 (mean 1); within: 1 and 2
    assert energy_distance([[0.0], [1.0]], [[0.0], [2.0]]) == pytest.approx(2 * 1 - 1 - 2)
    # squared distances 0, 4, 1, 1, 1, 4: median 1
    kernel = [np.exp(-d) for d in (0, 4, 1, 1)]
    assert squared_mmd([[0.0], [1.0]], [[0.0], [2.0]]) == pytest.approx(np.exp(-1) + np.exp(-4) - 2 * np.mean(kernel))


@DISTANCES
def test_samples_of_the_same_cells_are_at_zero_on_average(distance):
    found = [distance(RNG.normal(size=(15, 5)), RNG.normal(size=(20, 5))) for _ in range(200)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(200)


@DISTANCES
def test_sees_more_than_the_mean(distance):
    wide = RNG.normal(size=(80, 5)) * 3
    narrow = RNG.normal(size=(80, 5))
    assert distance(wide - wide.mean(axis=0), narrow - narrow.mean(axis=0)) > 0.05


@DISTANCES
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-1e3, 1e3))
def test_is_symmetric_and_moves_and_turns_with_the_cells(distance, seed, shift):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(6, 4)), rng.normal(size=(9, 4)) + 1
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    value = distance(X, Y)
    assert distance(Y, X) == pytest.approx(value, abs=1e-9)
    assert distance(rng.permutation(X) @ turn + shift, Y @ turn + shift) == pytest.approx(value, abs=1e-8)
    if distance is squared_mmd:
        assert distance(7 * X, 7 * Y) == pytest.approx(value, abs=1e-9)


def test_means_over_conditions_name_their_cells():
    X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
    known = {"conditions": np.array(["a", "b"]), "predicted_cells": "shifted"}
    energies = e_distance.statistic([(X, Y), (X, Y + 9)], **known)
    kernels = mmd.statistic([(X, Y), (X, Y + 9)], widths=[2.0, 3.0], **known)
    each_energy = [energy_distance(X, Y), energy_distance(X, Y + 9)]
    each_kernel = [squared_mmd(X, Y, width=2.0), squared_mmd(X, Y + 9, width=3.0)]
    for statistic, each in ((energies, each_energy), (kernels, each_kernel)):
        assert statistic.how["predicted_cells"] == "shifted"
        np.testing.assert_allclose(statistic.of_weights(np.array([[1.0, 0], [1, 1]])), [each[0], np.mean(each)])


def test_the_width_of_the_kernel_may_be_given():
    X, Y, control = [[0.0], [1.0]], [[0.0], [2.0]], [[3.0], [4.0]]
    # squared distances of X and control: 9, 16, 4, 9, 1, 1
    assert kernel_width(X, control) == 6.5
    kernel = [np.exp(-d / 6.5) for d in (0, 4, 1, 1)]
    expected_ = np.exp(-1 / 6.5) + np.exp(-4 / 6.5) - 2 * np.mean(kernel)
    assert squared_mmd(X, Y, width=6.5) == pytest.approx(expected_)
    assert squared_mmd(X, control, width=6.5) == squared_mmd(X, control)


@DISTANCES
def test_what_has_no_distance_is_refused(distance):
    X = RNG.normal(size=(4, 3))
    with pytest.raises(UndefinedMetricError, match="1 and 4 cells"):
        distance(X[:1], X)
    with pytest.raises(InvalidInputError, match="3 and 2 columns"):
        distance(X, X[:, :2])
    with pytest.raises(InvalidInputError, match="NaN"):
        distance(X, X * np.nan)


def test_equal_cells_have_no_kernel():
    with pytest.raises(UndefinedMetricError, match="no width"):
        kernel_width(np.ones((3, 2)), np.ones((3, 2)))


def distance_by_pairs(X, Y):
    """Energy distance and squared MMD over all pairs of different cells."""

    def mean(A, B, of):
        return np.mean(
            [of(np.sum((a - b) ** 2)) for i, a in enumerate(A) for j, b in enumerate(B) if A is not B or i != j]
        )

    def energy(of):
        return 2 * mean(X, Y, of) - mean(X, X, of) - mean(Y, Y, of)

    return energy(np.sqrt), lambda width: -energy(lambda square: np.exp(-square / width))


def test_equals_the_definition_over_pairs():
    X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(7, 3)) + 1
    energy, kernel = distance_by_pairs(X, Y)
    assert energy_distance(X, Y) == pytest.approx(energy)
    assert squared_mmd(X, Y, width=1.5) == pytest.approx(kernel(1.5))
    both = np.concatenate([X, Y])
    width = np.median([np.sum((a - b) ** 2) for i, a in enumerate(both) for b in both[:i]])
    assert kernel_width(X, Y) == pytest.approx(width)
    assert squared_mmd(X, Y) == pytest.approx(kernel(width))
    far = 1e6
    assert energy_distance(X + far, Y + far) == pytest.approx(energy, abs=1e-7)


def test_every_condition_has_a_width():
    X = RNG.normal(size=(5, 3))
    with pytest.raises(ValueError, match="zip"):
        mmd([(X, X + 1), (X, X + 2)], widths=[1.0], conditions=np.array(["a", "b"]), predicted_cells="shifted")

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.rogi import Trees, complete_tree, rogi, rogi_xd, roughness

METRICS = pytest.mark.parametrize("metric", [rogi, rogi_xd], ids=lambda metric: metric.name)
EUCLIDEAN = {
    "X_y_euclidean": ("X", "y"),
    "X_rotated_y_euclidean": ("X_rotated", "y"),
    "X_more_dims_y_euclidean": ("X_more_dims", "y"),
    "X_noise_y_euclidean": ("X_noise", "y"),
    "X_y_shuffled_euclidean": ("X", "y_shuffled"),
    "X_dup_y_dup_euclidean": ("X_dup", "y_dup"),
}


@pytest.fixture(scope="module")
def golden():
    folder = Path(__file__).parents[1] / "golden_metrics" / "rogi"
    inputs = dict(np.load(folder / "input.npz"))
    return SimpleNamespace(**inputs, expected=json.loads((folder / "expected.json").read_text()))


def of_property(tree, y):
    return tuple(float(found[0]) for found in roughness(tree, (y - y.min())[:, None] / np.ptp(y)))


def all_cells(X):
    return Trees(X).of(np.ones(len(X), dtype=bool))


@pytest.mark.parametrize("name", EUCLIDEAN)
def test_golden_of_numbers(golden, name):
    X, y = (getattr(golden, key) for key in EUCLIDEAN[name])
    expected = golden.expected["reference"]["values"][name]
    assert of_property(all_cells(X), y) == pytest.approx((expected["rogi"], expected["rogi_xd"]), abs=1e-9)


@pytest.mark.parametrize("distance", ["cityblock", "cosine"])
def test_golden_of_other_distances(golden, distance):
    expected = golden.expected["reference"]["values"][f"X_y_{distance}"]
    tree = complete_tree(pdist(golden.X, distance) / expected["d_max"])
    assert of_property(tree, golden.y) == pytest.approx((expected["rogi"], expected["rogi_xd"]), abs=1e-9)


@pytest.mark.parametrize("name", ["X", "X_more_dims", "X_noise"])
def test_golden_of_types(golden, name):
    expected, trees = golden.expected["extension_one_vs_rest"]["values"][name], Trees(getattr(golden, name))
    assert rogi(trees, labels=golden.labels) == pytest.approx(expected["mean_rogi"], abs=1e-9)
    assert rogi_xd(trees, labels=golden.labels) == pytest.approx(expected["mean_rogi_xd"], abs=1e-9)


def test_hand_worked():
    # two pairs, 0.2 wide each and 1 apart: B B T T is pure until all merge, at the diagonal of the ranges
    trees = Trees([[0.0], [0.2], [0.8], [1.0]])
    assert rogi(trees, labels=["B", "B", "T", "T"]) == pytest.approx(1 - 0.2 - 0.8 / 2)
    assert rogi_xd(trees, labels=["B", "B", "T", "T"]) == pytest.approx(1 - 0.5 - 0.5 / 2)
    # B T B T: both pairs are mixed, and nothing is left at 0.2
    assert rogi(trees, labels=["B", "T", "B", "T"]) == pytest.approx(1 - 0.2 / 2)
    assert rogi_xd(trees, labels=["B", "T", "B", "T"]) == pytest.approx(1 - 0.5 / 2)


def test_a_property_that_is_constant_is_not_rough(golden):
    np.testing.assert_allclose(roughness(all_cells(golden.X), np.ones((84, 1))), 0, atol=1e-12)


@METRICS
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_are_repeated_cells(metric, seed):
    rng = np.random.default_rng(seed)
    X, labels, weights = rng.normal(size=(24, 3)), rng.choice(["B", "T", "NK"], 24), rng.integers(3, size=24)
    weights[[np.flatnonzero(labels == name)[0] for name in np.unique(labels)]] = 1
    again = metric(Trees(np.repeat(X, weights, axis=0)), labels=np.repeat(labels, weights))
    found = metric.statistic(Trees(X), labels=labels).of_weights(weights[None].astype(float))
    assert found[0] == pytest.approx(again, abs=1e-9)


@METRICS
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_order_names_place_and_scale_do_not_matter(metric, seed, scale):
    rng = np.random.default_rng(seed)
    X, labels, order = rng.normal(size=(30, 3)), rng.choice(["B", "T", "NK"], 30), rng.permutation(30)
    found = metric(Trees(X), labels=labels)
    assert metric(Trees(scale * X[order] + 7), labels=np.char.add("a ", labels[order])) == pytest.approx(
        found, abs=1e-6
    )
    assert metric.best <= found <= metric.worst


@METRICS
def test_types_apart_are_smoother_than_noise_which_is_at_chance(metric, mixture):
    rng = np.random.default_rng(0)
    apart = Trees(np.eye(4)[np.unique(mixture.labels, return_inverse=True)[1]] + 0.01 * mixture.X[:, :4])
    noise = Trees(rng.normal(size=(240, 6)))
    chance = np.mean([metric(noise, labels=rng.permutation(mixture.labels)) for _ in range(10)])
    assert metric(noise, labels=mixture.labels) == pytest.approx(chance, abs=0.02)
    assert metric(apart, labels=mixture.labels) < 0.6 * chance


@METRICS
def test_a_collapsed_embedding_has_no_landscape(metric):
    with pytest.raises(UndefinedMetricError, match="at one place"):
        metric(Trees(np.ones((40, 3))), labels=np.repeat(["B", "T"], 20))


@METRICS
def test_types_without_cells_leave_the_mean_and_one_type_has_no_value(metric):
    X = np.random.default_rng(0).normal(size=(9, 2))
    labels = np.repeat(["B", "T", "NK"], 3)
    weights = np.array([[1.0] * 6 + [0] * 3, [1] * 3 + [0] * 6, [0] * 9])
    found = metric.statistic(Trees(X), labels=labels).of_weights(weights)
    assert found[0] == pytest.approx(metric(Trees(X[:6]), labels=labels[:6]))
    assert np.isnan(found[1:]).all()
    with pytest.raises(UndefinedMetricError, match="only one label"):
        metric(Trees(X), labels=np.repeat("B", 9))


def test_rotation_changes_rogi_but_hardly_rogi_xd(golden):
    X, rotated = Trees(golden.X), Trees(golden.X_rotated)
    assert abs(rogi(X, labels=golden.labels) - rogi(rotated, labels=golden.labels)) > 0.005
    assert abs(rogi_xd(X, labels=golden.labels) - rogi_xd(rotated, labels=golden.labels)) < 0.001


@METRICS
def test_two_cells_are_enough_and_one_is_not(metric):
    X, labels = np.random.default_rng(0).normal(size=(5, 2)), ["B", "B", "T", "T", "T"]
    statistic = metric.statistic(Trees(X), labels=labels)
    found = statistic.of_weights(np.array([[1.0, 0, 1, 0, 0], [0, 3, 0, 0, 0], [0, 2, 0, 2, 0]]))
    assert found[0] == pytest.approx(metric(Trees(X[[0, 2]]), labels=["B", "T"]))
    assert np.isnan(found[1])
    again = metric(Trees(X[[1, 1, 3, 3]]), labels=["B", "B", "T", "T"])
    assert found[2] == pytest.approx(again)

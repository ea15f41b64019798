import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from scfm_eval.metrics.clustering import ari, kmeans_clusters, nmi
from scfm_eval.metrics.metric import UndefinedMetricError

SECOND = {"nmi": normalized_mutual_info_score, "ari": adjusted_rand_score}
METRICS = pytest.mark.parametrize("metric", [nmi, ari], ids=lambda metric: metric.name)
cells = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 3), st.integers(1, 3)), min_size=4).filter(
    lambda rows: len({label for label, _, _ in rows}) > 1
)


@METRICS
@settings(max_examples=40, deadline=None)
@given(cells)
def test_equals_scikit_learn_on_the_repeated_cells(metric, cells):
    labels, clusters, repeats = (np.array(column) for column in zip(*cells, strict=True))
    statistic = metric.statistic(clusters, labels=labels)
    second = SECOND[metric.name]
    assert statistic.value() == pytest.approx(second(labels, clusters), abs=1e-9)
    again = second(np.repeat(labels, repeats), np.repeat(clusters, repeats))
    assert statistic.of_weights(repeats[None].astype(float))[0] == pytest.approx(again, abs=1e-9)


@METRICS
def test_kmeans_reaches_the_golden_value(metric, integration_golden):
    golden = integration_golden
    before = golden.X.copy()
    clusters = kmeans_clusters(golden.X, n_clusters=4, seed=0)
    expected = golden.expected["corrected"][f"kmeans_{metric.name}_of_lowest_inertia"]
    assert metric(clusters, labels=golden.labels) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(golden.X, before)


@METRICS
def test_oracle_is_best_under_any_names_and_random_is_near_zero(metric):
    rng = np.random.default_rng(0)
    labels = rng.choice(["B", "T", "NK"], size=3000)
    assert metric(np.char.add("cluster of ", labels), labels=labels) == pytest.approx(metric.best)
    assert metric(rng.integers(3, size=3000), labels=labels) == pytest.approx(0, abs=0.01)


@METRICS
def test_one_cluster_is_zero_and_one_label_undefined(metric):
    labels = np.repeat(["B", "T"], 4)
    assert metric(np.zeros(8), labels=labels) == 0
    with pytest.raises(UndefinedMetricError, match="only one label: B"):
        metric(np.arange(8), labels=np.repeat("B", 8))


@METRICS
def test_a_resample_of_one_label_and_cluster_has_no_value(metric):
    statistic = metric.statistic(["a", "a", "b"], labels=["B", "B", "T"])
    values = statistic.of_weights(np.array([[1.0, 1, 0], [2, 1, 1]]))
    assert np.isnan(values[0])
    assert values[1] == pytest.approx(1)


def test_hand_worked_ari():
    # pairs together: in clusters 1 + 1, in labels 3, in both 1, of 6; expected 2·3/6 = 1
    assert ari([0, 0, 1, 1], labels=["B", "B", "B", "T"]) == pytest.approx((1 - 1) / ((2 + 3) / 2 - 1))
    # pairs together: in clusters 1, in labels 2, in both 1, of 6; expected 1/3
    assert ari([0, 0, 1, 2], labels=["B", "B", "T", "T"]) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))

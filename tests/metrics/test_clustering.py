import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_samples,
    silhouette_score,
)

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.clustering import ami, ari, asw, kmeans_clusters, nmi, patient_ari, unit_length
from scfm_eval.metrics.metric import UndefinedMetricError

SECOND = {"nmi": normalized_mutual_info_score, "ari": adjusted_rand_score, "ami": adjusted_mutual_info_score}
METRICS = pytest.mark.parametrize("metric", [nmi, ari, ami], ids=lambda metric: metric.name)
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


@pytest.mark.parametrize("metric", [nmi, ari], ids=lambda metric: metric.name)
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
    assert metric(np.zeros(8), labels=labels) == pytest.approx(0, abs=1e-12)
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


def test_hand_worked_ami():
    # all sizes are 2: cells both B and of cluster 0 are 0, 1, 2 in 1, 4, 1 of 6 deals, with information log 2, 0, log 2
    assert ami([0, 0, 1, 1], labels=["B", "T", "B", "T"]) == pytest.approx(-(1 / 3) / (1 - 1 / 3))
    assert ami([0, 0, 1, 1], labels=["B", "B", "T", "T"]) == pytest.approx(1)


def test_ami_equals_scikit_learn_where_the_sums_are_cut_short():
    rng = np.random.default_rng(0)
    clusters = rng.choice(7, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01], size=6000)
    labels = np.where(rng.random(6000) < 0.3, clusters % 4, rng.integers(4, size=6000))
    weights = rng.multinomial(6000, np.full(6000, 1 / 6000), size=3)
    found = ami.statistic(clusters, labels=labels).of_weights(weights.astype(float))
    expected = [adjusted_mutual_info_score(np.repeat(labels, w), np.repeat(clusters, w)) for w in weights]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_cluster_of_its_own_for_each_cell_says_nothing():
    labels = np.repeat(["B", "T"], 4)
    assert ami(np.arange(8), labels=labels) == pytest.approx(0, abs=1e-9)
    assert ari(np.arange(8), labels=labels) == 0
    assert nmi(np.arange(8), labels=labels) == pytest.approx(0.5)


def test_patients_that_are_clusters_are_the_worst():
    assert not patient_ari.higher_is_better
    patients = np.repeat(["p1", "p2", "p3"], 20)
    assert patient_ari(patients, patients=patients) == patient_ari.worst
    assert patient_ari(np.arange(60) % 4, patients=patients) < 0.01
    with pytest.raises(UndefinedMetricError, match="only one patient"):
        patient_ari(np.arange(4), patients=["p", "p", "p", "p"])


def test_asw_equals_scikit_learn_with_cosine_distances(mixture):
    weights = np.random.default_rng(0).integers(3, size=(2, mixture.n_cells)).astype(float)
    statistic = asw.statistic(mixture.X, labels=mixture.labels)
    assert statistic.value() == pytest.approx(silhouette_score(mixture.X, mixture.labels, metric="cosine"), abs=1e-12)
    each = silhouette_samples(mixture.X, mixture.labels, metric="cosine")
    np.testing.assert_allclose(statistic.of_weights(weights), [np.average(each, weights=row) for row in weights])


def test_asw_knows_directions_only_and_its_bounds():
    rng = np.random.default_rng(1)
    labels = np.repeat(["B", "T"], 40)
    direction = np.where(labels == "B", 1.0, -1.0)[:, None] * np.array([[1.0, 0.5]])
    scaled = direction * rng.uniform(0.1, 9, size=(80, 1))
    assert asw(scaled, labels=labels) == pytest.approx(asw.best)
    assert asw(np.vstack([scaled, np.zeros((1, 2))]), labels=[*labels, "alone"]) == pytest.approx(80 / 81)
    assert abs(asw(rng.normal(size=(80, 5)), labels=labels)) < 0.05
    assert asw(np.ones((80, 3)), labels=labels) == 0
    assert asw(np.zeros((80, 3)), labels=labels) == 0


def test_unit_length_keeps_zeros_and_refuses_nan():
    np.testing.assert_allclose(unit_length([[3.0, 4.0], [0.0, 0.0]]), [[0.6, 0.8], [0.0, 0.0]])
    with pytest.raises(InvalidInputError, match="1 of 2 cells with NaN"):
        unit_length([[3.0, 4.0], [np.nan, 0.0]])


def test_clusters_are_the_best_of_ten_starts_of_scikit_learn():
    X = np.random.default_rng(0).normal(size=(120, 4))
    for seed in range(4):
        expected = KMeans(9, n_init=10, random_state=seed).fit_predict(X)
        np.testing.assert_array_equal(kmeans_clusters(X, n_clusters=9, seed=seed), expected)

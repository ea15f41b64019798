import random

import igraph
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.kernels import fuzzy_connectivities
from scfm_eval.metrics.leiden import Clusterings, avg_bio, leiden_clusterings, nmi_leiden, nmi_leiden_oracle
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.neighbors import nearest_neighbors

LABELS = np.repeat(["B", "T", "NK", "mono"], 10)
HALF = np.arange(40) % 2 == 0


def clusterings(*clusters):
    return Clusterings(np.arange(1.0, 1 + len(clusters)), np.array(clusters))


@pytest.fixture(scope="module")
def golden_clusters(integration_golden):
    return leiden_clusterings(nearest_neighbors(integration_golden.X, k=15), seed=0)


def test_golden(golden_clusters, integration_golden):
    expected, tolerance = integration_golden.expected["avg_bio"], integration_golden.expected["tolerance"]["leiden"]
    found = avg_bio(golden_clusters, X=integration_golden.X, labels=integration_golden.labels)
    assert found == pytest.approx(expected["scib_metrics_leiden_optimal"], abs=tolerance)
    best = integration_golden.expected["reference_scib_metrics"]["X"]["leiden_nmi"]
    assert nmi_leiden_oracle(golden_clusters, labels=integration_golden.labels) == pytest.approx(best, abs=tolerance)


def test_a_seed_gives_the_same_clusters_and_leaves_no_trace(golden_clusters, integration_golden):
    random.seed(5)
    expected = random.Random(5).random()
    again = leiden_clusterings(nearest_neighbors(integration_golden.X, k=15), seed=0)
    np.testing.assert_array_equal(again.clusters, golden_clusters.clusters)
    assert random.random() == expected


def test_higher_resolutions_give_more_clusters(golden_clusters):
    n_clusters = [len(np.unique(clusters)) for clusters in golden_clusters.clusters]
    assert golden_clusters.clusters.shape == (20, 416)
    assert (golden_clusters.resolutions[0], golden_clusters.resolutions[-1]) == (0.1, 2.0)
    assert n_clusters[0] < 4 < n_clusters[-1]


def test_each_half_is_scored_where_the_other_chose():
    codes = np.repeat([0, 1, 2, 3], 10)
    # the first is right in one half and wrong in the other; the second the other way round
    first, second = np.where(HALF, codes, 0), np.where(HALF, 0, codes)
    found = nmi_leiden.statistic(clusterings(first, second), labels=LABELS, half=HALF)
    assert found.value() == 0
    assert found.how["resolution_of_each_half"] == [2.0, 1.0]
    assert nmi_leiden(clusterings(codes, first), labels=LABELS, half=HALF) == pytest.approx(1)


def test_the_oracle_takes_the_best_and_avg_bio_is_the_mean_of_three_there():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4)) + 2 * np.eye(4)[np.repeat([0, 1, 2, 3], 10)]
    tried = [np.zeros(40, int), np.repeat([0, 1, 2, 2], 10), rng.integers(4, size=40)]
    oracle = nmi_leiden_oracle.statistic(clusterings(*tried), labels=LABELS)
    nmi, ari = normalized_mutual_info_score(LABELS, tried[1]), adjusted_rand_score(LABELS, tried[1])
    assert oracle.how["resolution"] == 2.0
    assert oracle.value() == pytest.approx(nmi)
    expected = np.mean([nmi, ari, (silhouette_score(X, LABELS) + 1) / 2])
    assert avg_bio(clusterings(*tried), X=X, labels=LABELS) == pytest.approx(expected)


def test_weights_weigh_cells():
    tried = clusterings(np.repeat([0, 1, 2, 2], 10), np.arange(40) % 3)
    weights = np.random.default_rng(0).integers(3, size=40)
    again = clusterings(*np.repeat(tried.clusters, weights, axis=1))
    labels, half = np.repeat(LABELS, weights), np.repeat(HALF, weights)
    found = nmi_leiden.statistic(tried, labels=LABELS, half=HALF).of_weights(weights[None].astype(float))
    assert found[0] == pytest.approx(nmi_leiden(again, labels=labels, half=half))


def test_noise_is_at_the_chance_of_permuted_labels(mixture):
    rng = np.random.default_rng(0)
    found = leiden_clusterings(nearest_neighbors(rng.normal(size=(240, 6)), k=15), seed=0)
    half = rng.permutation(240) < 120
    permuted = [nmi_leiden(found, labels=rng.permutation(mixture.labels), half=half) for _ in range(10)]
    assert nmi_leiden(found, labels=mixture.labels, half=half) == pytest.approx(np.mean(permuted), abs=0.06)


def test_types_far_apart_are_found(mixture):
    X = np.eye(4)[np.unique(mixture.labels, return_inverse=True)[1]] + 0.01 * mixture.X[:, :4]
    found = leiden_clusterings(nearest_neighbors(X, k=15), seed=0)
    half = np.arange(240) % 2 == 0
    assert nmi_leiden(found, labels=mixture.labels, half=half) == pytest.approx(1)
    assert nmi_leiden_oracle(found, labels=mixture.labels) == pytest.approx(1)


def test_faults_are_named():
    one = clusterings(np.zeros(40, int))
    with pytest.raises(InvalidInputError, match="true or false"):
        nmi_leiden(one, labels=LABELS, half=HALF.astype(int))
    with pytest.raises(UndefinedMetricError, match="only one label: T"):
        nmi_leiden(one, labels=np.where(HALF, LABELS, "T"), half=HALF)


def test_clusters_are_those_of_the_weighted_graph():
    neighbors = nearest_neighbors(np.random.default_rng(0).normal(size=(120, 3)), k=20)
    found = leiden_clusterings(neighbors, seed=3, resolutions=[0.5, 1.5])
    graph = fuzzy_connectivities(neighbors.first(15)).toarray()
    pairs = np.argwhere(np.triu(graph, k=1) > 0)
    edges = igraph.Graph(n=120, edges=pairs)
    for clusters, resolution in zip(found.clusters, (0.5, 1.5), strict=True):
        igraph.set_random_number_generator(random.Random(3))
        known = {"objective_function": "modularity", "resolution": resolution, "n_iterations": -1}
        expected = edges.community_leiden(weights=graph[tuple(pairs.T)].tolist(), **known).membership
        plain = edges.community_leiden(**known).membership
        igraph.set_random_number_generator(random)
        np.testing.assert_array_equal(clusters, expected)
        assert adjusted_rand_score(plain, expected) < 1

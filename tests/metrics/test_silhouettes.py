import numpy as np
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.metrics.pairwise import cosine_distances

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import silhouettes as module
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.silhouettes import bras, isolated_labels, silhouette_label, silhouettes, silhouettes_of_sums


def bras_by_pairs(X, labels, batch):
    """The definition written out over all pairs of cells."""
    distances, of_labels = cosine_distances(X), []
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        scores = []
        for cell in cells:
            own = [other for other in cells if batch[other] == batch[cell] and other != cell]
            foreign = [other for other in cells if batch[other] != batch[cell]]
            within, between = distances[cell, own].mean(), distances[cell, foreign].mean()
            scores.append(1 - abs(between - within) / max(between, within))
        of_labels.append(np.mean(scores))
    return np.mean(of_labels)


@pytest.mark.parametrize("metric", [silhouette_label, bras, isolated_labels], ids=lambda metric: metric.name)
def test_golden(metric, integration_golden):
    golden = integration_golden
    keys = {} if metric is silhouette_label else {"batch": golden.batch}
    found = metric(golden.X, labels=golden.labels, **keys)
    assert found == pytest.approx(golden.expected["independent_float64"][metric.name], abs=1e-9)
    assert found == pytest.approx(golden.expected["reference_scib_metrics"]["X"][metric.name], abs=1e-4)


def test_silhouettes_equal_scikit_learn_in_any_blocks(mixture, monkeypatch):
    expected = silhouette_samples(mixture.X, mixture.labels)
    np.testing.assert_allclose(silhouettes(mixture.X, labels=mixture.labels), expected, atol=1e-9)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 240 * 7)
    some = np.array([200, 3, 17, 90, 91, 92, 93, 94, 95])
    np.testing.assert_allclose(silhouettes(mixture.X, labels=mixture.labels, cells=some), expected[some], atol=1e-9)


def test_hand_worked_silhouettes():
    X = np.array([[0.0], [1.0], [4.0], [10.0]])
    # the last cell is alone in its label
    expected = [(4 - 1) / 4, (3 - 1) / 3, 0, 0]
    np.testing.assert_allclose(silhouettes(X, labels=["a", "a", "b", "c"]), expected, atol=1e-12)


def test_collapsed_embedding_separates_nothing():
    labels, batch = np.repeat(["B", "T"], 4), np.tile(["p1", "p2"], 4)
    assert silhouette_label(np.ones((8, 3)), labels=labels) == 0.5
    assert bras(np.zeros((8, 3)), labels=labels, batch=batch) == 1


def test_bras_equals_its_definition_over_pairs(mixture):
    found = bras(mixture.X, labels=mixture.labels, batch=mixture.batch)
    assert found == pytest.approx(bras_by_pairs(mixture.X, mixture.labels, mixture.batch), abs=1e-12)


def test_bras_names_labels_that_say_nothing(mixture):
    batch = np.where(mixture.labels == "NK", "p1", mixture.batch)
    statistic = bras.statistic(mixture.X, labels=mixture.labels, batch=batch)
    assert statistic.how["labels_left_out"] == ["NK"]
    others = mixture.labels != "NK"
    assert statistic.value() == pytest.approx(
        bras(mixture.X[others], labels=mixture.labels[others], batch=batch[others])
    )
    with pytest.raises(UndefinedMetricError, match="no label"):
        bras(mixture.X, labels=mixture.batch, batch=mixture.batch)


def test_isolated_labels_are_those_in_the_fewest_batches(integration_golden):
    golden = integration_golden
    statistic = isolated_labels.statistic(golden.X, labels=golden.labels, batch=golden.batch)
    assert statistic.how["isolated"] == golden.expected["counts"]["isolated"]


def test_all_labels_are_isolated_when_all_are_in_all_batches(mixture):
    scores = (silhouette_samples(mixture.X, mixture.labels) + 1) / 2
    expected = np.mean([scores[mixture.labels == label].mean() for label in np.unique(mixture.labels)])
    found = isolated_labels.statistic(mixture.X, labels=mixture.labels, batch=mixture.batch)
    assert found.value() == pytest.approx(expected)
    assert len(found.how["isolated"]) == 4


def test_weights_weigh_cells_within_labels(mixture):
    weights = np.random.default_rng(0).integers(3, size=(2, mixture.n_cells)).astype(float)
    scores = silhouette_samples(mixture.X, mixture.labels)
    found = silhouette_label.statistic(mixture.X, labels=mixture.labels).of_weights(weights)
    np.testing.assert_allclose(found, [(np.average(scores, weights=row) + 1) / 2 for row in weights])


def test_a_cell_alone_in_its_batch_has_no_batch_effect():
    X = np.array([[1.0, 0], [1, 0.1], [0, 1], [5, 5]])
    labels, batch = ["B", "B", "B", "T"], ["p1", "p1", "p2", "p1"]
    statistic = bras.statistic(X, labels=labels, batch=batch)
    distances = cosine_distances(X)
    expected = [distances[0, 1] / distances[0, 2], distances[1, 0] / distances[1, 2], 1]
    np.testing.assert_allclose(statistic.of_weights(np.eye(4)), [*expected, np.nan])
    assert statistic.how["labels_left_out"] == ["T"]


def test_a_label_whose_cells_are_all_batches_of_their_own_says_nothing():
    X, labels = np.random.default_rng(0).normal(size=(7, 3)), ["B", "B", "B", "T", "T", "T", "T"]
    statistic = bras.statistic(X, labels=labels, batch=["p1", "p2", "p3", "p1", "p1", "p2", "p2"])
    assert statistic.how["labels_left_out"] == ["B"]
    assert statistic.value() == pytest.approx(bras(X[3:], labels=labels[3:], batch=["p1", "p1", "p2", "p2"]))


def test_equal_cells_are_separated_by_nothing_and_mixed_by_all():
    sums = np.zeros((2, 2))
    np.testing.assert_array_equal(silhouettes_of_sums(sums, own=np.array([0, 1]), sizes=np.array([2, 2])), [0, 0])
    # distances of 3 cells to their own group of three sum to 4, to the other group of two to 6
    found = silhouettes_of_sums(np.array([[4.0, 6.0], [2.0, 0.0]]), own=np.array([0, 0]), sizes=np.array([3, 2]))
    np.testing.assert_allclose(found, [(3 - 2) / 3, -1])


def test_bras_of_cells_at_the_origin_and_far_away():
    X = np.array([[0.0, 0], [0, 0], [3, 0], [9, 0]])
    found = bras.statistic(X, labels=["B"] * 4, batch=["p1", "p2", "p1", "p2"])
    # the zero vector is at distance 1 from all, itself too
    np.testing.assert_allclose(found.of_weights(np.eye(4)), [1, 1, 0.5, 0.5])


@pytest.mark.parametrize("metric", [silhouette_label, bras, isolated_labels], ids=lambda metric: metric.name)
def test_keys_of_other_cells_are_refused_by_name(metric):
    X, ten = np.random.default_rng(0).normal(size=(10, 2)), np.tile(["a", "b"], 5)
    keys = {"labels": ten} if metric is silhouette_label else {"labels": ten, "batch": ten}
    for name in set(keys) - ({"labels"} if metric is isolated_labels else set()):
        with pytest.raises(InvalidInputError) as refused:
            metric(X, **(keys | {name: ten[:4]}))
        assert (refused.value.asked, refused.value.found) == (f"{name} of 10 cells", "shape (4,)")


def test_one_cell_at_a_time_gives_the_same(mixture, monkeypatch):
    whole = silhouettes(mixture.X, labels=mixture.labels)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    np.testing.assert_allclose(silhouettes(mixture.X, labels=mixture.labels), whole, atol=1e-9)

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.metrics.pairwise import cosine_distances

from scfm_eval.metrics import silhouettes as module
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.silhouettes import bras, isolated_labels, silhouette_label, silhouettes


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

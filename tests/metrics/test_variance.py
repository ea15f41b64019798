import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.variance import pcr_batch, pcr_comparison, pcr_comparison_unclipped


def by_regression(X, batch):
    """Principal components, each regressed on batch indicators, weighted by variance."""
    pca = PCA().fit(X)
    indicators = (batch[:, None] == np.unique(batch)).astype(float)
    scores = pca.transform(X)
    explained = [LinearRegression().fit(indicators, column).score(indicators, column) for column in scores.T]
    return np.average(explained, weights=pca.explained_variance_)


def test_golden(integration_golden):
    found = pcr_batch(integration_golden.X, batch=integration_golden.batch)
    assert found == pytest.approx(integration_golden.expected["independent_float64"]["pcr_post"], abs=1e-9)


def test_equals_regression_of_components(mixture):
    found = pcr_batch(mixture.X, batch=mixture.batch)
    assert found == pytest.approx(by_regression(mixture.X, mixture.batch), abs=1e-9)


def test_weights_equal_repeated_cells(mixture):
    repeats = np.random.default_rng(0).integers(3, size=(3, mixture.n_cells))
    before = mixture.X[:, :3] + 3 * (mixture.batch == "p1")[:, None]
    found = pcr_comparison_unclipped.statistic(mixture.X, before=before, batch=mixture.batch).of_weights(
        repeats.astype(float)
    )
    expected = []
    for row in repeats:
        cells = np.repeat(np.arange(mixture.n_cells), row)
        post, pre = (
            by_regression(mixture.X[cells], mixture.batch[cells]),
            by_regression(before[cells], mixture.batch[cells]),
        )
        expected.append((pre - post) / pre)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_worse_than_before_is_zero_when_clipped_and_negative_when_not(mixture):
    shifted = mixture.X + 10 * (mixture.batch == "p1")[:, None]
    keys = {"before": mixture.X, "batch": mixture.batch}
    assert pcr_comparison(shifted, **keys) == 0
    expected = 1 - by_regression(shifted, mixture.batch) / by_regression(mixture.X, mixture.batch)
    assert pcr_comparison_unclipped(shifted, **keys) == pytest.approx(expected)
    assert expected < -1


def test_batch_indicators_are_all_batch_and_random_batches_near_the_expected_share(mixture):
    indicators = (mixture.batch[:, None] == np.unique(mixture.batch)).astype(float)
    assert pcr_batch(indicators, batch=mixture.batch) == pytest.approx(pcr_batch.worst)
    rng = np.random.default_rng(0)
    chance = np.mean([pcr_batch(mixture.X, batch=rng.permutation(mixture.batch)) for _ in range(200)])
    assert chance == pytest.approx(2 / (mixture.n_cells - 1), rel=0.15)


def test_numbers_are_categories(mixture):
    numbers = np.unique(mixture.batch, return_inverse=True)[1] * 10
    assert pcr_batch(mixture.X, batch=numbers) == pcr_batch(mixture.X, batch=mixture.batch)


def test_undefined(mixture):
    with pytest.raises(UndefinedMetricError, match="only one batch"):
        pcr_batch(mixture.X, batch=np.repeat("p1", mixture.n_cells))
    with pytest.raises(UndefinedMetricError, match="before is the same"):
        pcr_comparison(mixture.X, before=np.ones((mixture.n_cells, 2)), batch=mixture.batch)
    with pytest.raises(UndefinedMetricError, match="nothing before"):
        pcr_comparison([[0.0], [1], [0], [1]], before=[[0.0], [1], [0], [1]], batch=["p1", "p1", "p2", "p2"])
    with pytest.raises(InvalidInputError, match="240"):
        pcr_batch(mixture.X, batch=mixture.batch[:-1])


def test_a_resample_of_one_batch_has_no_value(mixture):
    only_p1 = (mixture.batch == "p1")[None].astype(float)
    values = pcr_comparison.statistic(mixture.X, before=mixture.X[:, :2], batch=mixture.batch).of_weights(only_p1)
    assert np.isnan(values[0])


def test_a_batch_of_one_cell_or_of_none_in_a_resample():
    X, batch = np.random.default_rng(0).normal(size=(9, 2)), np.repeat(["p1", "p2", "p3"], 3)
    weights = np.array([[1, 2, 1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 2, 0, 1, 0], [1, 0, 0, 0, 1, 0, 0, 0, 1]])
    cells = [np.repeat(np.arange(9), row) for row in weights]
    found = pcr_batch.statistic(X, batch=batch).of_weights(weights.astype(float))
    expected = [by_regression(X[some], batch[some]) for some in cells[:2]]
    np.testing.assert_allclose(found, [*expected, 1.0])

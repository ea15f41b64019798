import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import resampling
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError
from scfm_eval.metrics.resampling import bootstrap_weights, interval, replicates
from scfm_eval.metrics.weighted import weighted_mean


def mean_statistic(values):
    return Statistic(lambda weights: weighted_mean(weights, values), n_cells=len(values))


def test_every_stratum_keeps_its_size_and_donors_stay_whole():
    donors = np.repeat(["d1", "d2", "d3", "d4", "d5"], [3, 1, 4, 2, 5])
    folds = np.isin(donors, ["d1", "d2"]).astype(int)
    weights = bootstrap_weights(units=donors, strata=folds, n_resamples=50, seed=1)
    first_of_donor = np.unique(donors, return_index=True)[1]
    assert all(len(set(row[donors == donor])) == 1 for row in weights for donor in np.unique(donors))
    drawn = weights[:, first_of_donor]
    np.testing.assert_array_equal(drawn[:, :2].sum(axis=1), 2)
    np.testing.assert_array_equal(drawn[:, 2:].sum(axis=1), 3)
    assert len(np.unique(drawn, axis=0)) > 10


def test_cells_are_drawn_with_replacement_and_all_alike():
    weights = bootstrap_weights(units=np.arange(40), strata=np.zeros(40), n_resamples=3000, seed=2)
    np.testing.assert_array_equal(weights.sum(axis=1), 40)
    # a count is binomial(40, 1/40): mean 1, variance 39/40; its mean over 3000 resamples has s.e. 0.018
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=5 * 0.018)
    assert weights.var() == pytest.approx(39 / 40, rel=0.02)


def test_the_seed_decides():
    draw = {seed: bootstrap_weights(units=range(30), strata=[0] * 30, n_resamples=4, seed=seed) for seed in (0, 1)}
    again = bootstrap_weights(units=range(30), strata=[0] * 30, n_resamples=4, seed=0)
    np.testing.assert_array_equal(draw[0], again)
    assert (draw[0] != draw[1]).any()


def test_a_donor_in_two_folds_is_refused_by_name():
    with pytest.raises(InvalidInputError, match="d2"):
        bootstrap_weights(units=["d1", "d2", "d2", "d3"], strata=[0, 0, 1, 1], n_resamples=2, seed=0)


def test_a_stratum_of_one_unit_has_no_bootstrap():
    with pytest.raises(UndefinedMetricError, match="fold_b"):
        bootstrap_weights(units=["d1", "d2", "d3"], strata=["fold_a", "fold_a", "fold_b"], n_resamples=2, seed=0)


def test_blocks_do_not_change_replicates(monkeypatch):
    values = np.random.default_rng(0).normal(size=20)
    weights = bootstrap_weights(units=np.arange(20), strata=np.zeros(20), n_resamples=11, seed=0)
    whole = replicates(mean_statistic(values), weights)
    monkeypatch.setattr(resampling, "BLOCK_BYTES", 8 * 20 * 3)
    np.testing.assert_allclose(replicates(mean_statistic(values), weights), whole, rtol=1e-12)
    np.testing.assert_allclose(whole, [np.repeat(values, row).mean() for row in weights])


def test_weights_of_other_cells_are_refused():
    with pytest.raises(InvalidInputError, match="20 cells"):
        replicates(mean_statistic(np.zeros(20)), np.ones((3, 19)))


def test_the_interval_covers_a_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    weights = bootstrap_weights(units=np.arange(80), strata=np.zeros(80), n_resamples=500, seed=3)
    bounds = np.array([interval(replicates(mean_statistic(rng.normal(size=80)), weights)) for _ in range(400)])
    covered = ((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)).mean()
    # 0.95 less the known shortfall of the percentile interval at n = 80 (about 0.01), within 4 s.e. of 0.011
    assert 0.90 <= covered <= 0.98


def test_interval_is_the_percentiles():
    low, high = interval(np.random.default_rng(0).permutation(1001).astype(float))
    assert (low, high) == (25, 975)
    assert interval(np.arange(1001.0), level=0.5) == (250, 750)


def test_a_resample_without_a_value_counts_at_both_ends():
    values = np.arange(1000.0)
    values[500:510] = np.nan
    assert interval(values) == (14, 985)
    values[500:530] = np.nan
    with pytest.raises(UndefinedMetricError, match="30 of 1000"):
        interval(values)


def test_no_resamples_have_no_interval():
    with pytest.raises(UndefinedMetricError, match="0 of 0"):
        interval(np.empty(0))

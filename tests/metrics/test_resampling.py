import numpy as np
import pytest
from scipy import stats

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import resampling
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError
from scfm_eval.metrics.resampling import bootstrap_weights, interval, n_drawn, replicates, unit_sizes, widened
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


def test_of_few_units_the_interval_is_students():
    values = np.tile([0.0, 2.0], 500)
    for n in (2, 5, 29):
        away = stats.t.isf(0.025, n - 1) * np.sqrt(n / (n - 1))
        assert interval(values, n_units=n) == pytest.approx((1 - away, 1 + away))
    away = stats.t.isf(0.25, 4) * np.sqrt(5 / 4)
    assert interval(values, n_units=5, level=0.5) == pytest.approx((1 - away, 1 + away))
    missing = np.concatenate([values, [np.nan] * 10])
    assert interval(missing, n_units=5) == pytest.approx(interval(values, n_units=5))


def test_of_many_units_the_percentiles_are_stretched():
    values = np.arange(1001.0)
    for n in (30, 200):
        factor = np.sqrt(n / (n - 1)) * stats.t.isf(0.025, n - 1) / stats.norm.isf(0.025)
        assert interval(values, n_units=n) == pytest.approx((500 - 475 * factor, 500 + 475 * factor))
    assert interval(values, n_units=1) == interval(values, n_units=None) == (25, 975)


def test_the_mean_far_outside_of_the_percentiles_does_not_narrow_them():
    values = np.concatenate([np.zeros(990), [1e6] * 10])
    low, high = interval(values, n_units=50)
    factor = stretch(50) / stats.norm.isf(0.025)
    assert (low, high) == (pytest.approx(1e4 - factor * 1e4), 0)
    assert interval(-values, n_units=50) == (0, pytest.approx(factor * 1e4 - 1e4))


def test_values_among_cells_vary_more_than_weights_say():
    weights = bootstrap_weights(units=np.arange(8), strata=np.zeros(8), n_resamples=50, seed=0)
    plain = replicates(mean_statistic(np.arange(8.0)), weights)
    wide = replicates(Statistic(lambda w: w @ np.arange(8.0) / 8, n_cells=8, spread=2.5), weights)
    np.testing.assert_allclose(wide, plain.mean() + 2.5 * (plain - plain.mean()))

    def sometimes(w):
        return np.where(np.arange(len(w)) % 5 == 0, np.nan, w @ np.arange(8.0) / 8)

    some = replicates(Statistic(sometimes, n_cells=8, spread=2.0), weights)
    known = ~np.isnan(some)
    assert known.sum() == 40
    centre = plain[known].mean()
    np.testing.assert_allclose(some[known], centre + 2 * (plain[known] - centre))
    never = replicates(Statistic(lambda w: np.full(len(w), np.nan), n_cells=8, spread=2.0), weights)
    assert np.isnan(never).all()


def stretch(n):
    return np.sqrt(n / (n - 1)) * stats.t.isf(0.025, n - 1)


@pytest.mark.parametrize(
    ("sizes", "worth"),
    [([2, 3, 4], 81 / 29), ([1, 1, 8], 2), ([1, 1, 2, 2], 36 / 10), ([5, 5, 5], 3), ([7], None), ([], None)],
)
def test_units_of_unequal_size_are_worth_fewer(sizes, worth):
    values = np.array([1.0, 2.0, np.nan, 6.0])
    factor = 1 if worth is None else stretch(worth) / stretch(len(sizes))
    np.testing.assert_allclose(widened(values, sizes=np.array(sizes)), 3 + factor * (values - 3))
    nothing = np.full(3, np.nan)
    np.testing.assert_array_equal(widened(nothing, sizes=np.array(sizes)), nothing)


def test_units_are_told_by_how_they_are_drawn():
    donors = np.repeat(list("abcd"), [3, 1, 4, 2])
    weights = bootstrap_weights(units=donors, strata=[0] * 10, n_resamples=60, seed=0)
    assert sorted(unit_sizes(weights).tolist()) == [1, 2, 3, 4]
    assert n_drawn(weights.astype(float)) == 4
    assert n_drawn(np.ones((5, 7))) == 1
    many = bootstrap_weights(units=np.arange(3000), strata=np.zeros(3000), n_resamples=60, seed=0)
    assert n_drawn(many) == 3000


def test_draws_follow_numpy_stratum_by_stratum():
    units, strata = np.repeat(list("dcba"), 2), np.repeat(["y", "x"], 4)
    weights = bootstrap_weights(units=units, strata=strata, n_resamples=3, seed=9)
    rng = np.random.default_rng(9)
    for row in weights:
        of = {}
        for within in ("ab", "cd"):
            of |= dict(zip(within, np.bincount(rng.integers(2, size=2), minlength=2), strict=True))
        assert row.tolist() == [of[unit] for unit in units]
    assert weights.dtype == np.int16
    assert weights.shape == (3, 8)


@pytest.mark.parametrize("endless", [np.inf, -np.inf])
def test_an_endless_end_is_no_interval(endless):
    with pytest.raises(UndefinedMetricError, match="0 of 100 resamples"):
        interval(np.where(np.arange(100) < 5, endless, 1.0))

"""The noise of a rerun: units, seeds, degrees of freedom, all worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from scfm_eval.metrics.noise import rerun_noise
from scfm_eval.metrics.resampling import bootstrap_weights, n_drawn

NONE = np.empty(0)


def test_many_units_are_held_against_the_normal_distribution():
    noise = rerun_noise(np.array([-0.01, 0.01]), by_seed=NONE, n_units=None)
    assert noise.sd == pytest.approx(0.01)
    assert noise.freedom == math.inf
    assert noise.limit(level=0.05 / 24) == pytest.approx(2.865, abs=1e-3)
    assert noise.limit(level=0.025) == pytest.approx(1.960, abs=1e-3)


def test_few_units_are_held_against_students_t():
    noise = rerun_noise(np.array([-0.01, 0.01]), by_seed=NONE, n_units=3)
    assert noise.sd == pytest.approx(0.01 * math.sqrt(3 / 2))
    assert noise.limit(level=0.025) == pytest.approx(4.303, abs=1e-3)


def test_the_spread_between_seeds_is_added():
    noise = rerun_noise(np.array([-0.01, 0.01]), by_seed=np.array([0.00, 0.02, 0.04]), n_units=None)
    training = 0.02**2 / 3
    assert noise.sd == pytest.approx(math.sqrt(0.01**2 + training))
    assert noise.freedom == pytest.approx((0.01**2 + training) ** 2 / (training**2 / 2))


def test_equal_answers_make_no_noise_and_no_division_by_zero():
    noise = rerun_noise(np.zeros(10), by_seed=np.zeros(3), n_units=10)
    assert (noise.sd, noise.freedom) == (0.0, 9.0)


@pytest.mark.parametrize("n_units", [3, 5, 200])
def test_means_of_few_units_keep_the_level(n_units):
    rng, level, n = np.random.default_rng(0), 0.05, 400
    weights = bootstrap_weights(
        units=np.arange(n_units), strata=np.zeros(n_units, dtype=int), n_resamples=400, seed=0
    ).astype(float)
    alarms = 0
    for _ in range(n):
        differences = rng.normal(size=n_units)
        noise = rerun_noise(weights @ differences / n_units, by_seed=NONE, n_units=n_units)
        alarms += differences.mean() > noise.limit(level=level) * noise.sd
    assert alarms <= stats.binom.ppf(0.999, n, level)


def test_units_that_are_drawn_together_are_one():
    donors = np.repeat(["a", "b", "c"], [5, 1, 4])
    drawn = bootstrap_weights(units=donors, strata=np.zeros(10, dtype=int), n_resamples=100, seed=0)
    alone = bootstrap_weights(units=np.arange(10), strata=np.zeros(10, dtype=int), n_resamples=100, seed=0)
    assert (n_drawn(drawn), n_drawn(alone)) == (3, 10)


def test_units_and_seeds_share_their_degrees_of_freedom():
    noise = rerun_noise(np.array([-0.03, 0.03, np.nan]), by_seed=np.array([0.0, 0.02]), n_units=2)
    units, training = 0.03**2 * 2, 0.0002 / 2
    assert noise.sd == pytest.approx(math.sqrt(units + training))
    assert noise.freedom == pytest.approx((units + training) ** 2 / (units**2 / 1 + training**2 / 1))


@pytest.mark.parametrize(("by_seed", "n_units"), [([0.5], None), ([0.5], 1), ([], 1)])
def test_one_seed_or_unit_says_nothing_of_others(by_seed, n_units):
    noise = rerun_noise(np.array([-0.01, 0.01]), by_seed=np.array(by_seed), n_units=n_units)
    assert (noise.sd, noise.freedom) == (pytest.approx(0.01), math.inf)


def test_seeds_alone_make_noise():
    noise = rerun_noise(np.zeros(10), by_seed=np.array([0.0, 0.02]), n_units=7)
    assert (noise.sd, noise.freedom) == (pytest.approx(0.01), pytest.approx(1.0))

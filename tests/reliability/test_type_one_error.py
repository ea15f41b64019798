"""Of two models that are alike, one is called surely better in about 5 % of comparisons, whatever the units.

``python -m tests.reliability.type_one_error`` gives the table over all settings.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, metric
from scfm_eval.metrics.resampling import bootstrap_weights, interval, replicates, unit_sizes, widened
from scfm_eval.metrics.weighted import weighted_mean
from scfm_eval.results import measure
from tests.made_reports import result
from tests.reliability.nulls import NULLS
from tests.reliability.type_one_error import counted, main

BY_PLACE = {(null.name, null.n_units): null for null in NULLS}
MAIN = [
    ("cells, accuracy, errors independent", 300),
    ("cells, macro_f1, errors independent", 700),
    ("cells, log loss", 300),
    ("donors, accuracy", 3),
    ("donors, accuracy", 5),
    ("donors, accuracy", 8),
    ("donors, accuracy", 12),
    ("donors, accuracy", 30),
    ("conditions, pearson_delta", 12),
    ("rounds, log2_speed", 5),
]


def expected(n, *, low, high):
    """Return the fewest and most of ``n`` that a rate between two has, but in one of a thousand tests."""
    return stats.binom.ppf(0.0005, n, low), stats.binom.ppf(0.9995, n, high)


def means(rng, *, n_units, n, weights):
    """Return the differences of two models that are alike, and their replicates, one row per run."""
    differences = rng.normal(size=(n, n_units))
    return differences.mean(axis=1), differences @ weights.T / n_units


@pytest.mark.parametrize("n_units", [3, 5, 8, 12, 30, 80])
def test_intervals_of_few_units_exclude_zero_in_one_of_twenty(n_units):
    weights = bootstrap_weights(units=np.arange(n_units), strata=np.zeros(n_units), n_resamples=1000, seed=0)
    rng, n = np.random.default_rng(n_units), 800
    _, resampled = means(rng, n_units=n_units, n=n, weights=weights.astype(float))
    bounds = np.array([interval(row, n_units=n_units) for row in resampled])
    wrong = int(((bounds[:, 0] > 0) | (bounds[:, 1] < 0)).sum())
    fewest, most = expected(n, low=0.04, high=0.06)
    assert fewest <= wrong <= most, f"{wrong} of {n}"


@pytest.mark.parametrize("place", [("cells, accuracy, errors independent", 300), ("conditions, mae", 6)])
def test_models_that_are_alike_are_rarely_told_apart(place):
    found = counted(BY_PLACE[place], runs=200, seed=0)
    fewest, most = expected(200, low=0.03, high=0.07)
    assert found.undecided == 0
    assert fewest <= found.first + found.second <= most, found


def test_a_better_model_is_found():
    assert counted(BY_PLACE["cells, accuracy, 4 of 5 answers shared", 700], runs=30, seed=0, gap=0.05).first >= 27


@pytest.mark.heavy
@pytest.mark.parametrize("place", MAIN)
def test_four_to_six_of_a_hundred_are_wrong(place):
    found = counted(BY_PLACE[place], runs=4000, seed=0)
    fewest, most = expected(4000, low=0.04, high=0.06)
    assert fewest <= found.first + found.second <= most, f"{found} in {place}"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["silhouette_label", "clisi", "ilisi", "graph_connectivity"])
def test_at_most_six_of_a_hundred_are_wrong_where_cells_count_for_each_other(name):
    found = counted(BY_PLACE[f"cells, {name}", 300], runs=500, seed=0)
    assert found.first + found.second <= expected(500, low=0.0, high=0.06)[1], found


def test_few_units_are_held_against_students_t():
    steady = np.tile([-1.0, 1.0], 500)
    assert interval(steady, n_units=5) == pytest.approx((-3.104, 3.104), abs=1e-3)
    low, high = interval(10 + np.arange(1000.0), n_units=50)
    centre, (lower, upper) = 10 + 499.5, interval(10 + np.arange(1000.0))
    stretch = np.sqrt(50 / 49) * stats.t.isf(0.025, 49) / stats.norm.isf(0.025)
    assert (low, high) == pytest.approx((centre - stretch * (centre - lower), centre + stretch * (upper - centre)))
    for n_units in (None, 1):
        assert interval(np.arange(1000.0), n_units=n_units) == (24, 975)


def test_a_few_large_donors_are_worth_fewer():
    sizes = unit_sizes(bootstrap_weights(units=["a"] * 8 + ["b", "c"], strata=[0] * 10, n_resamples=100, seed=0))
    assert sorted(sizes) == [1, 1, 8]
    values = np.array([1.0, 2.0, 6.0])
    # 10² / (64 + 1 + 1) units are fewer than 2, which is the least that is taken
    factor = (np.sqrt(2) * stats.t.isf(0.025, 1)) / (np.sqrt(3 / 2) * stats.t.isf(0.025, 2))
    np.testing.assert_allclose(widened(values, sizes=sizes), 3 + factor * (values - 3))
    np.testing.assert_array_equal(widened(values, sizes=np.array([2, 2, 2])), values)


def test_cells_that_count_for_each_other_double_the_spread():
    values, weights = np.arange(20.0), bootstrap_weights(units=np.arange(20), strata=[0] * 20, n_resamples=9, seed=0)
    alone = Statistic(lambda drawn: weighted_mean(drawn, values), n_cells=20)
    among = Statistic(alone.of_weights, n_cells=20, spread=AMONG_CELLS)
    once, twice = (replicates(statistic, weights) for statistic in (alone, among))
    np.testing.assert_allclose(twice - once.mean(), 2 * (once - once.mean()))
    assert among.value() == alone.value()


def test_the_interval_of_a_record_is_the_one_that_decides():
    values, donors = np.array([0.9, 0.2, 0.8, 0.4, 0.7, 0.1]), np.array(["a", "a", "b", "b", "c", "c"])
    weights = bootstrap_weights(units=donors, strata=np.zeros(6), n_resamples=1000, seed=0)
    mean = metric(best=1.0, worst=0.0, source="none")(lambda: Statistic(lambda w: weighted_mean(w, values), n_cells=6))
    record = measure(mean, lambda: [mean.statistic()], weights=weights)
    by_donor = values.reshape(3, 2).mean(axis=1)
    half = stats.t.isf(0.025, 2) * by_donor.std(ddof=1) / np.sqrt(3)
    assert (record.low, record.high) == pytest.approx((by_donor.mean() - half, by_donor.mean() + half), rel=0.05)
    score = result(x=record)["x"]
    assert (record.low, record.high) == pytest.approx(score.interval, abs=1e-6)
    compared = score.compare(0.0, ">")
    assert (compared.low, compared.high) == pytest.approx(score.interval)


def test_the_table_is_printed(capsys):
    main(["--only", "conditions, mae", "--units", "6", "--runs", "5", "--powered", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| conditions, mae | 6 | ")

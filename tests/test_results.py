"""A record says what was measured: values over seeds, ends, chance, reasons; sums of records are of their members."""

from __future__ import annotations

import base64
import math
import warnings

import numpy as np
import pytest
from pydantic import ValidationError

from scfm_eval.metrics.metric import InapplicableMetricError, Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.resampling import bootstrap_weights, interval, n_drawn, replicates, widened
from scfm_eval.results import (
    DatasetRecord,
    ModelRecord,
    ReadableRecord,
    Result,
    ScoreRecord,
    by_role,
    combine,
    measure,
    role_place,
)

VALUES = np.array([0.0, 1.0, 1.0, 1.0, 0.0, 1.0])
WEIGHTS = np.random.default_rng(0).multinomial(6, [1 / 6] * 6, size=400)


def of(values, **how):
    values = np.asarray(values, dtype=float)
    return Statistic(lambda weights: weights @ values / weights.sum(axis=1), n_cells=len(values), how=how)


def a_metric(*, best=1.0, worst=0.0, chance=0.5, source="toy"):
    return metric(best=best, worst=worst, chance=chance, source=source)(of)


def measured(*values, weights=WEIGHTS, given_chance=None, **declared):
    made = a_metric(**declared)
    return measure(made, lambda: [made.statistic(each) for each in values], weights=weights, chance=given_chance)


def unpacked(record):
    return np.frombuffer(base64.b64decode(record.replicates), dtype="<f4").astype(float)


def result(**changes):
    fields = {
        "task": "toy",
        "parameters": {},
        "headline": ["share"],
        "seeds": [0],
        "pairing": "p",
        "dataset": DatasetRecord(name="cells", sha256="0", n_cells=4, n_genes=2, n_unlabelled=0),
        "model": ModelRecord(name="mine", role="model", trained_here=False),
        "readable": ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        "scores": {"share": measured(VALUES), "other": measured(1 - VALUES)},
        "seconds": {},
        "from_store": False,
    }
    return Result(**(fields | changes))


def test_a_value_is_the_mean_over_seeds_and_its_resamples_lie_around_it():
    other = 1 - VALUES / 2
    found = measured(VALUES, other)
    assert found.per_seed == pytest.approx([4 / 6, 4 / 6])
    assert found.value == pytest.approx((VALUES.mean() + other.mean()) / 2)
    mean = np.mean([replicates(of(values), WEIGHTS) for values in (VALUES, other)], axis=0)
    np.testing.assert_allclose(unpacked(found), mean - mean.mean() + found.value, atol=1e-6)
    assert found.low < found.value < found.high
    assert found.n_units == n_drawn(WEIGHTS) == 6


def test_seeds_of_other_values_are_kept_apart():
    found = measured(VALUES, VALUES / 2)
    assert found.per_seed == pytest.approx([4 / 6, 2 / 6])
    assert found.value == pytest.approx(0.5)


def test_what_the_metric_states_is_in_the_record():
    found = measured(VALUES, best=0.0, worst=math.inf, chance=0.25, source="10.1000/toy")
    assert (found.best, found.worst, found.higher_is_better, found.chance) == (0.0, None, False, 0.25)
    assert (found.source, found.applies, found.reason) == ("10.1000/toy", True, "")
    assert found.how == {}


def test_chance_is_estimated_only_where_the_metric_states_none():
    estimated = measured(VALUES, chance=None, given_chance=lambda: 0.2)
    assert (estimated.chance, estimated.how) == (0.2, {"chance": "estimated with the first seed"})
    stated = measured(VALUES, chance=0.5, given_chance=lambda: 0.2)
    assert (stated.chance, stated.how) == (0.5, {})
    unknown = measured(VALUES, chance=None)
    assert (unknown.chance, unknown.how) == (None, {})


def test_how_is_that_of_the_first_seed():
    made = a_metric()
    found = measure(made, lambda: [of(VALUES, k=1), of(VALUES, k=2)], weights=WEIGHTS)
    assert found.how == {"k": 1}


@pytest.mark.parametrize(("error", "applies"), [(UndefinedMetricError, True), (InapplicableMetricError, False)])
def test_no_value_has_a_reason_and_keeps_what_the_metric_states(error, applies):
    def statistics():
        raise error("one batch only")

    made = a_metric(best=0.0, worst=2.0, source="10.1000/toy")
    found = measure(made, statistics, weights=WEIGHTS)
    assert (found.value, found.low, found.high, found.chance, found.replicates) == (None,) * 5
    assert (found.reason, found.applies) == ("one batch only", applies)
    assert (found.best, found.worst, found.higher_is_better, found.source) == (0.0, 2.0, False, "10.1000/toy")


def test_ends_stay_in_the_range_of_the_metric():
    small = 0.999 + VALUES / 1000
    assert measured(small).high <= 1.0
    assert measured(small, best=0.0, worst=1.0).high <= 1.0
    assert measured(VALUES / 1000).low >= 0.0
    free = measured(small * 5, best=math.inf, worst=-math.inf, chance=None)
    assert free.low < 5 * small.mean() < free.high
    assert free.low > 4.99
    lower = measured(small * 5, best=0.0, worst=math.inf, chance=None)
    assert (lower.low, lower.high) == (free.low, free.high)
    upper = measured(-small * 5, best=0.0, worst=-math.inf, chance=None)
    assert (upper.low, upper.high) == pytest.approx((-free.high, -free.low), abs=1e-3)


def test_without_resamples_there_is_a_value_and_the_reason_for_no_interval():
    found = measured(VALUES, weights=np.empty((0, 6)))
    assert found.value == pytest.approx(4 / 6)
    assert (found.low, found.high, found.replicates) == (None, None, None)
    assert found.how == {"no interval": "0 of 0 resamples have no value"}


def test_resamples_without_a_value_are_kept_and_few_of_them_leave_an_interval():
    def of_weights(weights):
        value = weights @ VALUES / weights.sum(axis=1)
        value[: round(missing * len(value))] = np.nan if len(value) > 1 else 0
        return value

    made = a_metric()
    missing = 0.01
    found = measure(made, lambda: [Statistic(of_weights, n_cells=6)], weights=WEIGHTS)
    assert np.isnan(unpacked(found)).sum() == 4
    assert np.nanmean(unpacked(found)) == pytest.approx(found.value)
    assert found.low < found.value < found.high
    missing = 0.5
    found = measure(made, lambda: [Statistic(of_weights, n_cells=6)], weights=WEIGHTS)
    assert found.how == {"no interval": "200 of 400 resamples have no value"}
    assert (found.low, found.replicates) == (None, None)
    missing = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(made, lambda: [Statistic(of_weights, n_cells=6)], weights=WEIGHTS)
    assert found.how == {"no interval": "400 of 400 resamples have no value"}


def test_a_sum_is_weighted_by_seed_by_resample_and_by_chance():
    members = {"a": measured(VALUES, VALUES / 2, chance=0.5), "b": measured(1 - VALUES, VALUES, chance=0.2)}
    total = combine(members, weights={"b": 0.25, "a": 0.75}, source="10.1000/sum", how={"k": 1})
    assert total.per_seed == pytest.approx([0.75 * 4 / 6 + 0.25 * 2 / 6, 0.75 * 2 / 6 + 0.25 * 4 / 6])
    assert total.value == pytest.approx(np.mean(total.per_seed))
    assert total.chance == pytest.approx(0.75 * 0.5 + 0.25 * 0.2)
    np.testing.assert_allclose(
        unpacked(total), 0.75 * unpacked(members["a"]) + 0.25 * unpacked(members["b"]), atol=1e-6
    )
    assert (total.best, total.worst, total.higher_is_better) == (1.0, 0.0, True)
    assert (total.source, total.how, total.n_units) == ("10.1000/sum", {"k": 1}, 6)
    assert total.low < total.value < total.high


def test_a_sum_of_members_with_other_numbers_of_seeds_has_one_value():
    members = {"a": measured(VALUES, VALUES / 2), "b": measured(VALUES)}
    total = combine(members, weights={"a": 0.5, "b": 0.5}, source="toy", how={})
    assert total.per_seed == pytest.approx([0.5 * 0.5 + 0.5 * 4 / 6])
    none = {name: record.model_copy(update={"per_seed": []}) for name, record in members.items()}
    assert combine(none, weights={"a": 0.5, "b": 0.5}, source="toy", how={}).per_seed == pytest.approx(total.per_seed)


def test_a_sum_is_undefined_with_every_reason_of_its_members():
    gone = {name: ScoreRecord(value=None, reason=f"no {name}") for name in "ab"} | {"c": measured(VALUES)}
    total = combine(gone, weights=dict.fromkeys("abc", 1 / 3), source="10.1000/sum", how={"k": 1})
    assert total.reason == "a member is undefined (a: no a; b: no b)"
    assert (total.value, total.low, total.replicates) == (None, None, None)
    assert (total.source, total.how) == ("10.1000/sum", {"k": 1})


def test_a_sum_with_a_member_without_interval_has_a_value_only():
    members = {"a": measured(VALUES), "b": measured(VALUES, weights=np.empty((0, 6)))}
    total = combine(members, weights={"a": 0.5, "b": 1.5}, source="10.1000/sum", how={"k": 1})
    assert total.value == pytest.approx(2 * 4 / 6)
    assert total.how == {"k": 1, "no interval": "a member has none: b"}
    assert (total.low, total.high, total.replicates, total.chance) == (None, None, None, None)
    assert (total.best, total.worst, total.higher_is_better, total.source) == (1.0, 0.0, True, "10.1000/sum")
    both = combine({"a": members["b"], "b": members["b"]}, weights={"a": 1, "b": 1}, source="toy", how={})
    assert both.how == {"no interval": "a member has none: a, b"}


def test_a_sum_of_members_without_chance_has_none():
    members = {"a": measured(VALUES, chance=None), "b": measured(VALUES)}
    assert combine(members, weights={"a": 0.5, "b": 0.5}, source="toy", how={}).chance is None
    zero = {"a": measured(VALUES, chance=0.0), "b": measured(VALUES, chance=0.4)}
    assert combine(zero, weights={"a": 0.5, "b": 0.5}, source="toy", how={}).chance == pytest.approx(0.2)


def test_a_sum_of_zeros_is_zero():
    zeros = {name: measured(0 * VALUES) for name in "ab"}
    total = combine(zeros, weights={"a": 0.5, "b": 0.5}, source="toy", how={})
    assert (total.value, total.per_seed, total.low, total.high) == (0.0, [0.0], 0.0, 0.0)
    without = measured(0 * VALUES, weights=np.empty((0, 6)))
    assert combine({"a": without}, weights={"a": 1.0}, source="toy", how={}).value == 0


def test_a_sum_of_one_member_is_that_member():
    one = measured(VALUES, VALUES / 2)
    total = combine({"a": one, "b": measured(1 - VALUES)}, weights={"a": 1.0}, source="toy", how={})
    assert (total.value, total.per_seed) == (pytest.approx(one.value), pytest.approx(one.per_seed))
    assert (total.low, total.high, total.n_units) == (pytest.approx(one.low), pytest.approx(one.high), 6)
    unknown = one.model_copy(update={"n_units": None})
    assert combine({"a": unknown}, weights={"a": 1.0}, source="toy", how={}).n_units is None
    fewer = {"a": one, "b": unknown, "c": one.model_copy(update={"n_units": 4})}
    assert combine(fewer, weights=dict.fromkeys("abc", 1 / 3), source="toy", how={}).n_units == 4


def test_infinite_and_nan_are_null_and_null_says_why():
    for strange in (math.nan, math.inf, -math.inf, None):
        record = ScoreRecord(value=strange, low=strange, high=strange, chance=strange, best=strange, worst=strange)
        assert (record.value, record.low, record.high, record.chance, record.best, record.worst) == (None,) * 6
        assert record.reason == "the report has no number, and no reason"
    assert ScoreRecord(value=None, reason="one batch").reason == "one batch"
    assert ScoreRecord(value=0.0).reason == ""
    assert ScoreRecord(value=0.0).value == 0.0


def test_resamples_that_cannot_be_read_are_refused():
    packed = base64.b64encode(np.array([0.5, 0.25], dtype="<f4").tobytes()).decode()
    assert ScoreRecord(value=0.0, replicates=packed).replicates == packed
    assert ScoreRecord(value=0.0).replicates is None
    for broken in ("no base64!", f"{packed}?", base64.b64encode(b"abc").decode()):
        with pytest.raises(ValidationError, match="replicates"):
            ScoreRecord(value=0.0, replicates=broken)
    with pytest.raises(ValidationError, match="strange"):
        ScoreRecord(value=0.0, strange=1)


def test_a_score_is_the_record_with_its_origin():
    record = measured(VALUES, VALUES / 2, best=0.0, worst=1.0, chance=0.3).model_copy(
        update={"applies": False, "reason": "why"}
    )
    score = result(scores={"share": record})["share"]
    assert score == record.value
    assert (score.name, score.model, score.dataset, score.pairing) == ("share", "mine", "cells", "p")
    assert (score.higher_is_better, score.chance, score.n_units) == (False, 0.3, 6)
    assert (score.reason, score.applies) == ("why", False)
    assert list(score.per_seed) == record.per_seed
    np.testing.assert_array_equal(score.replicates, unpacked(record))
    assert len(result(scores={"share": ScoreRecord(value=0.5)})["share"].replicates) == 0


def test_a_score_that_the_task_has_not_is_a_mistake_unless_the_model_failed():
    with pytest.raises(KeyError, match="task 'toy' has no score 'shar'; it has share, other"):
        result()["shar"]
    failed = result(scores={}, failure="out of memory")["share"]
    assert math.isnan(failed)
    assert failed.reason == "out of memory"
    kept = result(failure="out of memory")["share"]
    assert kept == pytest.approx(4 / 6)


def test_reports_keep_resamples_of_the_headline_only():
    whole = result()
    slim = whole.for_report()
    assert slim.scores["share"] == whole.scores["share"]
    assert slim.scores["other"] == whole.scores["other"].model_copy(update={"replicates": None})
    assert whole.scores["other"].replicates is not None
    assert repr(slim) == "<Result: toy of mine on cells>"
    assert (slim.first_headline, result(headline=[]).first_headline) == ("share", "")
    assert result(headline=["b", "a"]).first_headline == "b"


def test_roles_have_their_order():
    assert [role_place(role) for role in ("model", "baseline", "control", "guest")] == [0, 1, 2, 3]
    assert by_role(result()) == (0, "mine")
    assert by_role(result(model=ModelRecord(name="hvg", role="baseline", trained_here=True))) == (1, "hvg")


def test_few_units_of_unequal_size_widen_the_interval():
    weights = bootstrap_weights(units=list("aaabcc"), strata=[0] * 6, n_resamples=300, seed=0)
    values = np.array([0.5, 0.55, 0.45, 0.6, 0.5, 0.48])
    found = measured(values, weights=weights)
    wide = widened(replicates(of(values), weights), sizes=np.array([3, 1, 2]))
    wide += found.value - wide.mean()
    np.testing.assert_allclose(unpacked(found), wide, atol=1e-6)
    assert (found.low, found.high) == pytest.approx(interval(wide, n_units=3))
    assert found.n_units == 3
    total = combine({"a": found, "b": found}, weights={"a": 0.5, "b": 0.5}, source="toy", how={})
    assert (total.low, total.high) == pytest.approx((found.low, found.high), abs=1e-6)
    assert total.high - total.low > np.ptp(wide)

"""Responses: which rows and genes count, exchanged answers, and means that say what they left out."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.responses import RESOLUTION, Responses, mean_over_conditions, named, over_scored

GROUPS = np.array(["y", "x", "y", "x", "y"])
CONDITIONS = np.array(list("abcde"))


def made(n=5, n_genes=3, **known):
    rng = np.random.default_rng(0)
    truth, predicted, control, centroid = rng.normal(size=(4, n, n_genes))
    whole = Responses(
        conditions=CONDITIONS[:n],
        truth=truth,
        predicted=predicted,
        control=control,
        centroid=centroid,
        scored=np.ones((n, n_genes), dtype=bool),
        groups=GROUPS[:n],
        answered=np.array([True, False, False, True, True])[:n],
    )
    return replace(whole, **known)


def test_changes_are_from_the_control_and_small_ones_are_rounding():
    one = made()
    np.testing.assert_array_equal(one.true_change, one.truth - one.control)
    steps = np.array([[0.0, RESOLUTION / 2, -RESOLUTION / 2]] * 4 + [[1.0, 2 * RESOLUTION, -2 * RESOLUTION]])
    small = replace(one, control=np.zeros((5, 3)), predicted=steps)
    np.testing.assert_array_equal(small.predicted_change, np.where(np.arange(5)[:, None] == 4, steps, 0))
    exact = replace(one, control=np.zeros((5, 3)), predicted=np.full((5, 3), RESOLUTION))
    assert not exact.predicted_change.any()


def test_rows_are_taken_from_every_field():
    one, which = made(), np.array([3, 0])
    part = one.rows(which)
    for field in fields(one):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(one, field.name)[which])


def test_genes_are_restricted_or_all_taken():
    scored, genes = np.array([[True, False, True]] * 5), np.array([[True, True, False]] * 5)
    one = made(scored=scored)
    np.testing.assert_array_equal(one.restricted(genes).scored, scored & genes)
    everything = one.with_targets()
    assert everything.scored.all()
    assert everything.scored.dtype == bool
    np.testing.assert_array_equal(everything.truth, one.truth)


def test_comparable_conditions_are_scored_on_the_genes_of_all_in_their_group():
    scored = np.ones((5, 3), dtype=bool)
    scored[[0, 1], [0, 2]] = False
    found = made(scored=scored).comparable().scored
    np.testing.assert_array_equal(found[[0, 2, 4]], [[False, True, True]] * 3)
    np.testing.assert_array_equal(found[[1, 3]], [[True, True, False]] * 2)
    np.testing.assert_array_equal(made().alike(), GROUPS[:, None] == GROUPS[None, :])


def test_answers_are_exchanged_within_groups_one_step_at_a_time():
    one = made()
    first, second = one.exchanged()
    # x holds b and d, y holds a, c and e
    assert first.conditions.tolist() == ["b", "d", "a", "c", "e"]
    given = {"b": 3, "d": 1, "a": 2, "c": 4, "e": 0}
    assert second.conditions.tolist() == ["a", "c", "e"]
    again = {"a": 4, "c": 0, "e": 2}
    for shifted, source in ((first, given), (second, again)):
        rows = [source[name] for name in shifted.conditions]
        np.testing.assert_array_equal(shifted.predicted, one.predicted[rows])
        np.testing.assert_array_equal(shifted.answered, one.answered[rows])
        own = [CONDITIONS.tolist().index(name) for name in shifted.conditions]
        np.testing.assert_array_equal(shifted.truth, one.truth[own])
        np.testing.assert_array_equal(shifted.control, one.control[own])


def many(n):
    table = np.zeros((n, 1))
    return Responses(
        conditions=np.arange(n).astype(str),
        truth=table,
        predicted=np.arange(n, dtype=float)[:, None],
        control=table,
        centroid=table,
        scored=table == 0,
        groups=np.full(n, "x"),
        answered=np.ones(n, dtype=bool),
    )


@pytest.mark.parametrize(("n", "exchanges"), [(1, 0), (2, 1), (20, 19), (21, 20), (22, 20), (50, 20)])
def test_twenty_exchanges_are_enough(n, exchanges):
    assert len(many(n).exchanged()) == exchanges


def test_what_does_not_fit_is_refused_field_by_field():
    for name in ("truth", "predicted", "control", "centroid"):
        with pytest.raises(InvalidInputError, match=f"{name} with NaN or infinity"):
            made(**{name: np.full((5, 3), np.inf)})
    for name in ("predicted", "control", "centroid", "scored"):
        with pytest.raises(InvalidInputError, match=rf"{name} \(5, 2\)"):
            made(**{name: np.ones((5, 2), dtype=bool)})
    for name in ("groups", "answered"):
        with pytest.raises(InvalidInputError, match=rf"{name} \(4,\)"):
            made(**{name: np.ones(4, dtype=bool)})
    with pytest.raises(InvalidInputError, match="another number of rows"):
        many(0)


def test_a_mean_over_scored_genes_is_nan_without_any():
    scored = np.array([[True, False], [False, False], [True, True]])
    np.testing.assert_array_equal(over_scored(np.array([[1.0, np.nan], [2, 3], [2, 4]]), scored), [1, np.nan, 3])


def test_a_mean_over_conditions_weighs_those_that_have_a_value():
    values = np.array([1.0, np.nan, 4.0])
    found = mean_over_conditions(values, CONDITIONS[:3], left_out="no gene", how={"k": 1})
    np.testing.assert_allclose(found.of_weights(np.array([[1.0, 1, 1], [1, 9, 3], [0, 1, 0]])), [2.5, 13 / 4, np.nan])
    assert found.n_cells == 3
    assert found.how.pop("packages")
    assert found.how == {
        "unit": "perturbation",
        "n_conditions": 2,
        "k": 1,
        "left_out": {"why": "no gene", "conditions": ["b"]},
    }
    assert "left_out" not in mean_over_conditions(values[[0, 2]], CONDITIONS[:2]).how


def test_faults_come_before_gaps_and_gaps_are_no_faults():
    values, undefined = np.array([1.0, np.nan]), np.array([True, True])
    with pytest.raises(UndefinedMetricError, match=r"^why: 1 conditions \(a\)$"):
        mean_over_conditions(values, CONDITIONS[:2], undefined=undefined, why="why", left_out="gap")
    with pytest.raises(UndefinedMetricError, match=r"^gap: 2 conditions \(a, b\)$"):
        mean_over_conditions(values * np.nan, CONDITIONS[:2], undefined=undefined, why="why", left_out="gap")
    with pytest.raises(UndefinedMetricError, match=r"^: 2 conditions \(a, b\)$"):
        mean_over_conditions(values * np.nan, CONDITIONS[:2])
    with pytest.raises(UndefinedMetricError, match=r"^: 1 conditions \(a\)$"):
        mean_over_conditions(values, CONDITIONS[:2], undefined=undefined)
    assert mean_over_conditions(values, CONDITIONS[:2], undefined=~undefined).value() == 1


def test_five_conditions_are_named():
    assert named(CONDITIONS) == "5 conditions (a, b, c, d, e)"
    assert named(np.array(list("abcdef"))) == "6 conditions (a, b, c, d, e, …)"

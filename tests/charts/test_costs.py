"""Costs by phase, and which models no other beats in both speed and quality."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.charts import figures
from scfm_eval.charts.costs import on_front
from tests.charts.made import figure, report, result, rows, score


def test_seconds_by_phase_and_memory_in_mebibytes():
    mine = result(seconds={"load": 1.0, "forward": 2.5, "fit": math.nan}, memory={"host": 3 * 2**20, "device": None})
    seconds = figure("annotation-seconds", mine)
    assert [(row["part"], row["amount"]) for row in rows(seconds)] == [("load", 1.0), ("forward", 2.5)]
    assert seconds.alt == "On cells, most seconds for mine, 3.5, fewest for mine, 3.5."
    memory = figure("annotation-peak-mib", mine)
    assert [(row["part"], row["amount"]) for row in rows(memory)] == [("host", 3.0)]


def test_a_model_without_measurements_is_counted():
    found = figure("annotation-seconds", result("mine", seconds={"fit": 1.0}), result("other"))
    assert "1 model without a measurement not drawn: other." in found.alt


def test_the_front_joins_what_none_beats_in_both():
    found = figure(
        "annotation-speed",
        result("slow", 0.9, seconds={"fit": 10.0, "forward": 90.0, "score": 1.0}),
        result("fast", 0.5, seconds={"forward": 1.0}),
        result("worse", 0.4, seconds={"forward": 2.0}),
        result("oracle", 1.0, role="control", seconds={"forward": 0.1}),
        result("undefined", None, seconds={"forward": 0.1}),
        result("untimed", 0.7),
    )
    of = {row["model"]: row for row in rows(found)}
    assert of["slow"]["seconds"] == 100.0
    assert {name for name, row in of.items() if row["best"]} == {"slow", "fast"}
    assert "no model or baseline beats fast (1 s, 0.5), slow (100 s, 0.9) in both." in found.alt
    assert "2 models without seconds of its making or macro_f1 not drawn: untimed, undefined." in found.alt


def test_where_less_is_better_the_front_follows():
    low, high = ({"macro_f1": score(value, higher_is_better=False)} for value in (1.0, 3.0))
    found = figure(
        "annotation-speed",
        result("near", scores=low, seconds={"forward": 1.0}),
        result("far", scores=high, seconds={"forward": 2.0}),
    )
    assert {row["model"] for row in rows(found) if row["best"]} == {"near"}
    assert "lower is better" in found.alt


def test_a_stored_embedding_was_not_made_here():
    stored = result("stored", seconds={"forward": 0.001}, revision="ab", weights_sha256="ab")
    assert "annotation-speed" not in [one.name for one in figures(report(stored))]
    found = figure("annotation-speed", stored, result("mine", seconds={"forward": 1.0}))
    assert [row["model"] for row in rows(found)] == ["mine"]


POINTS = st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 1)), min_size=1, max_size=12)


@given(POINTS, st.sampled_from([0.25, 4.0]))
def test_the_front_is_never_empty_and_does_not_depend_on_units(points, unit):
    made = [{"seconds": seconds, "goodness": good} for seconds, good in points]
    front = [on_front(point, made) for point in made]
    assert any(front)
    scaled = [{"seconds": seconds * unit, "goodness": good} for seconds, good in points]
    assert [on_front(point, scaled) for point in scaled] == front

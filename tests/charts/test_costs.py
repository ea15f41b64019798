"""Costs by phase, and which models no other beats in both speed and quality."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.charts import figures
from scfm_eval.charts.costs import on_front
from tests.charts.made import drawn, figure, report, result, rows, score


def test_seconds_of_all_tasks_stand_in_one_figure_by_phase():
    mine = result(seconds={"load": 1.0, "forward": 2.5, "fit": math.nan}, memory={"host": 3 * 2**20})
    other = result(task="clustering", dataset="one", seconds={"score": 4.0})
    more = result(task="clustering", dataset="two", seconds={"score": 0.5})
    found = figure("seconds", mine, other, more)
    assert [(row["benchmark"], row["phase"], row["seconds"]) for row in rows(found)] == [
        ("Annotation", "load", 1.0),
        ("Annotation", "forward", 2.5),
        ("Clustering on one", "score", 4.0),
        ("Clustering on two", "score", 0.5),
    ]
    assert found.task == ""
    assert (
        "Most takes mine in Clustering on one, 4.000 s; mine in Annotation, 3.500 s; mine in Clustering on two"
        in found.alt
    )
    assert found.choices == "A dropdown chooses among 3 benchmarks."
    assert all(f">{name}<" in drawn(found.printed()) for name in ("Annotation", "Clustering on two"))


def test_memory_which_depends_on_the_order_of_the_run_is_not_drawn():
    found = figures(report(result(seconds={"fit": 1.0}, memory={"host": 2**20})))
    assert [one.name for one in found] == ["annotation-leaderboard", "annotation-speed", "seconds"]


def test_the_legend_names_only_phases_that_have_a_bar():
    found = figure("seconds", result(seconds={"load": 1.0, "score": 2.5}))
    assert found.chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"] == ["load", "score"]


def test_a_model_without_measurements_is_counted():
    found = figure("seconds", result("mine", seconds={"fit": 1.0}), result("other"))
    assert "Annotation: 1 model without a measurement not drawn: other." in found.alt


@pytest.mark.parametrize("task", ["clustering", "throughput", "annotation_few_shot"])
def test_only_some_tasks_set_speed_against_quality(task):
    names = [one.name for one in figures(report(result(task=task, seconds={"forward": 1.0})))]
    assert not [name for name in names if name.endswith("-speed")]


def test_what_is_in_the_seconds_is_said_and_the_axis_ends_near_the_best_value():
    found = figure("annotation-speed", result("a", 1.0, seconds={"fit": 1.0}), result("b", 0.1, seconds={"fit": 9.0}))
    assert "fit what learns here (fine-tuning included)" in found.alt
    assert "fitting the probes that score an embedding are in no model's seconds" in found.alt
    assert ">1.1<" not in drawn(found)


def test_names_that_would_cover_others_are_left_out_and_said():
    made = [result(f"model number {i}", 0.5, seconds={"fit": 1.0}) for i in range(3)]
    found = figure("annotation-speed", *made)
    assert "Drawn without a name, which would cover others:" in found.alt


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
    assert "no model or baseline beats fast (1.000 s, 0.500), slow (100.000 s, 0.900) in both." in found.alt
    assert "2 models without seconds of its making or macro_f1 not drawn: untimed and undefined." in found.alt


def test_where_less_is_better_the_front_follows():
    low, high = ({"macro_f1": score(value, higher_is_better=False)} for value in (1.0, 3.0))
    found = figure(
        "annotation-speed",
        result("near", scores=low, seconds={"forward": 1.0}),
        result("far", scores=high, seconds={"forward": 2.0}),
    )
    assert {row["model"] for row in rows(found) if row["best"]} == {"near"}
    assert "lower is better" in found.alt


def test_an_undefined_first_headline_score_is_not_replaced_by_another():
    scores = {"macro_f1": score(None, reason="one class"), "accuracy": score(0.9)}
    made = result(scores=scores, headline=("macro_f1", "accuracy"), seconds={"forward": 1.0})
    assert "annotation-speed" not in [one.name for one in figures(report(made))]


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

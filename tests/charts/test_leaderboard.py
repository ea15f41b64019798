"""The leaderboard: best on top, bounds beside each value, and no value is neither 0 nor silently gone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.charts.drawn_results import best_first, drawn_results
from tests.charts.made import drawn, figure, report, result, rows, score


def test_values_intervals_and_bounds_are_those_of_the_report():
    board = figure(
        "annotation-leaderboard",
        result("mine", 0.5),
        result("hvg", 0.7, role="baseline"),
        result("oracle", 1.0, role="control"),
    )
    found = {row["model"]: row for row in rows(board)}
    assert [row["model"] for row in sorted(rows(board), key=lambda row: row["rank"])] == ["oracle", "hvg", "mine"]
    assert found["mine"]["value"] == 0.5
    assert (found["mine"]["low"], found["mine"]["high"]) == (0.45, 0.55)
    assert (found["mine"]["chance"], found["mine"]["best"]) == (0.1, 1.0)
    assert found["hvg"]["role"] == "baseline"
    assert board.alt == (
        "On cells, macro_f1 of 3 models: hvg with 0.700 [0.650, 0.750] is best of models and baselines, "
        "mine with 0.500 [0.450, 0.550] is last of all. Chance is 0.100. The best possible is 1.000."
    )


def test_a_chance_that_differs_by_model_is_said_and_drawn_by_model():
    board = figure(
        "annotation-leaderboard",
        result("mine", scores={"macro_f1": score(0.5, chance=0.0973)}),
        result("random", role="control", scores={"macro_f1": score(0.0511, chance=0.0511)}),
    )
    assert "Chance is 0.051 to 0.097, by model." in board.alt
    assert {row["model"]: row["chance"] for row in rows(board)} == {"mine": 0.0973, "random": 0.0511}


def test_where_less_is_better_the_least_is_on_top():
    low, high = ({"macro_f1": score(value, higher_is_better=False, best=0.0, chance=None)} for value in (1.0, 3.0))
    board = figure("annotation-leaderboard", result("far", scores=high), result("near", scores=low))
    assert [row["model"] for row in sorted(rows(board), key=lambda row: row["rank"])] == ["near", "far"]
    assert {row["score"] for row in rows(board)} == {"macro_f1, lower is better"}
    assert "Chance" not in board.alt
    assert "The best possible is 0.000." in board.alt


def test_an_undefined_value_is_written_not_drawn_and_counted():
    none = {"macro_f1": score(None, reason="one label only")}
    board = figure("annotation-leaderboard", result("mine", 0.5), result("none", scores=none))
    row = next(row for row in rows(board) if row["model"] == "none")
    assert row["value"] is None
    assert row["reason"] == "one label only"
    assert "1 model without a value not drawn: none." in board.alt
    assert ">undefined<" in drawn(board)


def test_what_noise_leaves_possible_goes_before_the_end_of_the_score():
    scores = {"macro_f1": score(0.5), "ceiling_macro_f1": score(0.6)}
    board = figure("annotation-leaderboard", result(scores=scores))
    assert rows(board)[0]["best"] == 0.6


def test_scores_without_any_value_are_left_out():
    scores = {"asked": score(0.5), "not_asked": score(None)}
    board = figure("annotation-leaderboard", result(scores=scores, headline=("not_asked", "asked")))
    assert {row["score"] for row in rows(board)} == {"asked, higher is better"}


def test_each_dataset_is_ranked_alone():
    board = figure(
        "annotation-leaderboard",
        result("a", 0.91, dataset="one"),
        result("b", 0.1, dataset="one"),
        result("a", 0.2, dataset="two"),
        result("b", 0.83, dataset="two"),
    )
    first = {row["dataset"]: row["model"] for row in rows(board) if row["rank"] == 1}
    assert first == {"one": "a", "two": "b"}
    assert board.title == "Annotation on 2 datasets: scores by model"
    assert ">0.910<" in drawn(board)
    assert ">0.830<" not in drawn(board)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12), st.integers(1, 12))
def test_the_best_are_drawn_whatever_the_order(values, most):
    made = [result(f"m{i}", value) for i, value in enumerate(values)]
    shuffled = [made[i] for i in np.random.default_rng(0).permutation(len(made))]
    names = [[one.model.name for one in best_first(some, most=most)] for some in (made, shuffled)]
    assert names[0] == names[1]
    assert len(names[0]) == min(most, len(made))


def test_what_a_model_has_to_beat_stays_beside_it_and_controls_come_last():
    made = [result(f"m{i}", 0.5 + i / 100) for i in range(20)]
    beside = [
        result("pca", 0.2, role="baseline"),
        result("random", 0.1, role="control"),
        result("top", 1, role="control"),
    ]
    (one,) = drawn_results(report(*made, *beside), "annotation", most_models=5)
    assert one.models == ["m19", "m18", "m17", "pca", "top"]
    assert one.left_out() == "Only the best 5 of 23 models are drawn"


def test_a_model_without_an_answer_does_not_turn_the_axis():
    near = result("near", scores={"macro_f1": score(1.0, higher_is_better=False, best=0.0)})
    failed = result("gone", scores={"macro_f1": score(None, reason="crash")}).model_copy(update={"failure": "crash"})
    board = figure("annotation-leaderboard", failed, near)
    assert {row["score"] for row in rows(board)} == {"macro_f1, lower is better"}
    assert {row["model"]: row["said"] for row in rows(board)} == {"near": "1.000", "gone": "no answer"}

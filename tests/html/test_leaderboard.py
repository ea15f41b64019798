"""Ranks and places by hand."""

from __future__ import annotations

import pytest

from scfm_eval.html.leaderboard import MOST_COLUMNS, Scale, entries, leaderboard, ranks
from tests.html.reports import HOSTILE, report, result, score


def cells(table, head):
    place = next(i for i, column in enumerate(table.columns) if column.head.startswith(head))
    return {row[0]: row[place] for row in table.rows}


def test_ranks_are_among_models_and_baselines_and_ties_share_the_better_one():
    found = entries(
        report(
            result("a", "model", 0.5),
            result("b", "baseline", 0.9),
            result("c", "baseline", 0.5),
            result("d", "baseline", 0.1),
            result("oracle", "control", 1.0),
            result("e", "model", score(None)),
        )
    )["annotation", "cells"]
    assert ranks(found) == [2, 1, 2, 4, None, None]


def test_where_less_is_better_the_least_is_first():
    low, high = (result(name, "model", score(v, higher_is_better=False)) for name, v in (("low", 0.1), ("high", 0.9)))
    assert ranks(entries(report(low, high))["annotation", "cells"]) == [1, 2]


def test_a_cell_has_rank_value_interval_chance_and_oracle_and_sorts_by_rank():
    table = leaderboard(report(result("mine", "model", 0.6), result("oracle", "control", 0.9)))
    shown, order = cells(table, "annotation")["mine"]
    assert "1</b> 0.600" in shown
    assert "[0.590, 0.610]" in shown
    assert "chance 0.100, oracle 0.900" in shown
    assert '<path class="value" d="M0 3H60"/>' in shown
    assert '<path class="interval" d="M59 3H61"/>' in shown
    assert '<path class="chance" d="M10 0V6"/>' in shown
    assert '<path class="oracle" d="M90 0V6"/>' in shown
    assert order == 2


def test_absent_is_a_dash_and_undefined_says_why_and_both_come_last():
    table = leaderboard(
        report(
            result("mine", "model", 0.6),
            result("other", "model", score(None, reason=HOSTILE)),
            result("elsewhere", "model", 0.5, task="clustering"),
        )
    )
    found = cells(table, "annotation")
    assert found["elsewhere"][0] == "–"
    assert found["other"][0] == '<abbr title="&lt;script&gt;alert(1)&lt;/script&gt;">undefined</abbr>'
    assert found["mine"][1] < found["other"][1] == found["elsewhere"][1]


def test_a_result_without_its_headline_score_says_so():
    table = leaderboard(report(result("mine", "model", 0.6, headline=["gone"])))
    assert "the result has no gone" in cells(table, "annotation")["mine"][0]


@pytest.mark.parametrize(
    ("worst", "best", "value", "place"),
    [(0.0, 1.0, 0.25, 25), (-1.0, 1.0, 0.0, 50), (1.0, 0.0, 0.25, 75), (0.0, 1.0, 7.0, 100), (1.0, 1.0, 1.0, 0)],
)
def test_better_lies_to_the_right(worst, best, value, place):
    assert Scale(worst, best, None).place(value) == place


def test_an_unbounded_scale_ends_at_the_most_extreme_values():
    found = entries(
        report(*(result(str(v), "model", score(v, best=None, worst=None, chance=None)) for v in (2.0, 5.0, 3.0)))
    )["annotation", "cells"]
    assert Scale.over(found) == Scale(2.0, 5.0, None)


def test_runs_on_other_cells_or_folds_have_columns_and_ranks_of_their_own():
    first, second = result("mine", "model", 0.6), result("mine", "model", 0.9, pairing="other folds")
    table = leaderboard(report(first, result("hvg", "baseline", 0.7), second))
    assert "2</b> 0.600" in cells(table, "annotation <small>macro_f1 on cells (1 of 2)")["mine"][0]
    other = cells(table, "annotation <small>macro_f1 on cells (2 of 2)")
    assert "1</b> 0.900" in other["mine"][0]
    assert other["hvg"][0] == "–"


def test_two_results_of_a_model_with_the_same_folds_have_a_row_each():
    table = leaderboard(report(result("mine", "model", 0.6), result("mine", "model", 0.9)))
    assert [row[0] for row in table.rows] == ["mine", "mine"]
    assert ["0.600" in row[2][0] for row in table.rows] == [True, False]


def test_many_datasets_go_into_rows():
    many = [result("mine", "model", 0.5, dataset=f"d{i}") for i in range(MOST_COLUMNS + 1)]
    table = leaderboard(report(*many))
    assert [column.head for column in table.columns][:3] == ["model", "role", "dataset"]
    assert len(table.columns) == 4
    assert len(table.rows) == len(many)


def test_a_model_without_an_answer_has_no_rank_and_leaves_the_scale_alone():
    failed = result("mine", "model", score(None), failure=HOSTILE)
    counted = score(3.0, best=None, worst=0.0)
    made = report(failed, result("low", "baseline", counted))
    assert cells(leaderboard(made), "annotation")["mine"][0] == (
        '<abbr title="&lt;script&gt;alert(1)&lt;/script&gt;">no answer</abbr>'
    )
    assert ranks(entries(made)["annotation", "cells"]) == [None, 1]
    # a failure knows neither best nor worst, although its record has defaults
    assert Scale.over(entries(made)["annotation", "cells"]).best == 3.0

"""Plain tables: the best among models and baselines, undefined and absent told apart, claims in one line each."""

from __future__ import annotations

from scfm_eval.export.sheets import claims, sheets
from scfm_eval.report import ComparisonRecord
from scfm_eval.results import ScoreRecord
from tests.export.made import EMPTY, ERRORS, UNDEFINED, report, result, verdict


def value(number, **known):
    return ScoreRecord(value=number, low=number - 0.1, high=number + 0.1, **known)


def test_a_sheet_has_models_first_and_tells_undefined_from_absent():
    made = report(
        result("random", role="control", scores={"f1": value(0.9)}),
        result("pca", role="baseline", scores={"f1": value(0.7), "knn": UNDEFINED}),
        result("mine", scores={"f1": value(0.5)}),
    )
    (sheet,) = sheets(made)
    assert (sheet.task, sheet.dataset, sheet.scores) == ("annotation", "cells", ["f1", "knn"])
    assert sheet.models == ["mine", "pca (baseline)", "random (control)"]
    kinds = [[entry.kind for entry in row] for row in sheet.rows]
    assert kinds == [["value", "absent"], ["value", "undefined"], ["value", "absent"]]
    assert [row[0].best for row in sheet.rows] == [False, True, False]
    assert sheet.rows[0][0].text == "0.500 [0.400, 0.600]"
    assert sheet.notes == ["knn of pca is undefined: one batch only"]


def test_the_least_is_best_where_less_is_better_and_one_alone_is_not_best():
    less = {"lcad": value(0.9, higher_is_better=False)}, {"lcad": value(0.2, higher_is_better=False)}
    (sheet,) = sheets(report(result("a", scores=less[0]), result("b", scores=less[1])))
    assert sheet.scores == ["lcad ↓"]
    assert [row[0].best for row in sheet.rows] == [False, True]
    (alone,) = sheets(report(result("a")))
    assert not alone.rows[0][0].best


def test_models_with_the_same_value_are_both_best():
    (sheet,) = sheets(report(result("a"), result("b")))
    assert [row[0].best for row in sheet.rows] == [True, True]


def test_runs_on_other_cells_or_folds_stand_on_sheets_of_their_own_and_each_keeps_its_best():
    first = [result("a", scores={"f1": value(0.9)}), result("b", role="baseline", scores={"f1": value(0.5)})]
    second = [
        result(name, scores={"f1": value(number)}).model_copy(update={"pairing": "other folds"})
        for name, number in (("a", 0.3), ("c", 0.4))
    ]
    one, other = sheets(report(*first, *second))
    assert (one.dataset, other.dataset) == ("cells (1 of 2)", "cells (2 of 2)")
    assert (one.models, other.models) == (["a", "b (baseline)"], ["a", "c"])
    assert [row[0].best for row in (*one.rows, *other.rows)] == [True, False, False, True]


def test_two_results_of_a_model_on_the_same_folds_both_stand():
    (sheet,) = sheets(report(result("a", scores={"f1": value(0.9)}), result("a", scores={"f1": value(0.5)})))
    assert [(row[0].text[:5], row[0].best) for row in sheet.rows] == [("0.900", True), ("0.500", False)]


def test_a_difference_without_interval_says_so():
    made = ComparisonRecord(text="a is not > b", holds=False, difference=0.00012, low=None, high=None)
    _, (row,) = claims(report(verdicts=[verdict(comparisons=[made])]))
    assert row[4] == "+1.2e-04 [no interval]"


def test_a_value_without_interval_says_so():
    (sheet,) = sheets(report(result(scores={"f1": ScoreRecord(value=0.25)})))
    assert sheet.rows[0][0].text == "0.250 [no interval]"


def test_a_claim_has_its_difference_and_why_it_is_lost():
    _, (lost, held) = claims(report(verdicts=[verdict(), verdict("passed", model=None)]))
    assert lost == ("test_wins", "mine", "cells", "failed", "-0.200 [-0.300, -0.100]", "0.5 is not > 0.7")
    assert held == ("test_wins", "–", "cells", "passed", "-0.200 [-0.300, -0.100]", "–")


def test_reports_without_results_have_no_sheet():
    assert sheets(EMPTY) == sheets(ERRORS) == []
    assert claims(EMPTY)[1] == []
    assert claims(ERRORS)[1] == [("test_wins", "mine", "cells", "error", "–", "torn weights")]


def test_a_model_without_an_answer_is_told_once():
    why = "mine gave no answer: crash"
    silent = {name: ScoreRecord(value=None, reason=why) for name in ("f1", "knn")}
    (sheet,) = sheets(report(result("pca", scores={"f1": value(0.7)}), result(scores=silent, failure=why)))
    assert [entry.text for entry in sheet.rows[0]] == ["no answer", "no answer"]
    assert sheet.notes == [f"{why} (annotation on cells): neither a win nor a loss"]

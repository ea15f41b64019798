"""The scatter of changes: each pair where it belongs, no point without an answer."""

from __future__ import annotations

import re

from scfm_eval.charts import figures
from tests.charts.made import drawn, figure, report, result, rows

TRUE = {"kind": ["single", "context"], "condition": ["A", "B"], "gene": ["g", "h"], "true": [1.0, -2.0]}


def moved(model, *predicted):
    return result(model, task="perturbation", details={"deltas": TRUE | {"predicted": list(predicted)}})


def test_pairs_are_those_of_the_report_and_signs_are_counted():
    found = figure("perturbation-deltas-cells", moved("mine", 0.5, 1.0))
    (row,) = rows(found)
    assert row == {"model": "mine"} | TRUE | {"predicted": [0.5, 1.0]}
    assert "Changes of log expression of 2 pairs" in found.alt
    assert (
        "On the 2 pairs that mine answered, the sign is right for mine in 50% (mean absolute error 1.750)." in found.alt
    )


def test_a_pair_without_an_answer_is_no_point_at_zero():
    found = figure("perturbation-deltas-cells", moved("mine", 0.5, None))
    assert "Pairs without an answer are not drawn: 1 of 2 of mine." in found.alt
    points = re.findall(r"mark-symbol role-mark layer_1_marks.*?</g>", drawn(found), re.DOTALL)
    assert points[0].count("<path") == 1


def test_models_are_compared_on_the_pairs_that_all_answered():
    found = figure("perturbation-deltas-cells", moved("mine", 0.5, 1.0), moved("other", 2.0, None))
    assert (
        "On the 1 pair that mine and other all answered, the sign is right for mine in 100% (mean absolute error "
        "0.500) and other in 100% (mean absolute error 1.000)." in found.alt
    )


def test_models_that_answered_nothing_together_are_not_compared():
    found = figure("perturbation-deltas-cells", moved("mine", 0.5, None), moved("other", None, 1.0))
    assert "There is no pair that mine and other all answered." in found.alt


def test_a_model_without_any_answer_is_said_to_have_none():
    found = figure("perturbation-deltas-cells", moved("mine", None, None), moved("other", 0.5, 1.0))
    assert "On the 2 pairs that other answered, the sign is right for other in 50%" in found.alt
    assert "Pairs without an answer are not drawn: 2 of 2 of mine." in found.alt


def test_no_pair_no_figure():
    nothing = {"deltas": {name: [] for name in (*TRUE, "predicted")}}
    assert not [one for one in figures(report(result(task="perturbation", details=nothing))) if "deltas" in one.name]

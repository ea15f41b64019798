"""The table in the terminal: who stands where, which score is shown, and what its p-values are of."""

from __future__ import annotations

from scfm_eval.report import LandscapeCheck, PairedTest, SeedsTest, SplitTest
from scfm_eval.tables import render
from tests.made_reports import report, result, score


def lines(found):
    return render(found, width=200).splitlines()


def test_models_stand_above_baselines_above_controls():
    rows = [result("a", role="control"), result("b", role="baseline"), result("c")]
    scored = [one.model_copy(update={"scores": {"f1": score(0.5)}, "headline": ["f1"]}) for one in rows]
    names = [line.split()[1] for line in lines(report(*scored)) if line.startswith("│")]
    assert names == ["c", "b", "a"]


def test_the_first_headline_score_is_shown_although_it_is_undefined():
    made = result(first=score(None, reason="one class"), second=score(0.5))
    text = render(report(made.model_copy(update={"headline": ["first", "second"]})), width=200)
    assert "undefined" in text
    assert "second" not in text.partition("UNDEFINED")[0]
    assert text.splitlines()[-1] == "UNDEFINED: first of mine on cells: one class; it has second 0.500 [no interval]"


def test_the_landscape_says_of_which_kind_its_p_is():
    check = LandscapeCheck(dataset="cells", models=["a", "b"], rho=0.9, p=0.04)
    assert lines(report(landscape=[check]))[-1].endswith("Spearman 0.90, one-sided p = 0.04 by permutation")
    lost = LandscapeCheck(dataset="cells", models=[], rho=None, p=None, reason="too few models")
    assert lines(report(landscape=[lost]))[-1].endswith("undefined: too few models")


def test_pairs_say_over_what_each_q_is_corrected():
    split = SplitTest(seed=0, n_cells=9, only_left=3, only_right=1, p=0.5, q=0.6)
    seeds = SeedsTest(p=None, q=None, reason="one seed")
    test = PairedTest(task="toy", dataset="cells", left="a", right="b", splits=[split], seeds=seeds)
    text = render(report(paired_tests=[test]), width=200)
    assert "McNemar over all pairs and splits, Wilcoxon over all pairs" in text
    assert "undefined" in text


def test_a_model_without_an_answer_stands_on_top_and_has_no_number():
    silent = result("other", f1=score(None, reason="crash")).model_copy(
        update={"failure": "other gave no\nanswer: crash"}
    )
    shown = lines(report(result(f1=score(0.5)), silent))
    assert shown[0] == "NO ANSWER, neither a win nor a loss: other gave no answer: crash (toy on cells)"
    assert next(line for line in shown if line.startswith("│ other")).split("│")[2].strip() == "no answer"
    assert "NO ANSWER" not in render(report(result(f1=score(0.5))), width=200)


def test_rows_of_details_are_named_by_their_names_and_words_stand_left():
    details = {"terms": [{"term": "GO:1", "name": "short", "f1": 0.5}, {"term": "GO:2", "name": "longer", "f1": None}]}
    made = result(f1=score(0.5)).model_copy(update={"details": details | {"layers": [{"layer": 1, "f1": 0.5}]}})
    shown = render(report(made), width=200, task="toy")
    assert "│ GO:1 │ short  │     0.500 │" in shown
    assert "│ layer 1 │" in shown


def test_a_run_that_was_stopped_says_so_first_and_how_to_go_on():
    whole = report()
    assert "INTERRUPTED" not in render(whole, width=80)
    assert render(whole.model_copy(update={"interrupted": True}), width=80).startswith("INTERRUPTED: ")

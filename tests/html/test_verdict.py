"""What stands on top, by hand."""

from __future__ import annotations

from scfm_eval.html.notes import Note, leaks, notes
from scfm_eval.html.verdict import MOST_NAMED, top_verdict
from scfm_eval.verdicts import HOW
from tests.html.reports import comparison, report, result, score, verdict


def test_the_sum_counts_comparisons_and_claims():
    found = top_verdict(
        report(
            result("mine", "model", 0.6),
            result("low", "baseline", 0.4),
            result("high", "baseline", 0.8),
            result("undefined", "baseline", score(None)),
            verdicts=[
                verdict("passed", made=[comparison(0.2, 0.1, 0.3)]),
                verdict("failed"),
                verdict("expected failure"),
                verdict("expected failure"),
                verdict("error", reason="high has no value"),
            ],
        )
    )
    assert found.in_sum == (
        "1 model against 3 baselines on 1 task: of 3 comparisons of the first headline score, the model is surely "
        "ahead in 1, surely behind in 1, and 0 are not decided; 1 cannot be compared.",
        HOW,
        "Of 5 claims, 1 passed, 1 failed, 2 failed as expected (losses known before the run) and 1 could not be "
        "decided (each is named below).",
    )
    assert found.errors == ("is better than hvg [mine on cells]: high has no value",)


def test_each_task_names_the_baselines_with_difference_and_interval():
    found = top_verdict(report(result("mine", "model", 0.6), result("low", "baseline", score(0.4, spread=0.0))))
    (model,) = found.models
    assert model.counts == {"ahead": 1, "not decided": 0, "behind": 0, "undefined": 0}
    ((standing, said, why),) = model.lines[0].parts
    assert (standing, why) == ("ahead", "")
    assert said.startswith("surely ahead of low (+0.200 [+0.19")


def test_a_win_below_chance_is_a_doubtful_one():
    found = top_verdict(report(result("mine", "model", 0.08), result("low", "baseline", score(0.04))))
    assert "surely ahead in 1 (in 1 of them with a doubt: chance or collapse, named below)" in found.in_sum[0]
    ((_, said, _),) = found.models[0].lines[0].parts
    assert said.endswith("), but itself not surely better than chance")


def test_an_undefined_comparison_says_why():
    found = top_verdict(report(result("mine", "model", 0.6), result("low", "baseline", score(None, reason="no batch"))))
    ((standing, said, why),) = found.models[0].lines[0].parts
    assert (standing, said) == ("undefined", "not comparable with low")
    assert "no batch" in why


def test_nothing_is_said_to_be_nothing():
    assert top_verdict(report()).in_sum == ("No model was compared with a baseline.", "No claim was asked.")


def test_many_errors_are_named_in_part():
    found = top_verdict(report(verdicts=[verdict("error", reason=f"fault {i}") for i in range(MOST_NAMED + 3)]))
    assert len(found.errors) == MOST_NAMED + 1
    assert found.errors[-1] == "and 3 more: see the table of claims"


def test_leaks_are_named_and_what_is_not_known_is_none():
    found = report(
        result("mine", "model", 0.5, seen=True),
        result("mine", "model", 0.5, seen=True, task="clustering"),
        result("other", "model", 0.5, seen=None),
        result("third", "model", 0.5, seen=False),
    )
    assert leaks(found) == [Note("mine saw cells in pretraining", "annotation, clustering")]


def test_a_note_is_said_once():
    found = report(*(result(name, "model", 0.5, notes=["few cells"]) for name in ("a", "b")))
    assert notes(found) == [Note("few cells", "annotation on cells: a, b")]


def test_a_model_without_an_answer_is_named_on_top_and_has_no_loss():
    why = "mine gave no answer: exit code 3"
    failed = result("mine", "model", score(None, reason=why), failure=why)
    found = top_verdict(report(failed, result("low", "baseline", 0.4), result("high", "baseline", 0.8)))
    assert [(one.text, one.where) for one in found.failures] == [(why, "annotation on cells")]
    assert "surely ahead in 0, surely behind in 0, and 0 are not decided; 2 cannot be compared" in found.in_sum[0]
    assert found.models[0].text == "mine gave no answer in annotation."
    assert found.models[0].lines[0].parts == (("undefined", "no answer", why),)
    assert top_verdict(report(result("mine", "model", 0.5))).failures == ()

"""Who is ahead of whom, from intervals worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.verdicts import facts, sentences
from tests.paper.given import full, report, result, score


def _one(*results):
    (fact,) = facts(report(results))
    return fact


@pytest.mark.parametrize(
    ("ours", "standing"), [(0.60, "ahead"), (0.40, "behind"), (0.50, "not decided"), (None, "undefined")]
)
def test_standing_is_where_the_interval_lies(ours, standing):
    # replicates of both rise evenly, by 0.06 and 0.04; that leaves differences of ours − 0.5 ± 0.01
    model = result(scores={"macro_f1": score(ours, spread=0.03)})
    assert _one(model, result("pca", 0.5, role="baseline")).standing == standing


def test_the_interval_is_that_of_the_paired_difference():
    fact = _one(result(scores={"macro_f1": score(0.6, spread=0.03)}), result("pca", 0.5, role="baseline"))
    assert fact.difference == pytest.approx(0.1)
    # evenly from 0.09 to 0.11: 2.5 % from each end
    assert (fact.low, fact.high) == pytest.approx((0.0905, 0.1095), abs=2e-4)


def test_where_less_is_better_the_sign_is_turned():
    ours, theirs = ({"rogi": score(value, spread=spread, up=False)} for value, spread in ((0.2, 0.03), (0.3, 0.02)))
    fact = _one(result(scores=ours), result("pca", role="baseline", scores=theirs))
    assert (fact.standing, fact.difference) == ("ahead", pytest.approx(0.1))
    assert (fact.low, fact.high) == pytest.approx((0.0905, 0.1095), abs=2e-4)


@pytest.mark.parametrize(
    ("rival", "reason"),
    [
        (result("pca", 0.5, role="baseline", pairing="other"), "not measured on the same cells"),
        (result("pca", role="baseline", scores={"accuracy": score(0.5)}), "pca has no score macro_f1"),
        (result("pca", role="baseline", scores={"macro_f1": score(None, applies=False)}), "no class has cells"),
        (result("pca", role="baseline", scores={"macro_f1": score(0.5, replicates=None)}), "has no interval"),
    ],
)
def test_undefined_says_why(rival, reason):
    fact = _one(result(), rival)
    assert (fact.standing, fact.difference, fact.low) == ("undefined", None, None)
    assert reason in fact.reason


def test_of_several_runs_of_a_baseline_the_comparable_one_counts():
    runs = [result("pca", value, role="baseline", pairing=pairing) for value, pairing in ((0.9, "other"), (0.3, "p"))]
    assert _one(result(value=0.6), *runs).standing == "ahead"


def test_a_sentence_names_baselines_and_tasks():
    mine, yours = sentences(full())
    assert mine.text == "mine is surely ahead of hvg (annotation, landscape), pca (annotation, landscape)."
    assert yours.text == (
        "yours is surely ahead of no baseline on any task; "
        "surely behind hvg (annotation, landscape), pca (annotation, landscape)."
    )
    assert len(mine.facts) == 4


def _perturbed(value, *, flagged, up=True):
    ours = score(value, spread=0.03, up=up, chance=0.2)
    guards = {"single": {"flagged": flagged}, "combination": {"flagged": True}}
    return result(task="perturbation", scores={"single_error": ours}, details={"collapse": guards})


@pytest.mark.parametrize(
    ("value", "flagged", "up", "doubts"),
    [
        (0.25, False, True, ()),
        (0.22, False, True, ("itself not surely better than chance",)),
        (0.25, True, True, ("its predictions collapsed",)),
        (0.18, True, True, ("itself not surely better than chance", "its predictions collapsed")),
        (0.15, False, False, ()),
        (0.22, False, False, ("itself not surely better than chance",)),
    ],
)
def test_a_win_below_chance_or_by_collapsed_predictions_says_so(value, flagged, up, doubts):
    rival = score(0.1 if up else 0.4, up=up)
    known = {"role": "baseline", "task": "perturbation", "scores": {"single_error": rival}}
    results = report([_perturbed(value, flagged=flagged, up=up), result("pca", **known)])
    (sentence,) = sentences(results)
    assert sentence.facts[0].standing == "ahead"
    assert sentence.facts[0].doubts == doubts
    but = f" [{' and '.join(doubts)}]" if doubts else ""
    assert sentence.text == f"mine is surely ahead of pca (perturbation{but})."


def test_a_loss_needs_no_doubt():
    rival = result("pca", role="baseline", task="perturbation", scores={"single_error": score(0.9)})
    assert _one(_perturbed(0.1, flagged=True), rival).doubts == ()


def test_several_datasets_of_a_task_are_counted():
    results = [
        result(name, value, role=role, dataset=dataset)
        for dataset, ours in (("a", 0.9), ("b", 0.1))
        for name, value, role in (("mine", ours, "model"), ("pca", 0.5, "baseline"))
    ]
    (sentence,) = sentences(report(results))
    assert "surely ahead of pca (annotation on 1 of 2 datasets)" in sentence.text
    assert "surely behind pca (annotation on 1 of 2 datasets)" in sentence.text


def test_without_baselines_nothing_is_claimed():
    (sentence,) = sentences(report([result(), result("random", role="control")]))
    assert sentence.text == "mine was compared with no baseline."
    assert sentences(report()) == []
    assert sentences(report([result(headline=[])]))[0].facts == ()


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=2), spread=st.floats(0.001, 0.3))
@settings(max_examples=50, deadline=None)
def test_nobody_is_ahead_of_whom_he_is_behind(values, spread):
    def standing(ours, theirs):
        model = result(scores={"macro_f1": score(ours, spread=spread)})
        rival = result("pca", role="baseline", scores={"macro_f1": score(theirs, spread=0.01)})
        return _one(model, rival).standing

    def mirrored(ours, theirs):
        model = result(scores={"macro_f1": score(ours, spread=0.01)})
        rival = result("pca", role="baseline", scores={"macro_f1": score(theirs, spread=spread)})
        return _one(model, rival).standing

    turned = {"ahead": "behind", "behind": "ahead", "not decided": "not decided"}
    assert mirrored(*reversed(values)) == turned[standing(*values)]


FAILED = {"scores": {"macro_f1": score(None, reason="exit code 3")}, "failure": "mine gave no answer: exit code 3"}


def test_a_model_that_failed_has_neither_won_nor_lost():
    fact = _one(result(**FAILED), result("pca", 0.5, role="baseline"))
    assert (fact.standing, fact.answered, fact.reason) == ("undefined", False, FAILED["failure"])
    (said,) = sentences(report([result(**FAILED), result("pca", 0.5, role="baseline")]))
    assert said.text == "mine gave no answer in annotation."


def test_a_model_that_failed_in_one_task_is_judged_on_the_others():
    results = [
        result(value=0.6),
        result("pca", 0.5, role="baseline"),
        result(task="landscape", **FAILED),
        result("pca", 0.5, role="baseline", task="landscape"),
    ]
    (said,) = sentences(report(results))
    assert said.text == "mine is surely ahead of pca (annotation); it gave no answer in landscape."


def test_against_a_baseline_that_failed_nothing_is_won():
    fact = _one(result(value=0.6), result("pca", role="baseline", **FAILED))
    assert (fact.standing, fact.answered) == ("undefined", True)

"""What a reference keeps, what stands against what, and how it is renewed on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.__main__ import main
from scfm_eval.errors import InvalidInputError
from scfm_eval.reference import check_fit, counterpart, file_name, renewed
from scfm_eval.report import Report, Verdict, read_report, write_report
from scfm_eval.results import ScoreRecord
from tests.reruns import Cells

CELLS = Cells.drawn(n_cells=60, n_types=3, n_resamples=50)
RIGHT = CELLS.truth
WRONG = np.where(np.arange(60) % 4, RIGHT, (RIGHT + 1) % 3)


def result(answers=RIGHT, *, model="m", **changed):
    made = CELLS.result([answers], model=model)
    scores = made.scores | {"other": ScoreRecord(value=0.5), "never": ScoreRecord(value=None, reason="one batch")}
    extra = {"headline": ["macro_f1", "never"], "details": {"table": [1]}, "scores": scores}
    return made.model_copy(update=extra | changed)


def report(*results, verdicts=(), **changed):
    known = {
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["pytest"],
        "environment": {"machine": {"kind": "AMD EPYC/2 x2"}, "git": {"commit": "abc", "dirty": False}, "workers": 1},
    }
    return Report(**known | changed, results=list(results), verdicts=list(verdicts))


def verdict(outcome, *, claim="benchmarks/test_a.py::test_wins", model="m"):
    return Verdict(claim=claim, model=model, dataset="toy", outcome=outcome)


def test_the_counterpart_is_named_as_a_reference_and_lacks_new_scores_with_a_reason():
    then = result(scores={"macro_f1": result().scores["macro_f1"]})
    found = counterpart(report(then), result())
    assert found.model.name == "reference m"
    assert found.scores["macro_f1"].value == 1.0
    assert "does not have this score" in found.scores["other"].reason
    assert counterpart(report(then), result(model="another")) is None


def test_of_two_alike_the_one_with_the_same_pairing_is_the_counterpart():
    both = report(result(WRONG, pairing="another"), result())
    assert counterpart(both, result()).scores["macro_f1"].value == 1.0


def without(now, name, value):
    return now.model_copy(update={name: getattr(now, name).model_copy(update=value)})


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (without(result(), "dataset", {"sha256": "f" * 64}), "other cells: 60 cells of toy .* against 60 cells of toy"),
        (result(seeds=[0, 1]), r"other seeds: 2 \(0, 1\) against 1 \(0\)"),
        (result(parameters={"k": 5}), "other parameters of the task: k 5 against None"),
        (result(), "device or precision"),
    ],
)
def test_what_was_measured_otherwise_is_refused_with_what_differs(then, said):
    with pytest.raises(InvalidInputError, match=said) as refused:
        counterpart(report(then.model_copy(update={"pairing": "then"})), result())
    assert "reference update" in str(refused.value)


def test_a_reference_keeps_resampled_and_undefined_headline_scores_without_details():
    (kept,) = renewed(None, report(result())).results
    assert set(kept.scores) == {"macro_f1", "never"}
    assert kept.scores["macro_f1"].replicates
    assert kept.details == {}


def test_results_that_are_not_in_the_report_are_kept_or_dropped_as_asked():
    old = report(result(), result(model="z"), verdicts=[verdict("passed"), verdict("passed", model="z")])
    new = report(result(WRONG), verdicts=[verdict("expected failure")])
    made = renewed(old, new)
    assert [found.model.name for found in made.results] == ["m", "z"]
    assert made.results[0].scores["macro_f1"].value < 1
    assert [(found.model, found.outcome) for found in made.verdicts] == [("m", "expected failure"), ("z", "passed")]
    alone = renewed(old, new, whole=True)
    assert [found.model.name for found in alone.results] == ["m"]
    assert len(alone.verdicts) == 1


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (report(result(), interrupted=True), "interrupted"),
        (report(), "no results"),
        (report(result(), verdicts=[verdict("failed")]), r"1 red .*test_wins \[m on toy\] \(failed\)"),
        (report(result(), verdicts=[verdict("error")]), "error"),
        (report(result(), verdicts=[verdict("unexpected pass")]), "unexpected pass"),
    ],
)
def test_what_no_run_should_be_held_against_is_refused(unfit, said):
    with pytest.raises(InvalidInputError, match=said):
        check_fit(unfit, even_red="")


def test_a_green_report_is_fit_and_a_red_one_with_a_reason():
    green = report(result(), verdicts=[verdict("passed"), verdict("expected failure"), verdict("skipped")])
    red = report(result(), verdicts=[verdict("failed")])
    check_fit(green, even_red="")
    check_fit(red, even_red="slower tokeniser, accepted")
    made = renewed(None, red, even_red="slower tokeniser, accepted")
    assert made.environment["reference"] == {"even_red": "slower tokeniser, accepted"}


def test_an_interrupted_report_is_refused_whatever_the_reason():
    with pytest.raises(InvalidInputError, match="interrupted"):
        check_fit(report(result(), interrupted=True), even_red="hurry")


def test_the_file_is_named_after_the_kind_of_machine():
    assert file_name(report()) == "AMD-EPYC-2-x2.json"
    with pytest.raises(InvalidInputError, match="none in its environment"):
        file_name(report(environment={}))


@pytest.fixture
def update(tmp_path, capsys):
    """Return what renews the reference with a report, and gives exit code, output and errors."""

    def call(new, *arguments):
        write_report(new, tmp_path / "new.json")
        asked = [str(tmp_path / "new.json"), "--to", str(tmp_path / "reference"), *arguments]
        code = main(["reference", "update", *asked])
        return code, *capsys.readouterr()

    call.target = tmp_path / "reference" / "AMD-EPYC-2-x2.json"
    return call


def test_the_command_writes_says_what_moved_and_what_was_kept(update):
    assert update(report(result(), result(model="z")))[:2] == (
        0,
        f"a first reference of 2 results\nreference: {update.target}\n",
    )
    code, out, err = update(report(result(WRONG), result(model="y")))
    assert (code, err) == (0, "")
    assert "worse: simulated toy m macro_f1: 1.000 → 0." in out
    assert "results that are not in the report: 1, kept as they were on 2026-01-01" in out
    assert [found.model.name for found in read_report(update.target).results] == ["m", "y", "z"]
    assert (
        "results that are not in the report: 1, dropped"
        in update(report(result(model="m"), result(model="y")), "--whole")[1]
    )


def test_the_command_refuses_red_and_leaves_the_reference_alone(update):
    update(report(result()))
    before = update.target.read_bytes()
    code, _, err = update(report(result(WRONG), verdicts=[verdict("failed")]))
    assert code == 2
    assert "accept them with --even-red REASON" in err
    assert update(report(result(WRONG), verdicts=[verdict("failed")]), "--even-red", " ")[0] == 2
    assert update.target.read_bytes() == before


def test_the_command_warns_of_what_nobody_can_repeat(update):
    dirty = {"machine": {"kind": "k"}, "git": {"commit": "abc", "dirty": True}}
    trained = without(result(), "model", {"trained_here": True})
    _, _, err = update(report(trained, environment=dirty))
    assert "with uncommitted changes" in err
    assert "trained with one seed: 1;" in err
    assert "outside of a git checkout" in update(report(result(), environment={"machine": {"kind": "k"}}))[2]

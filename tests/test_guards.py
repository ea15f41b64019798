"""Named checks: refused or told, switched off by name only, listed, and shown wherever a report is read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from scfm_eval import guards
from scfm_eval.__main__ import main
from scfm_eval.errors import InvalidInputError
from scfm_eval.export.markdown import as_markdown
from scfm_eval.findings import told
from scfm_eval.guards import GUARDS, Finding, GuardError
from scfm_eval.html.page import page
from scfm_eval.power import powerless_scores
from scfm_eval.report import Report, read_report, write_report
from scfm_eval.tables import render
from tests.made_reports import STEADY, result, score
from tests.toys import CLAIMS, MODELS, toy_cells

FAULT = {"asked": "raw counts", "found": "logarithms", "remedy": "give counts"}
ROOT = Path(__file__).parents[1]


def report(*results, **known):
    """Return a report of these results."""
    return Report(created="2026", command=["pytest"], environment={}, results=list(results), verdicts=[], **known)


def test_a_fault_is_refused_in_three_parts_with_the_way_to_switch_the_check_off():
    with pytest.raises(GuardError) as caught:
        guards.refuse("counts", **FAULT)
    assert str(caught.value).splitlines() == [
        "asked: raw counts",
        "found: logarithms",
        "to do: give counts; or go on without this check, which the report then states: --without-guard counts",
    ]
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), GuardError)  # noqa: S301


def test_a_guard_is_off_inside_only_and_no_other_is():
    with guards.without(["counts"]):
        with guards.without(["counts", "order"]):
            assert guards.switched_off() == ["counts", "order"]
        guards.refuse("counts", **FAULT)
        assert guards.switched_off() == ["counts"]
        with pytest.raises(GuardError):
            guards.refuse("order", **FAULT)
    assert guards.switched_off() == []
    with pytest.raises(GuardError):
        guards.refuse("counts", **FAULT)


@pytest.mark.parametrize(("name", "near"), [("count", "counts"), ("", "no guard"), ("Counts", "nearest: counts")])
def test_a_name_that_no_guard_has_is_refused(name, near):
    with pytest.raises(InvalidInputError, match=near), guards.without([name]):
        pass


def test_what_is_told_is_heard_once_by_the_innermost_and_not_while_off():
    with guards.listening() as outer:
        guards.tell("chance", **FAULT)
        with guards.listening() as inner:
            guards.tell("chance", **FAULT)
            guards.tell("chance", **FAULT)
            with guards.without(["chance"]):
                guards.tell("chance", **(FAULT | {"found": "other"}))
    assert outer == inner == [Finding("chance", **FAULT)]
    guards.tell("chance", **FAULT)  # nobody listens, nothing happens
    assert len(outer) == 1


def test_the_command_lists_every_guard(capsys):
    assert main(["guards"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in GUARDS)
    assert main(["guards", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(GUARDS)
    assert all(row["against"] and row["then"] for row in rows)


def test_findings_and_guards_that_were_off_stand_wherever_a_report_is_read(tmp_path):
    finding = Finding("chance", asked="a score", found="no better than <chance>", remedy="believe nothing")
    of_cells = Finding("label_origin", asked="labels", found="labels are clusters", remedy="take other labels")
    one = result(a=score(0.5, spread=STEADY * 0.01)).model_copy(update={"findings": [finding]})
    two = result("other", a=score(0.5, spread=STEADY * 0.01)).model_copy(update={"findings": [finding]})
    one.dataset.findings.append(of_cells)
    made = report(one, two, guards_off=["counts"])
    path = write_report(made, tmp_path / "report.json")
    read = read_report(path)
    assert read.results[0].findings == [finding]
    assert [str(line) for line in told(read)] == [
        "the guard counts was switched off: what it finds was let through",
        "label_origin: labels are clusters (take other labels) (cells)",
        "chance: no better than <chance> (believe nothing) (toy of mine on cells and toy of other on cells)",
    ]
    shown = render(read, width=100)
    assert "GUARD the guard counts was switched off" in shown
    assert "GUARD label_origin: labels are clusters" in shown
    html = page([read])
    assert "the guard counts was switched off" in html
    assert "no better than &lt;chance&gt;" in html
    assert "<chance>" not in html
    assert "labels are clusters" in as_markdown({"run": read})
    assert main(["report", str(path), "-o", str(tmp_path / "paper.md")]) == 0
    assert "labels are clusters" in (tmp_path / "paper.md").read_text()


def test_a_score_that_cannot_tell_the_oracle_from_noise_is_told():
    def controls(best, worst, *, spread):
        return [
            result("oracle", role="control", a=score(best, spread=STEADY * spread)),
            result("random", role="control", a=score(worst, spread=STEADY[::-1] * spread)),
        ]

    assert powerless_scores(controls(1.0, 0.1, spread=0.01)) == []
    (found,) = powerless_scores(controls(0.5, 0.45, spread=0.2))
    assert found.guard == "power"
    assert "toy a on cells does not tell the oracle from noise" in found.found
    with guards.without(["power"]):
        assert powerless_scores(controls(0.5, 0.45, spread=0.2)) == []


@pytest.fixture
def suite(pytester, monkeypatch):
    """Make a folder with claims, models and log values, and return what runs pytest in it."""
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "conftest.py").read_text())
    (pytester.mkdir("benchmarks") / "test_toy.py").write_text(CLAIMS.replace("NAME", "toy"))
    (pytester.path / "models.py").write_text(MODELS)
    cells = toy_cells()
    cells.X = cells.X.log1p()
    cells.write_h5ad(pytester.path / "logged.h5ad")

    def run(*arguments):
        asked = ["benchmarks", "--dataset", "logged.h5ad:label=cell_type", "--model", "models.py:Good", "-k", "chance"]
        return pytester.runpytest_subprocess(*asked, "--report", "out.json", "-p", "no:cacheprovider", *arguments)

    run.path = pytester.path
    return run


def test_a_run_goes_on_without_a_guard_only_by_its_name_and_the_report_says_so(suite):
    run = suite()
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*log1p*", "*--without-guard counts*"])
    run = suite("--without-guard", "count")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*nearest: counts*"])
    run = suite("--without-guard", "counts", "-n", "2")
    assert run.ret == 0
    run.stdout.fnmatch_lines(["GUARD the guard counts was switched off*"])
    assert read_report(suite.path / "out.json").guards_off == ["counts"]

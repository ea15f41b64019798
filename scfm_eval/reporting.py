"""From tests, serial or distributed, passing, failing or erroring, to one JSON and a table in the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scfm_eval import guards

if TYPE_CHECKING:
    from scfm_eval.report import Outcome, Report, Verdict
    from scfm_eval.results import Result

RESULT_PROPERTY = "scfm_eval.result"
"""Name of the test property that carries a result from a worker to the report."""
CLAIM_PROPERTY = "scfm_eval.claim"
"""Name of the test property that says which model and dataset a claim is about."""
COMPARISONS_PROPERTY = "scfm_eval.comparisons"
"""Name of the test property that carries the comparisons of a claim."""


_SHOWN = {"comparison": "text", "difference": "difference", "low": "low", "high": "high"}

RESUMED = pytest.StashKey[int]()
"""How many times the run was resumed."""
COLLECTOR = "scfm_eval_collector"
"""Name of the plugin that collects results and verdicts on the controller."""


class _Collector:
    """Collects results and verdicts from the reports of all tests, and writes them at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.path = Path(config.getoption("--report"))
        self.results: dict[tuple[str, ...], Result] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.lines: dict[str, int | None] = {}
        self.interrupted = False
        self.report: Report | None = None
        self.written: Path | None = None
        self.page: Path | None = None

    # first, so that those who write properties down (JUnit) meet few and short ones
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties = dict(report.user_properties)
        for name, value in report.user_properties:
            if name == RESULT_PROPERTY:
                self._add(str(value))
        if str(report.when) == "???":
            # a worker died: xdist reports the test without its properties
            self.verdicts[report.nodeid] = _verdict(report, {CLAIM_PROPERTY: (None, None)})
        if CLAIM_PROPERTY in properties and (report.when == "call" or report.outcome != "passed"):
            self.verdicts[report.nodeid] = _verdict(report, properties)
            self.lines[report.nodeid] = report.location[1]
        report.user_properties = list(_for_readers(report.user_properties))

    def models_tried(self) -> set[str | None]:
        return {verdict.model for verdict in self.verdicts.values() if verdict.outcome != "skipped"}

    def _add(self, packed: str) -> None:
        from scfm_eval.results import Result

        result = Result.model_validate_json(packed)
        key = (result.task, result.dataset.name, result.model.name, result.pairing)
        known = self.results.get(key)
        if known is None or known.failure:
            self.results[key] = result
        else:
            _note_other_scores(known, result)

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.results or self.verdicts:
            from scfm_eval.report import write_report

            self.report = self._report()
            try:
                self.written = write_report(self.report, self.path)
            except OSError as error:
                elsewhere = Path(tempfile.gettempdir()) / f"scfm_eval-{os.getpid()}.json"
                self.written = write_report(self.report, elsewhere)
                print(f"\nERROR: {self.path} cannot be written ({error}); the report is {elsewhere}", file=sys.stderr)
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            if self.config.getoption("--html") is not None:
                self._write_page(session)

    def _write_page(self, session: pytest.Session) -> None:
        from scfm_eval.html.page import write_page

        assert self.report is not None
        path = self.config.getoption("--html")
        try:
            self.page = write_page([self.report], path)
        except OSError as error:
            print(f"\nERROR: {path} cannot be written ({error}); `scfm-eval html` writes it later", file=sys.stderr)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _report(self) -> Report:
        from scfm_eval.environment import environment
        from scfm_eval.power import powerless_scores
        from scfm_eval.report import LandscapeCheck, PairedTest, Report
        from scfm_eval.tasks.landscape import landscape_correlation
        from scfm_eval.tasks.pairs import paired_tests

        results = [self.results[key] for key in sorted(self.results)]
        return Report(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=["pytest", *sys.argv[1:]],
            interrupted=self.interrupted,
            resumed=self.config.stash.get(RESUMED, 0),
            environment=environment(self.config.rootpath, workers=self.config.getoption("numprocesses", None) or 1),
            guards_off=guards.switched_off(),
            findings=powerless_scores(results),
            results=results,
            verdicts=[self.verdicts[key] for key in sorted(self.verdicts)],
            paired_tests=[PairedTest(**row) for row in paired_tests(results)],
            landscape=[LandscapeCheck(**asdict(found)) for found in landscape_correlation(results)],
        )

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.report is None:
            return
        terminalreporter.section("scfm_eval")
        from scfm_eval import github
        from scfm_eval.tables import render

        for line in render(self.report, width=terminalreporter._tw.fullwidth).splitlines():
            terminalreporter.write_line(line.rstrip())
        for verdict in self.verdicts.values():
            if verdict.is_red:
                terminalreporter.write_line(_red_line(verdict), red=True)
        if github.is_here():
            for line in github.workflow_commands(self.verdicts, self.lines, root=self.config.rootpath):
                terminalreporter.write_line(line)
            github.add_summary(self.report)
        terminalreporter.write_line(f"report: {self.written}")
        if self.page is not None:
            terminalreporter.write_line(f"page: {self.page}")


def pytest_configure(config: pytest.Config) -> None:
    """Collect on the controller only; workers hand their results over with their tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config), COLLECTOR)


def _note_other_scores(first: Result, second: Result) -> None:
    """Say it in the result that is reported if the same cells and the same code gave other numbers the second time."""
    # timings, which are of no stored array, differ by nature
    if not (first.arrays and second.arrays):
        return
    for name in sorted(first.scores.keys() & second.scores.keys()):
        one, other = first.scores[name], second.scores[name]
        note = f"computed twice in this run: {name} is {one.value} here, and was {other.value} the other time"
        if (one.value, one.low, one.high) != (other.value, other.low, other.high) and note not in first.notes:
            first.notes.append(note)
            warnings.warn(pytest.PytestWarning(f"{first!r}: {note}"), stacklevel=1)


def _for_readers(properties: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Turn what the report is made from into a few short properties: model, dataset, and each comparison."""
    for name, value in properties:
        if name == CLAIM_PROPERTY:
            yield from (pair for pair in zip(("model", "dataset"), value, strict=True) if pair[1] is not None)
        elif name == COMPARISONS_PROPERTY:
            for made in value:
                yield from ((key, made[field]) for key, field in _SHOWN.items() if made[field] is not None)
        elif name != RESULT_PROPERTY:
            yield name, value


def _verdict(report: pytest.TestReport, properties: dict[str, Any]) -> Verdict:
    from scfm_eval.report import ComparisonRecord, Verdict

    model, dataset = properties[CLAIM_PROPERTY]
    fields = ComparisonRecord.model_fields
    return Verdict(
        claim=report.nodeid.partition("[")[0],
        model=model,
        dataset=dataset,
        outcome=outcome(report),
        reason=_reason(report),
        comparisons=[
            ComparisonRecord(**{key: made[key] for key in fields}) for made in properties.get(COMPARISONS_PROPERTY, [])
        ],
    )


def outcome(report: pytest.TestReport) -> Outcome:
    """Return what became of a claim, by the report of one phase of its test."""
    if hasattr(report, "wasxfail"):
        # a pass of one that is strict is a failure
        return "expected failure" if report.skipped else "passed"
    if report.failed and "[XPASS(strict)]" in str(report.longrepr):
        return "unexpected pass"
    if report.failed:
        undecided = str(report.longrepr).startswith("UndecidedError")
        return "failed" if report.when == "call" and not undecided else "error"
    return "skipped" if report.skipped else "passed"


def _reason(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        return str(getattr(crash, "message", report.longrepr))
    return ""


def _red_line(verdict: Verdict) -> str:
    why = verdict.why().replace("\n", "; ")
    return f"{verdict.outcome.upper()} {verdict.test} [{verdict.about}]: {why}"

"""Keeps what each claim's test reports in the ledger, and replays there what a run that was killed had finished."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scfm_eval.identity import files_with_claims, identity
from scfm_eval.ledger import Kept, Ledger, require_same_run
from scfm_eval.reporting import CLAIM_PROPERTY, RESULT_PROPERTY, RESUMED, outcome
from scfm_eval.selection import RUN, usage_errors

_PHASES = ("setup", "call", "teardown")
# what xdist hangs on to a report of this run
_OF_THIS_RUN = ("node", "item_index", "worker_id", "testrun_uid")


class Resuming:
    """Appends finished tests to the ledger on the controller, and replays earlier ones wherever tests run.

    Parameters
    ----------
    config
        The configuration of pytest.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.ledger = Ledger(Path(config.getoption("--report")))
        self._is_begun = False
        self._is_kept = False
        self._has_warned = False
        self._finished: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, list[dict[str, Any]]] = {}

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Begin, or on a worker only read what has been finished."""
        if not hasattr(self.config, "workerinput"):
            self._begin([item.nodeid for item in session.items])
        elif self.config.getoption("--resume"):
            # where it is of another run, or cannot be read, the controller refuses before any test begins
            self._finished = _finished(self.ledger.read())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Begin when a worker says what is selected: the controller collects nothing."""
        self._begin(ids)

    def _begin(self, ids: Sequence[str]) -> None:
        files = files_with_claims(ids, root=self.config.rootpath)
        if self._is_begun or self.config.getoption("collectonly") or not files:
            return
        self._is_begun = True
        with usage_errors():
            self.ledger.lock()
            run = identity(self.config.stash[RUN], ids, files=files)
            earlier = self._earlier(run) if self.config.getoption("--resume") else Kept()
        if earlier.run is None:
            # a ledger of another run that could not be replaced must not take what this one finishes
            self._is_kept = self._writes(self.ledger.begin, run)
        else:
            self._is_kept = True
            self._resume(earlier, n_tests=len(ids))

    def _resume(self, earlier: Kept, *, n_tests: int) -> None:
        self._finished = _finished(earlier)
        self.config.stash[RESUMED] = earlier.resumed + 1
        self._writes(self.ledger.append, {"resumed": earlier.resumed + 1})
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            told = f"{len(self._finished)} of {n_tests} tests are told as they went"
            reporter.write_line(f"resumed: {told}, from {self.ledger.path}")

    def _earlier(self, run: dict[str, Any]) -> Kept:
        found = self.ledger.read()
        if found.run is None:
            self._warn(f"--resume: {self.ledger.path} says of no run what it was; this one begins anew")
            return Kept()
        require_same_run(run, found.run, ledger=self.ledger.path)
        if found.damaged:
            self._warn(f"--resume: {found.damaged} damaged line(s) in {self.ledger.path}: their tests run again")
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, object, object]:
        """Keep a report before others shorten it, and write the test down when it has been torn down."""
        if self._is_kept and report.when in _PHASES and report.nodeid not in self._finished:
            self._keep(report)
        return (yield)

    def _keep(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            self._pending[report.nodeid] = []
        made = self._pending.setdefault(report.nodeid, [])
        made.append(self._plain(report))
        if report.when != "teardown":
            return
        del self._pending[report.nodeid]
        if {name for name, _ in report.user_properties} & {CLAIM_PROPERTY, RESULT_PROPERTY}:
            is_error = any(one["outcome"] == "error" for one in made)
            reports = [one["report"] for one in made]
            _leave_results_to_the_last(reports)
            self._writes(self.ledger.append, {"test": report.nodeid, "error": is_error, "reports": reports})

    def _plain(self, report: pytest.TestReport) -> dict[str, Any]:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        plain = {name: value for name, value in data.items() if name not in _OF_THIS_RUN}
        return {"outcome": outcome(report), "report": plain}

    def _writes(self, write: Callable[[dict[str, Any]], None], record: dict[str, Any]) -> bool:
        """Write, or say once that it failed: a run never ends for want of its ledger."""
        try:
            write(record)
        except (OSError, TypeError, ValueError) as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"{self.ledger.path} cannot be written: {error}; what is not in it runs again on --resume")
            return False
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Report what the test reported when it ran, and run nothing."""
        recorded = self._finished.get(item.nodeid)
        if recorded is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = [self._rebuilt(data) for data in recorded["reports"]]
        session = item.session
        left = None if session.shouldfail or session.shouldstop else nextitem
        # the test before this one left set up what the two share, which is perhaps not what the next one shares
        down = pytest.CallInfo.from_call(
            partial(session._setupstate.teardown_exact, left), when="teardown", reraise=(KeyboardInterrupt,)
        )
        if down.excinfo is not None:
            reports[-1] = item.ihook.pytest_runtest_makereport(item=item, call=down)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _rebuilt(self, data: dict[str, Any]) -> pytest.TestReport:
        report: pytest.TestReport = self.config.hook.pytest_report_from_serializable(config=self.config, data=data)
        # JSON knows no tuples
        report.location = tuple(report.location)  # type: ignore[assignment]
        report.user_properties = [(name, value) for name, value in report.user_properties]
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)  # type: ignore[unreachable]
        return report

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        """Let other runs have the ledger."""
        self.ledger.unlock()

    def _warn(self, text: str) -> None:
        self.config.issue_config_time_warning(pytest.PytestWarning(text), stacklevel=2)


def _finished(kept: Kept) -> dict[str, dict[str, Any]]:
    """Return the tests that need not run again: errors, such as a full disk or a lost worker, are tried again."""
    return {} if kept.run is None else {test: record for test, record in kept.tests.items() if not record["error"]}


def _leave_results_to_the_last(reports: list[dict[str, Any]]) -> None:
    # each phase repeats the properties of those before it
    for report in reports[:-1]:
        report["user_properties"] = [pair for pair in report["user_properties"] if pair[0] != RESULT_PROPERTY]

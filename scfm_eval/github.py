"""What a GitHub Actions run shows of a report: annotations at red claims, and a summary page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from scfm_eval.escape import markdown, markdown_table
from scfm_eval.report import Outcome, Report, Verdict
from scfm_eval.verdicts import HOW, sentences

_MOST_BYTES = 1_000_000
_OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "error", "expected failure", "unexpected pass", "skipped")


def is_here() -> bool:
    """Whether this process runs in a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def workflow_commands(verdicts: Mapping[str, Verdict], lines: Mapping[str, int | None], *, root: Path) -> Iterator[str]:
    """Give one workflow command per red claim: an error, or a warning for an unexpected pass.

    GitHub shows the first ten of each kind in a step; the summary has all.

    Parameters
    ----------
    verdicts
        By id of the test.
    lines
        Line of each test's function, from 0; absent or ``None`` where it is not known.
    root
        Folder that the claims' files are relative to.
    """
    for test, verdict in verdicts.items():
        if not verdict.is_red:
            continue
        level = "warning" if verdict.outcome == "unexpected pass" else "error"
        line = lines.get(test)
        properties = {
            "file": _in_workspace(root / verdict.file),
            "line": "" if line is None else str(line + 1),
            "title": f"{verdict.outcome}: {verdict.test} [{verdict.about}]",
        }
        stated = ",".join(f"{key}={_property(value)}" for key, value in properties.items() if value)
        yield f"::{level} {stated}::{_message(verdict.why())}"


def add_summary(report: Report) -> None:
    """Append the summary of a report to the page of the step, where there is one."""
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page:
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(summary(report))


def summary(report: Report) -> str:
    """Return a page in Markdown: who is ahead of whom, outcomes by model, every red claim; under GitHub's 1 MiB."""
    parts = ["## scfm_eval", *([] if report.results or report.verdicts else ["No results and no claims."])]
    if report.interrupted:
        parts.append("**Interrupted: claims that were not reached are missing.**")
    said = sentences(report)
    parts += [markdown(sentence.text) for sentence in said]
    if any(sentence.facts for sentence in said):
        parts.append(HOW)
    tables = [
        markdown_table([[*map(markdown, row)] for row in rows])
        for rows in (_counts(report), _red(report))
        if len(rows) > 1
    ]
    page = "\n\n".join([*parts, *tables]) + "\n\n"
    if len(page.encode()) <= _MOST_BYTES:
        return page
    cut = page.encode()[:_MOST_BYTES].decode(errors="ignore").rpartition("\n")[0]
    return f"{cut}\n\nCut here: the report has the rest.\n\n"


def _counts(report: Report) -> list[list[str]]:
    models = sorted({verdict.model or "" for verdict in report.verdicts})
    made = [(verdict.model or "", verdict.outcome) for verdict in report.verdicts]
    rows = [[model or "–", *(str(made.count((model, outcome))) for outcome in _OUTCOMES)] for model in models]
    return [["model", *_OUTCOMES], *rows]


def _red(report: Report) -> list[list[str]]:
    red = [verdict for verdict in report.verdicts if verdict.is_red]
    rows = [
        [verdict.outcome, verdict.test, verdict.model or "", verdict.dataset or "", verdict.why()] for verdict in red
    ]
    return [["outcome", "claim", "model", "dataset", "why"], *rows]


def _in_workspace(file: Path) -> str:
    workspace = Path(os.environ.get("GITHUB_WORKSPACE", "")).resolve()
    return file.resolve().relative_to(workspace).as_posix() if file.resolve().is_relative_to(workspace) else str(file)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")

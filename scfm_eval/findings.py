"""What guards tell of a report: each fault once, with the results that it is about, and which guards were off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scfm_eval.guards import Finding
from scfm_eval.report import Report
from scfm_eval.wording import listed

_NAMED = 3


@dataclass(frozen=True)
class Told:
    """One fault, or one check that was switched off.

    Parameters
    ----------
    text
        What was found and what to do about it, as plain text: it is not escaped.
    where
        What it is about; empty where that is the whole run.
    """

    text: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.where})" if self.where else self.text


def told(report: Report) -> list[Told]:
    """Return the guards that were switched off, then each finding once."""
    off = [Told(f"the guard {name} was switched off: what it finds was let through") for name in report.guards_off]
    places: dict[Finding, dict[str, None]] = {}
    for finding, place in _findings(report):
        places.setdefault(finding, {}).update({place: None} if place else {})
    return off + [Told(str(finding), listed(where, most=_NAMED) if where else "") for finding, where in places.items()]


def _findings(report: Report) -> Iterator[tuple[Finding, str]]:
    yield from ((finding, "") for finding in report.findings)
    for result in report.results:
        yield from ((finding, result.dataset.name) for finding in result.dataset.findings)
    for result in report.results:
        where = f"{result.task} of {result.model.name} on {result.dataset.name}"
        yield from ((finding, where) for finding in result.findings)

"""The reference that later runs must not fall behind: what it keeps, what stands against what, how it is renewed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scfm_eval.differences import place, unpaired
from scfm_eval.errors import InvalidInputError
from scfm_eval.report import Report, Verdict
from scfm_eval.results import Result, ScoreRecord

_NOT_THERE = ScoreRecord(
    value=None, reason="the reference does not have this score; `scfm-eval reference update` renews it"
)


def counterpart(reference: Report, result: Result) -> Result | None:
    """Return the result of the same task, dataset and model, named as a reference; ``None`` where there is none.

    Scores that the reference lacks are undefined in it, with that reason.

    Raises
    ------
    InvalidInputError
        It was measured on other cells, with other seeds or parameters; the message says which.
    """
    alike = [old for old in reference.results if place(old) == place(result)]
    if not alike:
        return None
    found = next((old for old in alike if old.pairing == result.pairing), alike[0])
    if found.pairing != result.pairing:
        raise InvalidInputError(
            asked=f"{result.task} of {result.model.name} on {result.dataset.name}, compared with the reference",
            found=unpaired(found, result),
            remedy="run as the reference was run, or renew it with `scfm-eval reference update`",
        )
    named = found.model.model_copy(update={"name": f"reference {found.model.name}"})
    return found.model_copy(update={"model": named, "scores": dict.fromkeys(result.scores, _NOT_THERE) | found.scores})


def file_name(report: Report) -> str:
    """Return ``<machine kind>.json``, with characters that a file name cannot have as hyphens.

    Raises
    ------
    InvalidInputError
        The report does not say on which kind of machine it was made.
    """
    kind = report.environment.get("machine", {}).get("kind")
    if not kind:
        raise InvalidInputError(
            asked="the kind of machine of the report",
            found="none in its environment",
            remedy="make the report with this version of the suite",
        )
    return re.sub(r"[^\w.()@+-]+", "-", str(kind)) + ".json"


def check_fit(report: Report, *, even_red: str) -> None:
    """Refuse a report that no later run should be held against.

    Parameters
    ----------
    report
        The candidate.
    even_red
        Why red claims and errors are accepted; empty where they are not.

    Raises
    ------
    InvalidInputError
        It was interrupted, has no results, or has red claims or errors without ``even_red``.
    """
    red = [verdict for verdict in report.verdicts if verdict.is_red]
    named = ", ".join(f"{_claim(verdict)} ({verdict.outcome})" for verdict in red[:5])
    faults = {
        "it was interrupted": (report.interrupted, "let a run come to its end"),
        "it has no results": (not report.results, "give the report of a run that measured something"),
        f"{len(red)} red claims or errors: {named}{', …' if len(red) > 5 else ''}": (
            bool(red) and not even_red,
            "mend them, or accept them with --even-red REASON",
        ),
    }
    for found, (is_so, remedy) in faults.items():
        if is_so:
            raise InvalidInputError(asked="a report to become the reference", found=found, remedy=remedy)


def renewed(old: Report | None, new: Report, *, whole: bool = False, even_red: str = "") -> Report:
    """Return the reference after ``new``: scores that have resamples, and verdicts, without details.

    Parameters
    ----------
    old
        The reference so far.
    new
        A report; its results take the place of those of the same task, dataset and model.
    whole
        Whether what ``new`` does not have is dropped, and not kept.
    even_red
        Why red claims were accepted; kept in ``environment["reference"]``.
    """
    kept = [] if old is None or whole else list(left_over(old, new))
    verdicts = {_key(verdict): verdict for verdict in [*(old.verdicts if kept and old else []), *new.verdicts]}
    note = {"reference": {"even_red": even_red}} if even_red else {}
    results = sorted([*kept, *map(_slim, new.results)], key=lambda result: (*place(result), result.pairing))
    update = {
        "results": results,
        "verdicts": [verdicts[key] for key in sorted(verdicts)],
        "environment": new.environment | note,
        "paired_tests": [],
        "landscape": [],
    }
    return new.model_copy(update=update)


def left_over(old: Report, new: Report) -> Iterator[Result]:
    """Give the results of ``old`` of a task, dataset and model that ``new`` does not have."""
    measured = {place(result) for result in new.results}
    return (result for result in old.results if place(result) not in measured)


def _slim(result: Result) -> Result:
    resampled = {name: record for name, record in result.scores.items() if record.replicates is not None}
    undefined = {name: result.scores[name] for name in result.headline if name in result.scores}
    empty: dict[str, Any] = {"details": {}, "arrays": {}}
    return result.model_copy(update={"scores": undefined | resampled, **empty})


def _key(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.claim, verdict.model or "", verdict.dataset or ""


def _claim(verdict: Verdict) -> str:
    return f"{verdict.test} [{verdict.about}]"

"""What changed between reports: claims, scores with paired intervals, costs, models and environment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scfm_eval.differences import PLACE, SIDES, Row, cost_rows, flat, judged, other_clock, place, score_rows, unpaired
from scfm_eval.errors import InvalidInputError
from scfm_eval.report import RED, SCHEMA_VERSION, Report, read_report
from scfm_eval.results import Result

_CARD = ("revision", "weights_sha256", "adapter_sha256", "n_parameters", "loaded_share", "parameters")
_CLAIM = ["file", "claim", "model", "dataset"]
_MARGIN = ("outcome", "difference", "low", "high")
_COLUMNS = {
    "scores": [*PLACE, "score", "headline", *SIDES, "difference", "low", "high", "p", "q", "finding", "reason"],
    "claims": [*_CLAIM, *(f"{name}_{side}" for side in SIDES for name in _MARGIN), "finding", "reason", "caution"],
    "costs": [*PLACE, "phase", *SIDES, "ratio", "reason"],
    "models": ["model", "what", *SIDES],
    "environment": ["what", *SIDES],
    "only": ["kind", "name", "side"],
}
Pair = tuple[Result, Result]


@dataclass(frozen=True, eq=False)
class Changes:
    """What changed from the first report to each of the others.

    The column ``report`` of each table is the number of the other report, from 2.

    Parameters
    ----------
    scores
        One row per score of a task, dataset and model that both have: ``before``, ``after``, their paired
        ``difference`` with its 95 % interval ``low`` to ``high``, ``p`` (two-sided, Student's t, with the standard
        deviation of the paired resamples) and ``q`` (p corrected over all scores of the table that differ,
        Benjamini–Hochberg).
        ``finding`` is ``identical``, ``better``, ``worse``, ``noise`` (the interval holds zero, or q is above 0.05),
        ``no interval``, ``undefined``, ``now undefined``, ``now defined``, ``only before``, ``only after``, or
        ``not comparable``, where nothing is subtracted; ``reason`` says why.
    claims
        One row per claim, model and dataset: ``outcome_before`` and ``outcome_after``, the claim's difference with its
        interval in each, the reason of the later one, ``finding`` (``same``, ``newly red``, ``newly green``,
        ``changed``, ``only before``, ``only after``), and ``caution`` where the two are not of the same cells or folds.
    costs
        One row per phase of each result that both have: seconds ``before``, ``after`` and their ``ratio``; NaN where
        the two cannot be compared, and ``reason`` says why.
    models
        What is not the same about a model itself: ``what``, ``before``, ``after``.
    environment
        What is not the same about the run: ``what``, ``before``, ``after``.
    only
        Models, datasets, tasks and results that one of the two lacks: ``kind``, ``name``, and in which ``side`` it is,
        ``before`` or ``after``.
    notes
        What has to be known before any number is read.
    """

    scores: pd.DataFrame
    claims: pd.DataFrame
    costs: pd.DataFrame
    models: pd.DataFrame
    environment: pd.DataFrame
    only: pd.DataFrame
    notes: tuple[str, ...]


def read_comparable(paths: Sequence[str | Path]) -> list[Report]:
    """Read two or more reports of this version's form.

    Raises
    ------
    InvalidInputError
        There are fewer than two, one cannot be read, or one was written in another form: what an upgrade fills in was
        not measured, so it cannot have changed.
    """
    if len(paths) < 2:
        raise InvalidInputError(
            asked="what changed between reports",
            found=f"{len(paths)} report",
            remedy="give two or more; the first is what the others are compared with",
        )
    reports = [read_report(path) for path in paths]
    versions = [json.loads(Path(path).read_text(encoding="utf-8"))["schema_version"] for path in paths]
    others = [
        f"{path} has {version}" for path, version in zip(paths, versions, strict=True) if version != SCHEMA_VERSION
    ]
    if others:
        raise InvalidInputError(
            asked=f"reports of schema version {SCHEMA_VERSION}",
            found=", ".join(others),
            remedy="run the suite again with this version; arrays that are in the store are not computed again",
        )
    return reports


def changes(reports: Sequence[Report]) -> Changes:
    """Compare each report with the first one.

    Parameters
    ----------
    reports
        Two or more.
    """
    first, *others = reports
    parts = [_between(first, other) for other in others]
    tables = {
        name: pd.DataFrame(
            [{"report": number, **row} for number, part in enumerate(parts, start=2) for row in part[name]],
            columns=["report", *columns],
        )
        for name, columns in _COLUMNS.items()
    }
    tables["scores"] = judged(tables["scores"])
    # a parameter may be a list, which has no hash
    tables["models"] = tables["models"][~tables["models"].astype(str).duplicated()].reset_index(drop=True)
    return Changes(**tables, notes=tuple(_notes(reports)))


def only_model(report: Report, model: str, *, name: str) -> Report:
    """Return the report with the results and claims of one model only, under another name.

    Raises
    ------
    InvalidInputError
        The report has no result of this model.
    """
    results = [
        result.model_copy(update={"model": result.model.model_copy(update={"name": name})})
        for result in report.results
        if result.model.name == model
    ]
    if not results:
        there = ", ".join(sorted({result.model.name for result in report.results})) or "no results"
        raise InvalidInputError(
            asked=f"results of {model} in the report of {report.created}", found=there, remedy="name one that is there"
        )
    verdicts = [verdict.model_copy(update={"model": name}) for verdict in report.verdicts if verdict.model == model]
    return report.model_copy(update={"results": results, "verdicts": verdicts})


def _between(before: Report, after: Report) -> dict[str, list[Row]]:
    pairs, clock = _matched(before, after), other_clock(before, after)
    return {
        "scores": [row for pair in pairs for row in score_rows(*pair, clock=clock)],
        "claims": _claims(before, after, pairs),
        "costs": [row for pair in pairs for row in cost_rows(*pair, clock=clock)],
        "models": [row for pair in pairs for row in _models(*pair)],
        "environment": _differing(_surroundings(before), _surroundings(after)),
        "only": _only(before, after, pairs),
    }


def _matched(before: Report, after: Report) -> list[Pair]:
    """Return the results that are of one task and model: of the same cells, folds and seeds, else of one dataset."""
    same = {(result.task, result.pairing, result.model.name): result for result in before.results}
    alike = {(result.task, result.dataset.name, result.model.name): result for result in before.results}
    pairs = []
    for result in after.results:
        found = same.get((result.task, result.pairing, result.model.name)) or alike.get(place(result))
        if found is not None:
            pairs.append((found, result))
    return pairs


def _claims(before: Report, after: Report, pairs: Sequence[Pair]) -> list[Row]:
    apart: dict[Any, str] = {
        (new.model.name, new.dataset.name): unpaired(old, new) for old, new in pairs if unpaired(old, new)
    }
    frames = [
        report.claims_frame().assign(nth=lambda frame: frame.groupby(_CLAIM, dropna=False).cumcount())
        for report in (before, after)
    ]
    both = frames[0].merge(frames[1], how="outer", on=[*_CLAIM, "nth"], suffixes=("_before", "_after"), indicator=True)
    rows: list[Any] = both.to_dict("records")
    return [
        row
        | {
            "finding": _finding(row),
            "reason": row["reason_after"] if row["_merge"] != "left_only" else row["reason_before"],
            "caution": apart.get((row["model"], row["dataset"]), ""),
        }
        for row in rows
    ]


def _finding(row: Row) -> str:
    before, after = row["outcome_before"], row["outcome_after"]
    if row["_merge"] != "both":
        return "only before" if row["_merge"] == "left_only" else "only after"
    if before == after:
        return "same"
    if after in RED and before not in RED:
        return "newly red"
    return "newly green" if before in RED and after == "passed" else "changed"


def _models(before: Result, after: Result) -> Iterator[Row]:
    cards = [flat(side.model.model_dump(include={*_CARD})) for side in (before, after)]
    return ({"model": after.model.name, **row} for row in _differing(*cards))


def _surroundings(report: Report) -> Row:
    return flat(report.environment) | {"command": " ".join(report.command), "interrupted": report.interrupted}


def _differing(before: Row, after: Row) -> list[Row]:
    return [
        {"what": what, "before": before.get(what), "after": after.get(what)}
        for what in dict.fromkeys([*before, *after])
        if before.get(what) != after.get(what)
    ]


def _only(before: Report, after: Report, pairs: Sequence[Pair]) -> list[Row]:
    rows, known = [], []
    for kind, of in (("dataset", 1), ("task", 0), ("model", 2)):
        names = [{place(result)[of] for result in report.results} for report in (before, after)]
        for side, own, other in zip(SIDES, names, names[::-1], strict=True):
            rows += [{"kind": kind, "name": name, "side": side} for name in sorted(own - other)]
        known.append((of, names[0] & names[1]))
    matched = [{id(pair[side]) for pair in pairs} for side in (0, 1)]
    for side, report, taken in zip(SIDES, (before, after), matched, strict=True):
        rows += [
            {"kind": "result", "name": " · ".join(place(result)), "side": side}
            for result in report.results
            if id(result) not in taken and all(place(result)[of] in both for of, both in known)
        ]
    return rows


def _notes(reports: Sequence[Report]) -> Iterator[str]:
    for number, report in enumerate(reports, start=1):
        if report.interrupted:
            yield f"report {number} was stopped before its end"
        if not report.results:
            counts = Counter(verdict.outcome for verdict in report.verdicts)
            said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            yield f"report {number} has no results: {f'its claims are {said}' if said else 'it is empty'}"
    for number, other in enumerate(reports[1:], start=2):
        if reports[0].results and other.results and not _matched(reports[0], other):
            names = [
                ", ".join(sorted({result.dataset.name for result in report.results})) for report in (reports[0], other)
            ]
            yield (
                f"reports 1 and {number} have no task, dataset and model in common: 1 is of {names[0]}, {number} of "
                f"{names[1]}. Scores of other cells are not subtracted"
            )

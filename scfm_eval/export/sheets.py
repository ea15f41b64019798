"""A report as plain tables, before any form of writing: models in rows, headline scores in columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from scfm_eval.escape import one_line
from scfm_eval.report import Report, Verdict

_ROLES = {"model": 0, "baseline": 1, "control": 2}
_CLAIM = ("claim", "model", "dataset", "outcome", "difference", "why")


@dataclass(frozen=True)
class Entry:
    """One score of one model.

    Parameters
    ----------
    text
        ``value [low, high]``; ``"undefined"``; ``"–"`` where the model was not measured.
    kind
        Which of the three it is.
    best
        Whether no model or baseline is better; never so for a control, or for one alone.
    """

    text: str
    kind: Literal["value", "undefined", "absent"]
    best: bool = False


@dataclass(frozen=True)
class Sheet:
    """The headline scores of one task on one dataset.

    Parameters
    ----------
    task, dataset
        What was asked, and of which cells.
    scores
        Names of the scores; with ``" ↓"`` after one of which less is better.
    models
        Names of the models, with their role in brackets unless they are models.
    rows
        For each model one entry per score.
    notes
        Why entries are undefined.
    """

    task: str
    dataset: str
    scores: list[str]
    models: list[str]
    rows: list[list[Entry]]
    notes: list[str]


def sheets(report: Report) -> list[Sheet]:
    """Return one sheet for each task and dataset of a report, by name; none where nothing was measured."""
    frame = report.to_frame()
    headline = frame[frame["headline"]]
    return [_sheet(str(task), str(dataset), rows) for (task, dataset), rows in headline.groupby(["task", "dataset"])]


def claims(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and rows of the table of claims; a cell is ``"–"`` where there is nothing to say."""
    frame = report.claims_frame()
    rows = [
        tuple(
            str(value or "–") for value in (row.claim, row.model, row.dataset, row.outcome, _range(row), _why(verdict))
        )
        for row, verdict in zip(frame.itertuples(), report.verdicts, strict=True)
    ]
    return _CLAIM, rows


def _sheet(task: str, dataset: str, rows: pd.DataFrame) -> Sheet:
    scores = list(dict.fromkeys(rows["score"]))
    roles = rows.drop_duplicates("model").set_index("model")["role"]
    names = sorted(roles.index, key=lambda name: (_ROLES.get(roles[name], len(_ROLES)), name))
    # two runs of one model on one dataset differ in what was asked: the last one stands
    by_place = {(row.model, row.score): row for row in rows.itertuples()}
    best = {score: _best(rows[rows["score"] == score]) for score in scores}
    entries = [[_entry(by_place.get((name, score)), best=best[score]) for score in scores] for name in names]
    up = rows.drop_duplicates("score").set_index("score")["higher_is_better"]
    undefined = rows[rows["value"].isna()].groupby(["score", "reason"], sort=False)["model"]
    return Sheet(
        task=task,
        dataset=dataset,
        scores=[score if up[score] else f"{score} ↓" for score in scores],
        models=[name if roles[name] == "model" else f"{name} ({roles[name]})" for name in names],
        rows=entries,
        notes=[
            f"{score} of {', '.join(who)} is undefined: {why or 'no reason given'}" for (score, why), who in undefined
        ],
    )


def _best(rows: pd.DataFrame) -> float:
    """Return the best value among models and baselines; NaN where fewer than two have one."""
    values = rows.loc[rows["role"] != "control", "value"].dropna()
    if len(values) < 2:
        return math.nan
    return float(values.max() if rows["higher_is_better"].all() else values.min())


def _entry(row: object, *, best: float) -> Entry:
    if row is None:
        return Entry("–", "absent")
    value, low, high, role = (getattr(row, name) for name in ("value", "low", "high", "role"))
    if math.isnan(value):
        return Entry("undefined", "undefined")
    interval = "[no interval]" if math.isnan(low) or math.isnan(high) else f"[{low:.3f}, {high:.3f}]"
    return Entry(f"{value:.3f} {interval}", "value", best=value == best and role != "control")


def _range(row: object) -> str | None:
    difference, low, high = (getattr(row, name) for name in ("difference", "low", "high"))
    if math.isnan(difference):
        return None
    return f"{difference:+.3f}" + ("" if math.isnan(low) or math.isnan(high) else f" [{low:+.3f}, {high:+.3f}]")


def _why(verdict: Verdict) -> str:
    """Return, in one line, why a claim did not simply hold."""
    said = {"passed": "", "expected failure": verdict.reason}.get(verdict.outcome)
    return one_line(verdict.why() if said is None else said)

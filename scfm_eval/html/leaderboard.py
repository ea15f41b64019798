"""Models by tasks: rank, value and interval of the first headline score, chance and the oracle's value drawn in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from scfm_eval.html.tables import Column, Table, number
from scfm_eval.report import Report
from scfm_eval.results import Result, ScoreRecord, role_place
from scfm_eval.side_by_side import side_by_side
from scfm_eval.wording import NO_ANSWER, UNDEFINED, there

MOST_COLUMNS = 40
"""With more pairs of task and dataset than this, datasets go into rows."""

_LAST = 1_000_000
"""Sorts after every rank."""

_HEAD = Markup("{task} <small>{score}{on}</small>")
_CELL = Markup("{rank}{value}{spread}{bar}")
_RANK = Markup('<b title="rank among {n} models and baselines">{rank}</b> ')
_SPREAD = Markup(" <small>[{low}, {high}]</small>")
_BAR = Markup(
    '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img"><title>{said}</title>{drawn}</svg>'
)
_MARKS = {
    "value": Markup('<path class="value" d="M0 3H{0}"/>'),
    "interval": Markup('<path class="interval" d="M{0} 3H{1}"/>'),
    "chance": Markup('<path class="chance" d="M{0} 0V6"/>'),
    "oracle": Markup('<path class="oracle" d="M{0} 0V6"/>'),
}
_WITHOUT = Markup('<abbr title="{reason}">{said}</abbr>')

Field = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """The first headline score of one result.

    Parameters
    ----------
    model, role
        Whose it is.
    score
        Its name.
    record
        The score; ``None`` where the result lacks it.
    failure
        Why the model gave no answer; empty where it did.
    """

    model: str
    role: str
    score: str
    record: ScoreRecord | None
    failure: str = ""

    @property
    def value(self) -> float | None:
        """The value; ``None`` is undefined."""
        return self.record.value if self.record is not None and there(self.record.value) else None


def leaderboard(report: Report) -> Table:
    """Return the table: models in rows, tasks in columns, with as many columns per task as there are datasets."""
    fields = entries(report)
    wide = len(fields) <= MOST_COLUMNS
    heads = sorted({(task, dataset if wide else "") for task, dataset in fields})
    cells: dict[tuple[str, ...], list[dict[Field, Any]]] = defaultdict(list)
    for (task, dataset), found in fields.items():
        for entry, cell in zip(found, _cells(found), strict=True):
            _put(cells[entry.model, entry.role, *([] if wide else [dataset])], cell, (task, dataset if wide else ""))
    rows = sorted(cells, key=lambda row: (role_place(row[1]), row))
    first = [Column("model", "choice"), Column("role", "choice"), *([] if wide else [Column("dataset", "choice")])]
    return Table(
        "leaderboard",
        "models and baselines by task: rank, value and interval of the first headline score",
        [*first, *(Column(_head(fields, head), "number") for head in heads)],
        [[*row, *(found.get(head, (Markup("–"), _LAST)) for head in heads)] for row in rows for found in cells[row]],
    )


def _put(rows: list[dict[Field, Any]], cell: Any, head: Field) -> None:
    """Put a cell into the first of a model's rows where its place is free; two runs of it may differ in parameters."""
    row = next((row for row in rows if head not in row), None)
    if row is None:
        rows.append(row := {})
    row[head] = cell


def entries(report: Report) -> dict[Field, list[Entry]]:
    """Return the first headline scores by task and dataset, those of other cells, folds and seeds apart."""
    together = side_by_side(result for result in report.results if result.first_headline)
    return {field: [_entry(result) for result in same] for field, same in together.items()}


def ranks(found: list[Entry]) -> list[int | None]:
    """Return the rank of each entry among models and baselines, 1 is best; ties share the better one.

    ``None`` for controls and where there is no value.
    """
    taking_part = [_loss(entry) for entry in found if entry.role != "control" and entry.value is not None]
    return [
        None if entry.role == "control" or entry.value is None else 1 + sum(loss < _loss(entry) for loss in taking_part)
        for entry in found
    ]


def _entry(result: Result) -> Entry:
    score = result.first_headline
    return Entry(result.model.name, result.model.role, score, result.scores.get(score), result.failure)


def _loss(entry: Entry) -> float:
    assert entry.record is not None
    assert entry.record.value is not None
    return -entry.record.value if entry.record.higher_is_better else entry.record.value


def _head(fields: dict[Field, list[Entry]], head: Field) -> Markup:
    task, dataset = head
    score = next(found[0].score for (other, _), found in fields.items() if other == task)
    return _HEAD.format(task=task.replace("_", " "), score=score, on=f" on {dataset}" if dataset else "")


def _cells(found: list[Entry]) -> list[tuple[Markup, float]]:
    scale = Scale.over(found)
    ranked = ranks(found)
    n_ranked = sum(rank is not None for rank in ranked)
    losses = sorted(_loss(entry) for entry in found if entry.value is not None)
    return [
        (_cell(entry, rank=rank, n_ranked=n_ranked, scale=scale), _order(entry, losses))
        for entry, rank in zip(found, ranked, strict=True)
    ]


def _order(entry: Entry, losses: list[float]) -> float:
    return _LAST if entry.value is None else 1 + losses.index(_loss(entry))


def _cell(entry: Entry, *, rank: int | None, n_ranked: int, scale: Scale) -> Markup:
    record = entry.record
    if entry.failure:
        return _WITHOUT.format(said=NO_ANSWER, reason=entry.failure)
    if record is None or entry.value is None:
        return _WITHOUT.format(said=UNDEFINED, reason=record.reason if record else f"the result has no {entry.score}")
    known = there(record.low) and there(record.high)
    return _CELL.format(
        rank="" if rank is None else _RANK.format(rank=rank, n=n_ranked),
        value=number(record.value),
        spread=_SPREAD.format(low=number(record.low), high=number(record.high)) if known else "",
        bar=_BAR.format(said=scale.said(record), drawn=scale.drawn(record)),
    )


@dataclass(frozen=True)
class Scale:
    """From the worst to the best value of one score on one dataset; better is always to the right.

    Parameters
    ----------
    worst, best
        The ends: those of the score where they are bounded, else the most extreme value there is.
    oracle
        What it reaches; ``None`` where there is none.
    """

    worst: float
    best: float
    oracle: float | None

    @classmethod
    def over(cls, found: list[Entry]) -> Scale:
        """Return the scale on which all these entries fit."""
        records = [entry.record for entry in found if entry.record is not None and not entry.failure]
        numbers = (v for r in records for v in (r.value, r.low, r.high, r.chance))
        seen = [value for value in numbers if there(value)] or [0.0]
        up = all(record.higher_is_better for record in records)
        worst = next((r.worst for r in records if r.worst is not None), min(seen) if up else max(seen))
        best = next((r.best for r in records if r.best is not None), max(seen) if up else min(seen))
        oracle = [entry.value for entry in found if entry.model == "oracle" and entry.role == "control"]
        return cls(worst, best, oracle[0] if oracle else None)

    def drawn(self, record: ScoreRecord) -> Markup:
        """Return value, interval, chance and the oracle's value as paths, from 0 to 100."""
        ends = {
            "value": [record.value],
            "interval": sorted([record.low, record.high], key=self.place),
            "chance": [record.chance],
            "oracle": [self.oracle],
        }
        return Markup("").join(
            _MARKS[name].format(*map(self.place, values)) for name, values in ends.items() if all(map(there, values))
        )

    def place(self, value: float | None) -> int:
        """Return where a value lies, 0 is worst and 100 best."""
        if not there(value) or self.best == self.worst:
            return 0
        return round(100 * min(1.0, max(0.0, (value - self.worst) / (self.best - self.worst))))

    def said(self, record: ScoreRecord) -> str:
        """Return in words what is drawn in beside the value."""
        chance = f"chance {number(record.chance)}" if there(record.chance) else "no chance level"
        oracle = f"oracle {number(self.oracle)}" if self.oracle is not None else "no oracle"
        return f"{chance}, {oracle}, from {number(self.worst)} (worst) to {number(self.best)} (best)"

"""A report as plain tables, before any form of writing: models in rows, headline scores in columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scfm_eval.about_models import failures
from scfm_eval.escape import one_line
from scfm_eval.report import Report, Verdict
from scfm_eval.results import Result, by_role
from scfm_eval.side_by_side import best_value, goes_up, is_best, side_by_side
from scfm_eval.wording import NO_ANSWER, difference, there, with_interval

_CLAIM = ("claim", "model", "dataset", "outcome", "difference", "why")


@dataclass(frozen=True)
class Entry:
    """One score of one model.

    Parameters
    ----------
    text
        ``value [low, high]``; ``"undefined"``; ``"no answer"`` of a model that failed; ``"–"`` where the model was not
        measured.
    kind
        Which of these it is; one that failed is undefined.
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
        What was asked, and of which cells; with a number where a report measured them in several ways.
    scores
        Names of the scores; with ``" ↓"`` after one of which less is better.
    models
        Names of the models, with their role in brackets unless they are models.
    rows
        For each model one entry per score.
    notes
        Why models gave no answer, and why entries are undefined.
    """

    task: str
    dataset: str
    scores: list[str]
    models: list[str]
    rows: list[list[Entry]]
    notes: list[str]


def sheets(report: Report) -> list[Sheet]:
    """Return one sheet for each task and dataset of a report, by name; none where nothing was measured.

    Results that were not measured on the same cells, folds and seeds stand on sheets of their own.
    """
    together = side_by_side(result for result in report.results if result.headline)
    return [_sheet(task, dataset, together[task, dataset]) for task, dataset in sorted(together)]


def claims(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and rows of the table of claims; a cell is ``"–"`` where there is nothing to say."""
    return _CLAIM, [_claim(verdict) for verdict in report.verdicts]


def _sheet(task: str, dataset: str, results: list[Result]) -> Sheet:
    scores = list(dict.fromkeys(name for result in results for name in result.headline))
    best = {score: best_value(results, score) for score in scores}
    shown = sorted(results, key=by_role)
    return Sheet(
        task=task,
        dataset=dataset,
        scores=[score if goes_up(results, score) else f"{score} ↓" for score in scores],
        models=[_named(result) for result in shown],
        rows=[[_entry(result, score, best=best[score]) for score in scores] for result in shown],
        notes=list(_undefined(results, scores)),
    )


def _named(result: Result) -> str:
    return result.model.name if result.model.role == "model" else f"{result.model.name} ({result.model.role})"


def _entry(result: Result, score: str, *, best: float | None) -> Entry:
    record = result.scores.get(score)
    if result.failure:
        return Entry(NO_ANSWER, "undefined")
    if record is None:
        return Entry("–", "absent")
    text = with_interval(record.value, low=record.low, high=record.high)
    if not there(record.value):
        return Entry(text, "undefined")
    return Entry(text, "value", best=is_best(result, score, best=best))


def _undefined(results: list[Result], scores: list[str]) -> Iterator[str]:
    yield from (f"{failure.text} ({failure.where}): neither a win nor a loss" for failure in failures(results))
    who: dict[tuple[str, str], list[str]] = defaultdict(list)
    for score in scores:
        for result in results:
            if result.failure:
                continue
            record = result.scores.get(score)
            if record is not None and not there(record.value):
                who[score, record.reason].append(result.model.name)
    for (score, why), names in who.items():
        yield f"{score} of {', '.join(names)} is undefined: {why or 'no reason given'}"


def _claim(verdict: Verdict) -> tuple[str, ...]:
    made = next((made for made in verdict.comparisons[:1] if there(made.difference)), None)
    shown = difference(made.difference, low=made.low, high=made.high) if made else None
    cells = (verdict.test, verdict.model, verdict.dataset, verdict.outcome, shown, _why(verdict))
    return tuple(cell or "–" for cell in cells)


def _why(verdict: Verdict) -> str:
    """Return, in one line, why a claim did not simply hold."""
    said = {"passed": "", "expected failure": verdict.reason}.get(verdict.outcome)
    return one_line(verdict.why() if said is None else said)

"""Leaderboard of a task: each model's score with its interval, beside chance and the best possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from scfm_eval.charts.choices import Choice, choosing, first_drawn, stacked
from scfm_eval.charts.drawn_results import Drawn, drawn_results, in_order, known, without
from scfm_eval.charts.figure import GROUPS, Figure, role_channels, sentences, slug, words
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.side_by_side import goes_up
from scfm_eval.wording import NO_ANSWER, counted, number, there

_MOST_MODELS, _MOST_DATASETS, _MOST_ROWS, _MOST_SCORES = 25, 40, 1500, 8
_ROW = 26
_REASON = 120
_SAID = 3
_CHANCE, _BEST = "chance", "best possible"
_BOUNDS = {_CHANCE: (GROUPS[3], "stroke"), _BEST: (GROUPS[2], "stroke")}


def leaderboard(report: Report, task: str) -> Iterator[Figure]:
    """Give the leaderboard of a task; dropdowns choose among datasets and among headline scores.

    Scores that no model has a value of are left out, and so are further scores where datasets and models are many.
    """
    groups = drawn_results(report, task, most_datasets=_MOST_DATASETS, most_models=_MOST_MODELS)
    scores = _scores(groups)
    if not scores:
        return
    named = {score: f"{score}, {'higher' if _up(groups, score) else 'lower'} is better" for score in scores}
    rows = [
        _row(result, rank, score, named[score])
        for score in scores
        for one in groups
        for rank, result in _ranked(one, score)
    ]
    datasets = [one.dataset for one in groups]
    where = datasets[0] if len(datasets) == 1 else counted(len(datasets), "dataset")
    choices = Choice("score", list(named.values())), Choice("dataset", datasets)
    yield Figure(
        name=slug(task, "leaderboard"),
        task=task,
        title=f"{words(task)} on {where}: scores by model",
        alt=sentences(
            *(one for group in groups[:_SAID] for one in _said(group, scores[0])),
            groups[0].left_out(),
        ),
        chart=_chart(rows, *choices),
        choices=choosing(*choices),
        drawn=first_drawn(*choices),
    )


def _scores(groups: Sequence[Drawn]) -> list[str]:
    results = [result for one in groups for result in one.results]
    names = dict.fromkeys(name for result in results for name in result.headline)
    defined = [name for name in names if any(known(result, name) is not None for result in results)]
    return defined[: max(1, min(_MOST_SCORES, _MOST_ROWS // max(len(results), 1)))]


def _up(groups: Sequence[Drawn], score: str) -> bool:
    return goes_up((result for one in groups for result in one.results), score)


def _ranked(group: Drawn, score: str) -> Iterator[tuple[int, Result]]:
    return enumerate(in_order([result for result in group.results if score in result.scores], score), start=1)


def _row(result: Result, rank: int, score: str, label: str) -> dict[str, Any]:
    record = result.scores[score]
    reason = {} if record.value is not None else {"reason": record.reason[:_REASON]}
    return {
        "score": label,
        "dataset": result.dataset.name,
        "rank": rank,
        "model": result.model.name,
        "role": result.model.role,
        "value": record.value,
        "low": record.low,
        "high": record.high,
        "chance": record.chance,
        "best": _best(result, score),
        "said": NO_ANSWER if result.failure else number(record.value),
    } | reason


def _best(result: Result, score: str) -> float | None:
    """Return what noise leaves possible, where the task measured that on halves of the cells, else the score's end."""
    measured = known(result, f"ceiling_{score}")
    return result.scores[score].best if measured is None else measured


def _said(group: Drawn, score: str) -> list[str]:
    ordered = [result for _, result in _ranked(group, score)]
    valued = [result for result in ordered if known(result, score) is not None]
    missing = without([result.model.name for result in ordered if known(result, score) is None], "a value")
    if not valued:
        return [f"On {group.dataset}, no model has a value of {score}"]
    compared = [result for result in valued if result.model.role != "control"] or valued
    ends = f"{_valued(compared[0], score)} is best of models and baselines"
    last = f", {_valued(valued[-1], score)} is last of all" if valued[-1] is not compared[0] else ""
    bounds = {
        "Chance": [result.scores[score].chance for result in valued],
        "The best possible": [_best(result, score) for result in valued],
    }
    return [
        f"On {group.dataset}, {score} of {counted(len(valued), 'model')}: {ends}{last}",
        *(_span(name, bound) for name, bound in bounds.items()),
        missing,
    ]


def _span(name: str, bounds: Sequence[float | None]) -> str:
    """Return what a bound is, from the lowest to the highest where it is another for each model."""
    found = [bound for bound in bounds if there(bound)]
    if not found:
        return ""
    low, high = number(min(found)), number(max(found))
    return f"{name} is {low}" if low == high else f"{name} is {low} to {high}, by model"


def _valued(result: Result, score: str) -> str:
    record = result.scores[score]
    interval = "" if record.low is None else f" [{number(record.low)}, {number(record.high)}]"
    return f"{result.model.name} with {number(record.value)}{interval}"


def _chart(rows: Sequence[dict[str, Any]], *choices: Choice) -> Any:
    channels = role_channels(_BOUNDS)
    base = alt.Chart().encode(y=alt.Y("model:N", sort=alt.EncodingSortField("rank", op="min"), title=None))
    facts = ["model:N", "role:N", "rank:Q", "value:Q", "low:Q", "high:Q", "chance:Q", "best:Q", "reason:N"]
    layers = [
        base.mark_tick(thickness=2, size=18).encode(x=_x(field), color=alt.ColorDatum(kind))
        for field, kind in (("best", _BEST), ("chance", _CHANCE))
    ]
    layers += [
        base.mark_rule(strokeWidth=2).encode(x=_x("low"), x2="high", color=channels["color"]),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=_x("value"), tooltip=facts, **channels),
        base.mark_text(align="left", dx=6)
        .transform_calculate(end="isValid(datum.high) ? datum.high : datum.value")
        .transform_filter("isValid(datum.value)")
        .encode(x=_x("end"), text="said:N"),
        base.mark_text(align="left", fontStyle="italic")
        .transform_filter("!isValid(datum.value)")
        .encode(x=alt.value(4), text="said:N", tooltip=facts),
    ]
    return stacked(layers, rows, *choices, height=alt.Step(_ROW))


def _x(field: str) -> Any:
    return alt.X(f"{field}:Q", title=None, scale=alt.Scale(zero=False, nice=False, padding=12))

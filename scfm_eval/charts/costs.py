"""What results cost in seconds, and which models pay off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from scfm_eval.charts.choices import Choice, choosing, first_drawn, panelled, panels_drawn, stacked
from scfm_eval.charts.drawn_results import Drawn, drawn_results, known, without
from scfm_eval.charts.figure import GROUPS, NAMED, Figure, role_channels, sentences, slug, words
from scfm_eval.charts.labels import named, placed
from scfm_eval.report import Report
from scfm_eval.results import Result, role_place
from scfm_eval.wording import listed, number, there

_PHASES = ("load", "tokenise", "fit", "forward", "score")
_MAKING = ("fit", "tokenise", "forward")
_WITH_SPEED = ("annotation", "annotation_finetuned", "batch_integration", "perturbation")
_ROW, _LOW, _HEIGHT = 22, 15, 320
_NARROW, _NARROWEST, _PANELS = 130, 220, 12


def speed_and_quality(report: Report, task: str) -> Iterator[Figure]:
    """Give seconds against the headline score of each model, and the models that none beats in both, of some tasks."""
    if task not in _WITH_SPEED:
        return
    groups = drawn_results(report, task)
    score = next((result.first_headline for group in groups for result in group.results), "")
    rows = [row for group in groups for row in _points(group, score)]
    if not rows:
        return
    datasets = [group.dataset for group in groups if any(row["dataset"] == group.dataset for row in rows)]
    chosen = [group for group in groups if group.dataset in datasets]
    up = all(
        result.scores[score].higher_is_better for group in chosen for result in group.results if score in result.scores
    )
    choice = Choice("dataset", datasets)
    yield Figure(
        name=slug(task, "speed"),
        task=task,
        title=f"{words(task)}: {score} against seconds",
        alt=sentences(
            f"Seconds to fit what learns here (fine-tuning included), tokenise and run each model, against {score}, "
            f"{'higher' if up else 'lower'} is better; reading weights and fitting the probes that score an embedding "
            "are in no model's seconds",
            *(one for group in chosen for one in _front_said(group, rows, score)),
            _unnamed(rows),
            groups[0].left_out(),
        ),
        chart=_pareto(rows, score, choice),
        choices=choosing(choice),
        drawn=first_drawn(choice),
    )


def seconds(report: Report) -> Iterator[Figure]:
    """Give bars of seconds by model, split by phase; a dropdown chooses the task and dataset."""
    tasks = sorted({result.task for result in report.results})
    groups = {name: group for task in tasks for name, group in _benchmarks(report, task)}
    rows = [row for name, group in groups.items() for result in group.results for row in _phases(result, name)]
    if not rows:
        return
    choice = Choice("benchmark", list(dict.fromkeys(row["benchmark"] for row in rows)), panels=_PANELS)
    bars = _bars([phase for phase in _PHASES if any(row["phase"] == phase for row in rows)])
    yield Figure(
        name="seconds",
        task="",
        title="Seconds by model and phase",
        alt=sentences(
            "Load reads weights, fit learns here from the dataset (fine-tuning included), tokenise and forward make "
            "the answers, score measures them, probes included; arrays that several tasks use are made once, and "
            "count in each of them",
            *_longest(rows),
            *_untimed(groups, rows),
            next(iter(groups.values())).left_out() if len(groups) == 1 else "",
        ),
        chart=stacked([bars], rows, choice, height=alt.Step(_ROW)),
        still=panelled([bars], rows, choice, columns=3, apart=True, width=_NARROW, height=alt.Step(_LOW)),
        choices=choosing(choice),
        drawn=panels_drawn(choice),
    )


def _benchmarks(report: Report, task: str) -> list[tuple[str, Drawn]]:
    """Return the results of a task by dataset, which is named where there are several."""
    groups = drawn_results(report, task)
    return [(words(task) + (f" on {group.dataset}" if len(groups) > 1 else ""), group) for group in groups]


def _phases(result: Result, benchmark: str) -> list[dict[str, Any]]:
    named = {"benchmark": benchmark, "model": result.model.name, "from_store": result.from_store}
    return [
        named | {"phase": phase, "order": order, "seconds": amount}
        for order, phase in enumerate(_PHASES)
        if there(amount := result.seconds.get(phase))
    ]


def _longest(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    total: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["model"], row["benchmark"]
        total[key] = total.get(key, 0.0) + row["seconds"]
    longest = sorted(total, key=lambda key: -total[key])[:NAMED]
    said = [f"{model} in {benchmark}, {number(total[model, benchmark])} s" for model, benchmark in longest]
    yield f"Most takes {'; '.join(said)}"


def _untimed(groups: Mapping[str, Drawn], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    timed = {(row["benchmark"], row["model"]) for row in rows}
    for name, group in groups.items():
        missing = without([model for model in group.models if (name, model) not in timed], "a measurement")
        if missing:
            yield f"{name}: {missing}"


def _bars(phases: Sequence[str]) -> Any:
    colours = alt.Scale(domain=list(phases), range=[GROUPS[_PHASES.index(phase)] for phase in phases])
    return (
        alt.Chart()
        .mark_bar()
        .encode(
            x=alt.X("seconds:Q", title="seconds", stack="zero", axis=alt.Axis(tickCount=4)),
            y=alt.Y("model:N", sort=alt.EncodingSortField("seconds", op="sum", order="descending"), title=None),
            color=alt.Color("phase:N", title=None, scale=colours),
            order="order:Q",
            tooltip=["model:N", "phase:N", "seconds:Q", "from_store:N"],
        )
    )


def _points(group: Drawn, score: str) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = [
        {
            "dataset": group.dataset,
            "model": result.model.name,
            "role": result.model.role,
            "seconds": seconds,
            "value": value,
            "goodness": value if result.scores[score].higher_is_better else -value,
        }
        for result in group.results
        if (value := known(result, score)) is not None and (seconds := _making(result)) is not None
    ]
    rivals = [point for point in points if point["role"] != "control"]
    told = [point | {"best": point in rivals and on_front(point, rivals)} for point in points]
    first = sorted(told, key=lambda point: (role_place(point["role"]), not point["best"]))
    places = placed(_in_pixels(first), [point["model"] for point in first])
    return [point | {"named": place} for point, place in zip(first, places, strict=True)]


def _in_pixels(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return where points are on a narrow screen."""
    sides = ([math.log10(point["seconds"]) for point in points], [-point["value"] for point in points])
    x, y = (
        [(value - min(side)) / ((max(side) - min(side)) or 1.0) * length for value in side]
        for side, length in zip(sides, (_NARROWEST, _HEIGHT - 2 * _LOW), strict=True)
    )
    return list(zip(x, y, strict=True))


def _making(result: Result) -> float | None:
    """Return the seconds of making the model's arrays; ``None`` where they were not made here, or not timed."""
    if result.model.revision and result.model.revision == result.model.weights_sha256:
        return None  # the file of a stored embedding is its own revision: reading it is not making it
    found = [seconds for part in _MAKING if there(seconds := result.seconds.get(part))]
    return sum(found) if sum(found) > 0 else None


def on_front(point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether no other point is as fast and as good, and better in one of both."""
    return not any(
        other["seconds"] <= point["seconds"]
        and other["goodness"] >= point["goodness"]
        and (other["seconds"], other["goodness"]) != (point["seconds"], point["goodness"])
        for other in points
    )


def _front_said(group: Drawn, rows: Sequence[dict[str, Any]], score: str) -> list[str]:
    points = [row for row in rows if row["dataset"] == group.dataset]
    front = sorted((row for row in points if row["best"]), key=lambda row: row["seconds"])
    named = [f"{row['model']} ({number(row['seconds'])} s, {number(row['value'])})" for row in front]
    missing = without(
        [model for model in group.models if model not in {row["model"] for row in points}],
        f"seconds of its making or {score}",
    )
    return [f"On {group.dataset}, no model or baseline beats {', '.join(named)} in both", missing]


def _unnamed(rows: Sequence[Mapping[str, Any]]) -> str:
    covered = list(dict.fromkeys(row["model"] for row in rows if not row["named"]))
    return f"Drawn without a name, which would cover others: {listed(covered, most=NAMED)}" if covered else ""


def _pareto(rows: Sequence[dict[str, Any]], score: str, choice: Choice) -> Any:
    base = alt.Chart().encode(
        x=alt.X("seconds:Q", title="seconds", scale=alt.Scale(type="log", nice=False, padding=30)),
        y=alt.Y("value:Q", title=score, scale=alt.Scale(zero=False, nice=False, padding=20)),
    )
    front = base.transform_filter("datum.best").mark_line(strokeDash=[4, 4], color=GROUPS[2]).encode(order="seconds:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        **role_channels(),
        tooltip=["model:N", "role:N", "seconds:Q", "value:Q", alt.Tooltip("best:N", title="on the line")],
    )
    return stacked([front, points, *named(base)], rows, choice, height=_HEIGHT)

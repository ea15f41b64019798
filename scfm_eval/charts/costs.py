"""What results cost, in seconds and memory, and which models pay off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import altair as alt

from scfm_eval.charts.drawn_results import Drawn, drawn_results, headline, known, without
from scfm_eval.charts.figure import (
    GROUPS,
    Choice,
    Figure,
    group_scale,
    role_channels,
    sentences,
    shown,
    slug,
    stacked,
    there,
    words,
)
from scfm_eval.report import Report
from scfm_eval.results import Result

_PHASES = ("load", "tokenise", "fit", "forward", "score")
_MAKING = ("fit", "tokenise", "forward")
_ROW, _HEIGHT = 22, 320
_MEBIBYTE = 2**20


def time(report: Report, task: str) -> Iterator[Figure]:
    """Give bars of seconds by model, split by phase; a dropdown chooses the dataset."""
    yield from _bars(report, task, of="seconds", parts=_PHASES, unit=1.0, what="seconds")


def memory(report: Report, task: str) -> Iterator[Figure]:
    """Give bars of peak memory by model, of host and device; a dropdown chooses the dataset."""
    yield from _bars(report, task, of="peak_memory_bytes", parts=("host", "device"), unit=_MEBIBYTE, what="peak MiB")


def speed_and_quality(report: Report, task: str) -> Iterator[Figure]:
    """Give seconds against the headline score of each model, and the models that none beats in both."""
    groups = drawn_results(report, task)
    score = headline([result for group in groups for result in group.results])
    rows = [row for group in groups for row in _points(group, score)]
    if task == "throughput" or not rows:
        return
    datasets = [group.dataset for group in groups if any(row["dataset"] == group.dataset for row in rows)]
    chosen = [group for group in groups if group.dataset in datasets]
    up = all(
        result.scores[score].higher_is_better for group in chosen for result in group.results if score in result.scores
    )
    yield Figure(
        name=slug(task, "speed"),
        task=task,
        title=f"{words(task)}: {score} against seconds",
        alt=sentences(
            f"Seconds to fit, tokenise and run each model against {score}, {'higher' if up else 'lower'} is better",
            *(one for group in chosen for one in _front_said(group, rows, score)),
            groups[0].left_out(),
        ),
        chart=_pareto(rows, score, Choice("dataset", datasets)),
    )


def _bars(
    report: Report,
    task: str,
    *,
    of: Literal["seconds", "peak_memory_bytes"],
    parts: Sequence[str],
    unit: float,
    what: str,
) -> Iterator[Figure]:
    groups = drawn_results(report, task)
    rows = [
        row for group in groups for result in group.results for row in _amounts(result, of=of, parts=parts, unit=unit)
    ]
    datasets = [group.dataset for group in groups if any(row["dataset"] == group.dataset for row in rows)]
    if not rows:
        return
    yield Figure(
        name=slug(task, what),
        task=task,
        title=f"{words(task)}: {what} by model",
        alt=sentences(*(one for group in groups for one in _costliest(group, rows, what)), groups[0].left_out()),
        chart=_stack(rows, parts, what, Choice("dataset", datasets)),
    )


def _amounts(
    result: Result, *, of: Literal["seconds", "peak_memory_bytes"], parts: Sequence[str], unit: float
) -> list[dict[str, Any]]:
    found: Mapping[str, float | None] = getattr(result, of)
    named = {"dataset": result.dataset.name, "model": result.model.name, "from_store": result.from_store}
    return [
        named | {"part": part, "order": order, "amount": amount / unit}
        for order, part in enumerate(parts)
        if there(amount := found.get(part))
    ]


def _costliest(group: Drawn, rows: Sequence[dict[str, Any]], what: str) -> list[str]:
    total: dict[str, float] = {}
    for row in rows:
        if row["dataset"] == group.dataset:
            total[row["model"]] = total.get(row["model"], 0.0) + row["amount"]
    if not total:
        return [f"Nothing was measured on {group.dataset}"]
    most, least = (pick(total, key=total.__getitem__) for pick in (max, min))
    said = (
        f"On {group.dataset}, most {what} for {most}, {shown(total[most])}, fewest for {least}, {shown(total[least])}"
    )
    return [said, without([model for model in group.models if model not in total], "a measurement")]


def _stack(rows: Sequence[dict[str, Any]], parts: Sequence[str], what: str, choice: Choice) -> Any:
    bars = (
        alt.Chart()
        .mark_bar()
        .encode(
            x=alt.X("amount:Q", title=what, stack="zero"),
            y=alt.Y("model:N", sort=alt.EncodingSortField("amount", op="sum", order="descending"), title=None),
            color=alt.Color("part:N", title=None, scale=group_scale(parts)),
            order="order:Q",
            tooltip=["model:N", "part:N", alt.Tooltip("amount:Q", title=what), "from_store:N"],
        )
    )
    return stacked([bars], rows, choice, height=alt.Step(_ROW))


def _points(group: Drawn, score: str) -> list[dict[str, Any]]:
    points = [
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
    return [point | {"best": point in rivals and on_front(point, rivals)} for point in points]


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
    named = [f"{row['model']} ({shown(row['seconds'])} s, {shown(row['value'])})" for row in front]
    missing = without(
        [model for model in group.models if model not in {row["model"] for row in points}],
        f"seconds of its making or {score}",
    )
    return [f"On {group.dataset}, no model or baseline beats {', '.join(named)} in both", missing]


def _pareto(rows: Sequence[dict[str, Any]], score: str, choice: Choice) -> Any:
    base = alt.Chart().encode(
        x=alt.X("seconds:Q", title="seconds", scale=alt.Scale(type="log")),
        y=alt.Y("value:Q", title=score, scale=alt.Scale(zero=False, padding=15)),
    )
    front = base.transform_filter("datum.best").mark_line(strokeDash=[4, 4], color=GROUPS[2]).encode(order="seconds:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        **role_channels(),
        tooltip=["model:N", "role:N", "seconds:Q", "value:Q", alt.Tooltip("best:N", title="on the line")],
    )
    names = base.mark_text(dy=-10, limit=90).encode(text="model:N")
    return stacked([front, points, names], rows, choice, height=_HEIGHT)

"""Predicted against true changes of expression under perturbations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np

from scfm_eval.charts.drawn_results import drawn_results
from scfm_eval.charts.figure import (
    Choice,
    Figure,
    counted,
    group_scale,
    sentences,
    shape_scale,
    shown,
    slug,
    stacked,
    words,
)
from scfm_eval.report import Report
from scfm_eval.results import Result

_HEIGHT = 340
_LISTS = ("kind", "condition", "gene", "true", "predicted")


def deltas(report: Report, task: str) -> Iterator[Figure]:
    """Give a scatter of predicted against true changes for each dataset; a dropdown chooses the model."""
    for group in drawn_results(report, task, detail="deltas"):
        rows = [
            {"model": result.model.name} | {name: result.details["deltas"][name] for name in _LISTS}
            for result in group.results
        ]
        kinds = sorted({kind for row in rows for kind in row["kind"]})
        if not kinds:
            continue
        yield Figure(
            name=slug(task, "deltas", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: predicted against true changes of expression",
            alt=sentences(
                f"Changes of log expression of {counted(len(rows[0]['gene']), 'pair')} of a perturbation and a gene "
                "that truly changes much, predicted (up) against true (right); on the dashed line, both are equal",
                *(_said(result) for result in group.results[:3]),
                group.left_out(),
            ),
            chart=_scatter(rows, kinds, Choice("model", group.models)),
        )


def _said(result: Result) -> str:
    found = result.details["deltas"]
    true, predicted = (np.array(found[side], dtype=float) for side in ("true", "predicted"))
    known = np.isfinite(true) & np.isfinite(predicted)
    missing = int((~known).sum())
    said = f"The sign of {result.model.name} is right in {_agreeing(true[known], predicted[known])}"
    return said + (f", and {counted(missing, 'pair')} without an answer not drawn" if missing else "")


def _agreeing(true: Any, predicted: Any) -> str:
    if not true.size:
        return "none, since it gave no answer"
    same = float((np.sign(true) == np.sign(predicted)).mean())
    error = float(np.abs(true - predicted).mean())
    return f"{same:.0%} of them, with a mean absolute error of {shown(error)}"


def _scatter(rows: Sequence[dict[str, Any]], kinds: Sequence[str], choice: Choice) -> Any:
    facts = ["condition:N", "gene:N", "kind:N", "true:Q", "predicted:Q"]
    points = (
        alt.Chart()
        .mark_point(filled=True, size=35, opacity=0.7)
        .encode(
            x=alt.X("true:Q", title="true change"),
            y=alt.Y("predicted:Q", title="predicted change"),
            color=alt.Color("kind:N", title="held out", scale=group_scale(kinds)),
            shape=alt.Shape("kind:N", title="held out", scale=shape_scale(kinds)),
            tooltip=facts,
        )
    )
    equal = alt.Chart().mark_line(strokeDash=[4, 4], color="#999999").encode(x="true:Q", y="true:Q")
    return stacked([equal, points], rows, choice, height=_HEIGHT).transform_flatten(list(_LISTS))

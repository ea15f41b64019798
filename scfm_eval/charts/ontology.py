"""Distances between types in an embedding, beside those in the batches' own expression, as scGraph compares them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scfm_eval.charts.choices import Choice, choosing, panelled, panels_drawn
from scfm_eval.charts.drawn_results import drawn_results
from scfm_eval.charts.figure import Figure, data_of, looks, sentences, slug, words
from scfm_eval.charts.heatmap import flat, panel, squares, unfolded
from scfm_eval.charts.type_order import type_order
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.wording import counted, number

_STEP, _LEAST, _MOST = 14, 120, 220
_REFERENCE = "in expression"


def type_distances(report: Report, task: str) -> Iterator[Figure]:
    """Give, for each dataset, the reference's distances beside those of a model that a dropdown chooses."""
    for group in drawn_results(report, task, detail="type_distances"):
        reference = _matrix(group.results[0], "reference")
        near = 1 - reference.to_numpy()
        types, how = type_order(report, dataset=group.dataset, types=list(reference.index), likeness=near)
        rows = [
            flat(result.model.name, {"distance": _matrix(result, "embedding").reindex(index=types, columns=types)})
            for result in group.results
        ]
        beside = flat(_REFERENCE, {"distance": reference.reindex(index=types, columns=types)})
        choice = Choice("model", group.models, panels=3)
        yield Figure(
            name=slug(task, "type distances", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: distances of types in expression and in the embedding",
            alt=sentences(
                f"Distances between {counted(len(types), 'type')}, {how}; each column relative to its largest",
                *(_said(result) for result in group.results[:3]),
                _unknown(reference),
                group.left_out(),
            ),
            chart=_side_by_side(beside, rows, types, choice),
            still=_panels([beside, *rows], types, choice),
            choices=choosing(choice),
            drawn=panels_drawn(choice),
        )


def _matrix(result: Result, name: str) -> pd.DataFrame:
    found = result.details["type_distances"]
    return pd.DataFrame(found[name], index=found["types"], columns=found["types"], dtype=float)


def _said(result: Result) -> str:
    record = result.scores.get("scgraph")
    return f"scGraph of {result.model.name} is {number(record.value)}" if record else ""


def _unknown(reference: pd.DataFrame) -> str:
    unknown = int(np.isnan(reference.to_numpy()).sum())
    return f"{counted(unknown, 'pair')} unknown to the reference and not drawn" if unknown else ""


def _side_by_side(beside: dict[str, Any], rows: Sequence[dict[str, Any]], types: Sequence[str], choice: Choice) -> Any:
    size = max(_LEAST, min(_MOST, _STEP * len(types)))

    def one(of: Sequence[dict[str, Any]], *, title: Any, labels: bool) -> Any:
        (squared, *_) = squares(types, "distance", rows="", columns="", tooltip=_facts(), labels=labels)
        return squared.properties(data=data_of(of), title=title, width=size, height=size)

    left = unfolded(one([beside], title=_REFERENCE, labels=True), types, values=["distance"])
    right = unfolded(
        choice.on(one(rows, title=alt.Title(alt.expr(choice.parameter)), labels=False)), types, values=["distance"]
    )
    return alt.hconcat(left, right, spacing=10).configure(**looks())


def _panels(rows: Sequence[dict[str, Any]], types: Sequence[str], choice: Choice) -> Any:
    """Return the reference, and after it some of the models, beside each other."""
    (squared, *_) = squares(types, "distance", rows="", columns="", tooltip=_facts())
    shown = Choice(choice.field, [_REFERENCE, *choice.in_panels()], panels=choice.panels + 1)
    return unfolded(panelled([squared], rows, shown, **panel(len(types))), types, values=["distance"])


def _facts() -> list[Any]:
    return [
        alt.Tooltip("row_type:N", title="from"),
        alt.Tooltip("column_type:N", title="to"),
        alt.Tooltip("distance:Q"),
    ]

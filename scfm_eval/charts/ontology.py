"""Distances between types in an embedding, beside those in the batches' own expression, as scGraph compares them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scfm_eval.charts.drawn_results import drawn_results
from scfm_eval.charts.figure import Choice, Figure, counted, data_of, looks, sentences, shown, slug, words
from scfm_eval.charts.heatmap import flat, squares, unfolded
from scfm_eval.charts.type_order import type_order
from scfm_eval.report import Report
from scfm_eval.results import Result

_STEP, _LEAST, _MOST = 14, 120, 220


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
        beside = flat("reference", {"distance": reference.reindex(index=types, columns=types)})
        yield Figure(
            name=slug(task, "type distances", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: distances of types in expression (left) and embedding (right)",
            alt=sentences(
                f"Distances between {counted(len(types), 'type')}, {how}; each column relative to its largest",
                *(_said(result) for result in group.results[:3]),
                _unknown(reference),
                group.left_out(),
            ),
            chart=_side_by_side(beside, rows, types, Choice("model", group.models)),
        )


def _matrix(result: Result, name: str) -> pd.DataFrame:
    found = result.details["type_distances"]
    return pd.DataFrame(found[name], index=found["types"], columns=found["types"], dtype=float)


def _said(result: Result) -> str:
    record = result.scores.get("scgraph")
    return f"scGraph of {result.model.name} is {shown(record.value)}" if record else ""


def _unknown(reference: pd.DataFrame) -> str:
    unknown = int(np.isnan(reference.to_numpy()).sum())
    return f"{counted(unknown, 'pair')} unknown to the reference and not drawn" if unknown else ""


def _side_by_side(beside: dict[str, Any], rows: Sequence[dict[str, Any]], types: Sequence[str], choice: Choice) -> Any:
    size = max(_LEAST, min(_MOST, _STEP * len(types)))
    tooltip = [
        alt.Tooltip("row_type:N", title="from"),
        alt.Tooltip("column_type:N", title="to"),
        alt.Tooltip("distance:Q"),
    ]

    def panel(of: Sequence[dict[str, Any]], *, title: Any, labels: bool) -> Any:
        (squared, *_) = squares(types, "distance", rows="", columns="", tooltip=tooltip, labels=labels)
        return squared.properties(data=data_of(of), title=title, width=size, height=size)

    left = unfolded(panel([beside], title="expression", labels=True), types, values=["distance"])
    right = unfolded(
        choice.on(panel(rows, title=alt.Title(alt.expr(choice.parameter)), labels=False)), types, values=["distance"]
    )
    return alt.hconcat(left, right, spacing=10).configure(**looks())

"""Maps of the cells in each model's embedding, turned onto each other, coloured by label, batch and errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from scfm_eval.charts.choices import Choice, choosing, panelled, panels_drawn, stacked
from scfm_eval.charts.drawn_results import Drawn, drawn_results, without
from scfm_eval.charts.figure import GROUPS, NAMED, Figure, data_of, group_scale, sentences, shape_scale, slug, words
from scfm_eval.report import Report
from scfm_eval.wording import counted, listed, there

_SIDE, _PANEL, _DECIMALS, _FEWEST = 400, 260, 2, 3
_RIGHT = ("right", "wrong")


@dataclass(frozen=True)
class _Colouring:
    """What colours the cells: an entry of the layout, and the names of its codes."""

    field: str
    names: Sequence[str]
    channels: Mapping[str, Any]


def maps(report: Report, task: str) -> Iterator[Figure]:
    """Give maps of the sampled cells of each dataset by label, by batch and by errors; a dropdown chooses the model.

    Each model's map is turned and mirrored, never stretched, to lie as nearly as it can on that of the first model.
    """
    for group in drawn_results(report, task, detail="layout"):
        points = turned([result.details["layout"] for result in group.results])
        for colouring in _colourings(group.results[0].details["layout"]):
            rows = [
                {"model": result.model.name, "x": xy[:, 0].tolist(), "y": xy[:, 1].tolist(), "code": codes}
                for result, xy in zip(group.results, points, strict=True)
                if (codes := result.details["layout"].get(colouring.field)) is not None
            ]
            yield _figure(task, group, colouring, rows)


def turned(layouts: Sequence[Mapping[str, Any]]) -> list[NDArray[np.float64]]:
    """Return the points of each layout, centred, of mean squared distance 1 from the centre, and turned onto the first.

    Layouts of other cells than the first one's are centred and scaled only.

    Parameters
    ----------
    layouts
        Each with ``x``, ``y`` and ``label`` of its cells ``(n_cells,)``; null coordinates are of cells without a place.

    Returns
    -------
    One ``(n_cells, 2)`` for each layout, NaN where a cell has no place.
    """
    made = [_scaled(np.array([layout["x"], layout["y"]], dtype=float).T) for layout in layouts]
    return [
        _onto(points, made[0]) if layout["label"] == layouts[0]["label"] else points
        for layout, points in zip(layouts, made, strict=True)
    ]


def _scaled(points: NDArray[np.float64]) -> NDArray[np.float64]:
    placed = np.isfinite(points).all(axis=1)
    if not placed.any():
        return points
    centred = points - points[placed].mean(axis=0)
    spread = float(np.sqrt(np.square(centred[placed]).sum(axis=1).mean()))
    return np.asarray(centred / spread if spread > 0 else centred, dtype=np.float64)


def _onto(points: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    both = np.isfinite(points).all(axis=1) & np.isfinite(first).all(axis=1)
    if both.sum() < _FEWEST:
        return points
    turn, _ = orthogonal_procrustes(points[both], first[both])
    return np.asarray(points @ turn, dtype=np.float64)


def _colourings(layout: Mapping[str, Any]) -> Iterator[_Colouring]:
    for field, names in (("label", layout["labels"]), ("batch", layout.get("batches"))):
        if layout.get(field) is not None and names:
            known = [str(name) for name in names]
            shape = alt.Shape("group:N", title=None, scale=shape_scale(known))
            yield _Colouring(
                field, known, {"color": alt.Color("group:N", title=None, scale=group_scale(known)), "shape": shape}
            )
    if layout.get("wrong") is not None:
        colours = alt.Scale(domain=list(_RIGHT), range=[GROUPS[6], GROUPS[3]])
        size = alt.Size("group:O", title=None, sort=list(_RIGHT), scale=alt.Scale(domain=list(_RIGHT), range=[14, 45]))
        yield _Colouring(
            "wrong", _RIGHT, {"color": alt.Color("group:O", title=None, sort=list(_RIGHT), scale=colours), "size": size}
        )


def _figure(task: str, group: Drawn, colouring: _Colouring, rows: Sequence[dict[str, Any]]) -> Figure:
    what = "errors" if colouring.field == "wrong" else colouring.field
    models = [row["model"] for row in rows]
    choice = Choice("model", models)
    chart, still = _scatter(rows, colouring, choice)
    return Figure(
        name=slug(task, "map", what, group.dataset),
        task=task,
        title=f"{words(task)} on {group.dataset}: map of the embedding by {what}",
        alt=sentences(
            f"UMAP of {counted(len(rows[0]['x']), 'cell')} in the embedding of {counted(len(rows), 'model')}, the same "
            "cells in each, turned onto the first",
            _groups_said(colouring, rows),
            without([model for model in group.models if model not in models], what),
            group.left_out(),
        ),
        chart=chart,
        still=still,
        choices=choosing(choice),
        drawn=panels_drawn(choice),
    )


def _groups_said(colouring: _Colouring, rows: Sequence[dict[str, Any]]) -> str:
    missing = sum(not there(x) for x in rows[0]["x"])
    unplaced = f"; {counted(missing, 'cell')} of {rows[0]['model']} without a place not drawn" if missing else ""
    if colouring.field != "wrong":
        return f"Coloured by {colouring.field}: {listed(colouring.names, most=NAMED)}" + unplaced
    shares = (f"{sum(filter(None, row['code']))} of {len(row['code'])} cells for {row['model']}" for row in rows[:3])
    return f"Wrongly called are {', '.join(shares)}" + unplaced


def _scatter(rows: Sequence[dict[str, Any]], colouring: _Colouring, choice: Choice) -> tuple[Any, Any]:
    """Return the maps behind a dropdown, and some beside each other."""
    names = data_of([{"code": code, "group": name} for code, name in enumerate(colouring.names)])
    short = [row | {side: [round(value, _DECIMALS) for value in row[side]] for side in ("x", "y")} for row in rows]
    points = (
        alt.Chart()
        .transform_filter("isValid(datum.x) && isValid(datum.y) && isValid(datum.code)")
        .mark_point(filled=True, size=32, opacity=0.8)
        .encode(x=_place(alt.X, "x", short), y=_place(alt.Y, "y", short), tooltip=["group:N"], **colouring.channels)
    )
    charts = (
        stacked([points], short, choice, height=_SIDE),
        panelled([points], short, choice, width=_PANEL, height=_PANEL),
    )
    chart, still = (
        one.transform_flatten(["x", "y", "code"]).transform_lookup("code", alt.LookupData(names, "code", ["group"]))
        for one in charts
    )
    return chart, still


def _place(channel: Any, side: str, rows: Sequence[dict[str, Any]]) -> Any:
    """Return the channel of one side of the maps, which reaches as far in every model."""
    values = [value for row in rows for value in row[side] if there(value)]
    reach = alt.Scale(domain=[min(values), max(values)], nice=False) if values else alt.Scale()
    plain_axis = alt.Axis(labels=False, ticks=False, grid=False, domain=False, title=None)
    return channel(f"{side}:Q", axis=plain_axis, scale=reach)

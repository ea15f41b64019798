"""Heat maps of type by type, of one model at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from scfm_eval.charts.figure import SEQUENCE, data_of

MOST_TYPES = 40
"""Most types of a heat map."""
WHERE_IT_FITS = alt.expr("bandwidth('x') < 26 ? 0 : 1")
"""Opacity of numbers in squares: none where a square is narrower than its number, as on a telephone."""
_TEXT_UP_TO = 12
_BRIGHT, _WRITTEN = 0.6, 0.005
_STEP, _LEAST, _MOST = 22, 160, 640
_PANEL_STEP, _PANEL_MOST = 32, 330


def flat(model: str, matrices: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return matrices of the same types as one row of data: lists of row, column and value, types as numbers.

    Parameters
    ----------
    model
        Whose they are.
    matrices
        By name, each ``(n_types, n_types)``.
    """
    n_types = len(next(iter(matrices.values())))
    codes = range(n_types)
    places = {"row": [i for i in codes for _ in codes], "column": [*codes] * n_types}
    values = {name: matrix.to_numpy(dtype=float).ravel().tolist() for name, matrix in matrices.items()}
    return {"model": model} | places | values


def unfolded(chart: Any, types: Sequence[str], *, values: Sequence[str]) -> Any:
    """Return the chart over one row for each pair of types again, with ``row_type`` and ``column_type`` as words."""
    names = data_of([{"code": code, "type": name} for code, name in enumerate(types)])
    chart = chart.transform_flatten(["row", "column", *values])
    for place in ("row", "column"):
        chart = chart.transform_lookup(place, alt.LookupData(names, "code", ["type"]), as_=[f"{place}_type"])
    return chart


def squares(
    types: Sequence[str], value: str, *, rows: str, columns: str, tooltip: Sequence[Any], labels: bool = True
) -> list[Any]:
    """Return the layers of a heat map of values from 0 to 1; with few types, numbers are written in the squares.

    Parameters
    ----------
    types
        Types in their order.
    value
        Name of the value that is drawn.
    rows, columns
        Titles of the sides.
    tooltip
        What is said of a square.
    labels
        Whether types are named at the sides.
    """
    axis = alt.Undefined if labels else alt.Axis(labels=False, ticks=False)
    base = alt.Chart().encode(
        x=alt.X("column_type:N", sort=list(types), title=columns, axis=axis),
        y=alt.Y("row_type:N", sort=list(types), title=rows, axis=axis),
    )
    shade = alt.Color(f"{value}:Q", title=None, scale=alt.Scale(scheme=SEQUENCE, domain=[0, 1]))
    layers = [base.mark_rect().encode(color=shade, tooltip=list(tooltip))]
    if len(types) <= _TEXT_UP_TO:
        ink = alt.condition(f"datum.{value} > {_BRIGHT}", alt.value("black"), alt.value("white"))
        numbers = base.transform_filter(f"datum.{value} >= {_WRITTEN}").mark_text(opacity=WHERE_IT_FITS)
        layers.append(numbers.encode(text=alt.Text(f"{value}:Q", format=".2f"), color=ink))
    return layers


def side(n_types: int) -> int:
    """Return the height of a heat map in pixels."""
    return max(_LEAST, min(_MOST, _STEP * n_types))


def panel(n_types: int) -> dict[str, Any]:
    """Return width and height of a heat map in pixels, where several stand beside each other."""
    size = max(_LEAST, min(_PANEL_MOST, _PANEL_STEP * n_types))
    return {"width": size, "height": size}

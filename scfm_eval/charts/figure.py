"""One figure, and what all figures share: colours, text and data that JSON can hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import altair as alt

TEXT = "#767676"
"""Grey of text and axes: contrast 4.5 on white and 4.2 on #111; no grey has 4.5 on both."""
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999", "#F0E442")
"""Okabe and Ito's colours, told apart by colour-blind readers; grey for their black, which dark pages would hide."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_MANY = {10: "tableau10", 20: "tableau20"}
SEQUENCE = "viridis"
"""Scheme of quantities: evenly brighter."""
_ROLES = {"model": (GROUPS[0], "circle"), "baseline": (GROUPS[1], "square"), "control": (GROUPS[6], "triangle-up")}

_LABEL_LIMIT = 240
NAMED = 3
"""Names of which a description says all; of more it says how many there are."""


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Parameters
    ----------
    name
        Slug, unique within a report.
    task
        Task that it belongs to.
    title
        What is shown, of which task and dataset.
    alt
        What is seen, in full sentences with numbers.
    chart
        Altair chart; ``chart.to_dict()`` is a Vega-Lite specification that holds its data.
    choices
        Sentence about its dropdowns, ``""`` without: only where they work it is true.
    drawn
        Sentence about what a picture without dropdowns draws, ``""`` where that is everything.
    still
        Chart in place of ``chart`` where dropdowns do not work; ``None`` where ``chart`` does.
    """

    name: str
    task: str
    title: str
    alt: str
    chart: Any
    choices: str = ""
    drawn: str = ""
    still: Any = None

    def printed(self) -> Figure:
        """Return the figure for a picture, in which nothing can be chosen, with what is drawn in its description."""
        return replace(
            self,
            alt=" ".join(said for said in (self.alt, self.drawn) if said),
            chart=self.chart if self.still is None else self.still,
            choices="",
            drawn="",
            still=None,
        )


def data_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the rows as data that stand in the specification; NaN is written as null."""
    return alt.Data(values=[{name: plain(value) for name, value in row.items()} for row in rows])


def plain(value: Any) -> Any:
    """Return the value as JSON can hold it: numbers to 5 significant digits, null where they are not finite."""
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


def looks(*, ink: str = TEXT, size: int = 11) -> dict[str, Any]:
    """Return the Vega-Lite configuration of all charts.

    Parameters
    ----------
    ink
        Colour of text and axes.
    size
        Size of text in pixels.
    """
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": size, "titleFontSize": size}
    lines = {"domainColor": ink, "tickColor": ink, "gridColor": ink, "gridOpacity": 0.2}
    return {
        "background": "transparent",
        "font": "sans-serif",
        "view": {"stroke": None},
        "axis": text | lines | {"labelLimit": _LABEL_LIMIT},
        "legend": text | {"orient": "bottom", "columns": 2, "labelLimit": _LABEL_LIMIT, "titleLimit": _LABEL_LIMIT},
        "header": text,
        "title": {
            "color": ink,
            "subtitleColor": ink,
            "fontSize": size + 1,
            "subtitleFontSize": size,
            "anchor": "start",
        },
        "text": {"color": ink, "fontSize": size - 1},
        "rule": {"color": ink},
    }


def group_scale(names: Sequence[str]) -> Any:
    """Return the colour scale of groups: up to eight of Okabe and Ito's, beyond these Tableau's ten or twenty."""
    if len(names) <= len(GROUPS):
        return alt.Scale(domain=list(names), range=list(GROUPS[: len(names)]))
    return alt.Scale(domain=list(names), scheme=_MANY[10 if len(names) <= 10 else 20])


def role_channels(further: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> dict[str, Any]:
    """Return the channels that tell roles apart, by colour and by shape.

    Parameters
    ----------
    further
        Colour and shape of what else is in the legend.
    """
    kinds = _ROLES | dict(further)
    return {
        name: channel(
            "role:N", title=None, scale=alt.Scale(domain=list(kinds), range=[kind[i] for kind in kinds.values()])
        )
        for i, (name, channel) in enumerate((("color", alt.Color), ("shape", alt.Shape)))
    }


def model_channels(models: Sequence[str]) -> dict[str, Any]:
    """Return the channels that tell models apart, by colour and by shape."""
    return {
        "color": alt.Color("model:N", title=None, scale=group_scale(models)),
        "shape": alt.Shape("model:N", title=None, scale=shape_scale(models)),
    }


def shape_scale(names: Sequence[str]) -> Any:
    """Return the scale of shapes of groups, which repeat after six."""
    return alt.Scale(domain=list(names), range=[SHAPES[i % len(SHAPES)] for i in range(len(names))])


def words(task: str) -> str:
    """Return the name of a task as words."""
    return task.replace("_", " ").capitalize()


def sentences(*said: str) -> str:
    """Join what is said, leaving out what is empty; each ends with a full stop."""
    return " ".join(f"{one}." for one in said if one)


def slug(*parts: str) -> str:
    """Return the parts as one lower-case name of letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") or "figure"

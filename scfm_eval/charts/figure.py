"""One figure, and what all figures share: colours, text, dropdowns and data that JSON can hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeGuard

import altair as alt

TEXT = "#767676"
"""Grey of text and axes: contrast 4.5 on white and 4.2 on #111; no grey has 4.5 on both."""
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999", "#F0E442")
"""Okabe and Ito's colours, told apart by colour-blind readers; grey for their black, which dark pages would hide."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
SEQUENCE = "viridis"
"""Scheme of quantities: evenly brighter."""
_ROLES = {"model": (GROUPS[0], "circle"), "baseline": (GROUPS[1], "square"), "control": (GROUPS[6], "triangle-up")}

_LABEL_LIMIT = 150
_NAMED = 3
_WHOLE = 1000


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
    """

    name: str
    task: str
    title: str
    alt: str
    chart: Any


@dataclass(frozen=True)
class Choice:
    """A dropdown that decides which rows of the data are drawn; with one option it is not shown.

    Parameters
    ----------
    field
        Column of the data.
    options
        Values of the column, the first one is chosen at first.
    """

    field: str
    options: Sequence[str]

    @property
    def parameter(self) -> str:
        """Name of the parameter that holds what is chosen."""
        return f"{self.field}_shown"

    def on(self, chart: Any) -> Any:
        """Return the chart with the dropdown, and with the chosen rows only."""
        several = len(self.options) > 1
        bind = alt.binding_select(options=list(self.options), name=f"{self.field} ") if several else alt.Undefined
        chosen = alt.param(name=self.parameter, value=self.options[0], bind=bind)
        return chart.add_params(chosen).transform_filter(f"datum.{self.field} === {self.parameter}")


def stacked(layers: Sequence[Any], rows: Sequence[Mapping[str, Any]], *choices: Choice, **known: Any) -> Any:
    """Return layers over the same rows as one chart, as wide as its place, under a title that names what is chosen.

    Parameters
    ----------
    layers
        Altair charts without data.
    rows
        The data, with a column for each choice.
    choices
        Dropdowns.
    known
        Further properties of the chart, such as ``height``.
    """
    title = alt.Title(alt.expr(" + ', ' + ".join(choice.parameter for choice in choices)))
    chart = alt.layer(*layers, data=data_of(rows), title=title, **{"width": "container"} | known)
    for choice in choices:
        chart = choice.on(chart)
    return chart.configure(**looks())


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
        "legend": text | {"orient": "bottom", "columns": 3, "labelLimit": _LABEL_LIMIT, "titleLimit": _LABEL_LIMIT},
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
    """Return the colour scale of groups: up to eight colours, and beyond these an ordered scheme."""
    if len(names) <= len(GROUPS):
        return alt.Scale(domain=list(names), range=list(GROUPS[: len(names)]))
    return alt.Scale(domain=list(names), scheme=alt.SchemeParams(name=SEQUENCE, extent=[0.2, 0.9], count=len(names)))


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


def there(value: float | None) -> TypeGuard[float]:
    """Return whether there is a finite number."""
    return value is not None and math.isfinite(value)


def shown(value: float | None) -> str:
    """Return a number to three digits or as a whole number, or ``undefined``."""
    if not there(value):
        return "undefined"
    return f"{value:.3g}" if abs(value) < _WHOLE else f"{value:,.0f}"


def words(task: str) -> str:
    """Return the name of a task as words."""
    return task.replace("_", " ").capitalize()


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun, such as ``1 model`` or ``2 models``."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first names in words, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def sentences(*said: str) -> str:
    """Join what is said, leaving out what is empty; each ends with a full stop."""
    return " ".join(f"{one}." for one in said if one)


def slug(*parts: str) -> str:
    """Return the parts as one lower-case name of letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") or "figure"

"""Dropdowns of a figure, and what stands in their place where nothing can be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from scfm_eval.charts.figure import data_of, looks, sentences
from scfm_eval.wording import counted, listed

_FEW = 4


@dataclass(frozen=True)
class Choice:
    """A dropdown that decides which rows of the data are drawn; with one option it is not shown.

    Parameters
    ----------
    field
        Column of the data.
    options
        Values of the column, the first one is chosen at first.
    panels
        Most options that are drawn beside each other where nothing can be chosen.
    """

    field: str
    options: Sequence[str]
    panels: int = 4

    @property
    def parameter(self) -> str:
        """Name of the parameter that holds what is chosen."""
        return f"{self.field}_shown"

    def in_panels(self) -> list[str]:
        """Return the options that are drawn beside each other where nothing can be chosen."""
        return list(self.options[: self.panels])

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


def panelled(
    layers: Sequence[Any],
    rows: Sequence[Mapping[str, Any]],
    choice: Choice,
    *,
    columns: int = 2,
    apart: bool = False,
    **known: Any,
) -> Any:
    """Return layers once for each of the first options of a dropdown, beside each other.

    Parameters
    ----------
    layers
        Altair charts without data.
    rows
        The data, with a column for the choice.
    choice
        The dropdown that the panels stand for.
    columns
        Panels beside each other.
    apart
        Whether each panel has axes of its own.
    known
        Further properties of each panel: ``height`` and ``width``.
    """
    options = choice.in_panels()
    one_each = alt.Facet(f"{choice.field}:N", sort=options, title=None)
    chart = alt.layer(*layers, **known).facet(
        one_each, columns=columns, data=data_of([row for row in rows if row[choice.field] in options])
    )
    if apart:
        chart = chart.resolve_scale(x="independent", y="independent")
    return chart.configure(**looks())


def choosing(*choices: Choice) -> str:
    """Return a sentence about what dropdowns choose among, ``""`` where there is nothing to choose."""
    more = [counted(len(choice.options), choice.field) for choice in choices if len(choice.options) > 1]
    return (
        sentences(f"{'Dropdowns choose' if len(more) > 1 else 'A dropdown chooses'} among {' and '.join(more)}")
        if more
        else ""
    )


def first_drawn(*choices: Choice) -> str:
    """Return a sentence about the options that are drawn where none can be chosen, ``""`` where there are no others."""
    drawn = [choice.options[0] for choice in choices if len(choice.options) > 1]
    return sentences(f"Drawn is {', '.join(drawn)}") if drawn else ""


def panels_drawn(choice: Choice) -> str:
    """Return a sentence about the options that have a panel, ``""`` where there are no others."""
    shown, of = choice.in_panels(), counted(len(choice.options), choice.field)
    which = listed(shown) if len(shown) <= _FEW else f"the first {len(shown)}"
    return sentences(f"Drawn are {which}, of {of}") if len(shown) < len(choice.options) else ""

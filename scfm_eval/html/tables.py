"""A table of the page: what DataTables needs to show, sort and filter it, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import escape

from scfm_eval import wording

PAGE_LENGTH = 25
"""Rows that are shown at once."""

_CONTROLS: dict[str, list[Any]] = {
    "choice": ["order", ["searchList"]],
    "text": ["order", ["search"]],
    "number": ["order", ["search"]],
}
_TYPES = {"choice": "html", "text": "html", "number": "num-fmt"}
_LAYOUT = {"topStart": "search", "topEnd": None, "bottomStart": "info", "bottomEnd": "paging"}


@dataclass(frozen=True)
class Column:
    """A column.

    Parameters
    ----------
    head
        What stands above it; escaped unless it is ``Markup``.
    kind
        ``"choice"`` is filtered by ticking values, ``"text"`` by a part of it, ``"number"`` by size.
    empty
        What is shown where there is no value.
    optional
        Whether it is left out where it has no value in any row.
    """

    head: str
    kind: Literal["choice", "text", "number"] = "text"
    empty: str = "–"
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    name
        Part of its id in the page.
    caption
        What it shows, for those who do not see it.
    columns
        From left to right.
    rows
        One list per row. A cell is text, which is escaped unless it is ``Markup``, or ``None``, or a pair of
        ``Markup`` and the number that sorts it.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def options(self) -> dict[str, Any]:
        """Return what the constructor of DataTables is given, data included."""
        kept = [
            place
            for place, column in enumerate(self.columns)
            if not column.optional or any(row[place] is not None for row in self.rows)
        ]
        return {
            "columns": [self._column(place) for place in kept],
            "data": [[_cell(row[place]) for place in kept] for row in self.rows],
            "order": [],
            "ordering": {"indicators": False},
            "autoWidth": False,
            "pageLength": PAGE_LENGTH,
            "paging": len(self.rows) > PAGE_LENGTH,
            "layout": _LAYOUT,
            "language": {"search": "Search this table", "emptyTable": "nothing to show"},
        }

    def _column(self, place: int) -> dict[str, Any]:
        column = self.columns[place]
        paired = any(isinstance(row[place], tuple) for row in self.rows)
        return {
            "title": escape(column.head),
            "type": _TYPES[column.kind],
            "className": column.kind,
            "defaultContent": escape(column.empty),
            "columnControl": _CONTROLS[column.kind],
            "searchable": column.kind != "number",
        } | ({"render": {"_": "0", "sort": "1", "type": "1"}} if paired else {})


def number(value: float | None) -> str | None:
    """Return a number as text, ``None`` where it is missing or not finite: the column says what that means."""
    return wording.number(value) if wording.there(value) else None


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else str(escape(value))

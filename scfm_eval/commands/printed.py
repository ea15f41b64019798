"""Tables of strings and sentences, as text for the terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from scfm_eval.escape import markdown, markdown_table, one_line

_LONGEST, _HASH = 140, re.compile(r"([0-9a-f]{12})[0-9a-f]{28,}")


@dataclass(frozen=True)
class Section:
    """A titled part of what a command prints.

    Parameters
    ----------
    title
        What it is about.
    lines
        Sentences, before the table.
    heads, rows
        Columns and cells of the table; without rows there is none.
    """

    title: str
    lines: Sequence[str] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def as_text(sections: Iterable[Section], *, width: int) -> str:
    """Return sections as text; tables are as wide as they need, since cut numbers cannot be read."""
    out = StringIO()
    for section in sections:
        out.write(f"{section.title}\n" + "".join(f"  {one_line(line)}\n" for line in section.lines))
        if section.rows:
            table = Table(*(one_line(head) for head in section.heads))
            for column in table.columns:
                column.no_wrap = True
            for row in section.rows:
                table.add_row(*map(one_line, row))
            needed = Console(width=10_000, markup=False).measure(table).maximum
            Console(file=out, width=max(width, needed), color_system=None, markup=False).print(table)
        out.write("\n")
    return out.getvalue()


def as_markdown(sections: Iterable[Section]) -> str:
    """Return sections as Markdown; names of models and datasets in it do nothing."""
    parts = []
    for section in sections:
        parts.append(f"## {markdown(section.title)}")
        if section.lines:
            parts.append("\n".join(f"- {markdown(line)}" for line in section.lines))
        if section.rows:
            parts.append(markdown_table([[*map(markdown, row)] for row in (section.heads, *section.rows)]))
    return "\n\n".join(parts) + "\n"


def short(value: Any) -> str:
    """Return a value as a cell of a table: the first line, hashes by their first digits, nothing as a dash."""
    if value is None or value != value:
        return "–"
    line = _HASH.sub(r"\1", str(value).partition("\n")[0])
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"

"""A document as a list of blocks, so that every format says the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from scfm_eval.charts.figure import Figure

_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")
MOST_ROWS = 1000
"""Longer tables are for machines, and are in the report."""
_INVISIBLE = ("Cc", "Cs")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Heading:
    """The beginning of a section; ``level`` 1 is a section, 2 and 3 are within it."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text that is shown letter by letter, such as a command or a hash."""

    text: str


@dataclass(frozen=True)
class Entry:
    """One point of a list; a text with a DOI links to it."""

    text: str

    @property
    def address(self) -> str:
        """Address of the first DOI in the text, or empty."""
        found = _DOI.search(self.text)
        return f"https://doi.org/{quote(found.group().rstrip('.'), safe='/:;.-_')}" if found else ""


@dataclass(frozen=True)
class Entries:
    """A list of points, numbered where something refers to them."""

    entries: tuple[Entry, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under heads, with a caption that can be understood alone.

    Parameters
    ----------
    caption
        What the numbers are.
    heads
        Name of each column.
    rows
        As many cells each as there are heads.
    keys
        How many of the first columns name the row: a part of a table that is too wide for a page repeats them.
    number
        Counted by :class:`Document`.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    keys: int = 1
    number: int = 0


@dataclass(frozen=True)
class Picture:
    """A figure; its caption says what is seen on it.

    Parameters
    ----------
    figure
        The chart with title and description.
    name
        Unique in the document, of letters, digits and hyphens.
    number
        Counted by :class:`Document`.
    """

    figure: Figure
    name: str
    number: int = 0


Block = Heading | Paragraph | Code | Entries | Table | Picture


@dataclass(frozen=True)
class Document:
    """A title and blocks, in which tables and figures are counted from 1.

    Parameters
    ----------
    title
        Title.
    created
        When the newest report was made, ISO 8601: the document holds no other date, so that it can be made again.
    blocks
        What is read from top to bottom.
    """

    title: str
    created: str
    blocks: tuple[Block, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(_counted(self.blocks)))


def _counted(blocks: Sequence[Block]) -> list[Block]:
    counts: dict[type, int] = {Table: 0, Picture: 0}
    made: list[Block] = []
    for block in blocks:
        if isinstance(block, Table | Picture):
            counts[type(block)] += 1
            made.append(replace(block, number=counts[type(block)]))
        else:
            made.append(block)
    return made


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str | Cell]], *, keys: int = 1) -> Table:
    """Return a table of plain texts and cells; of a very long one the beginning, which its caption says."""
    shown = rows[:MOST_ROWS]
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in shown)
    cut = f" The first {len(shown):,} of {len(rows):,} rows; the report has all." if len(shown) < len(rows) else ""
    return Table(caption + cut, tuple(heads), cells, keys=keys)


def entries(texts: Sequence[str], *, numbered: bool = False) -> Entries:
    """Return a list of these points."""
    return Entries(tuple(map(Entry, texts)), numbered)


def plain(text: str) -> str:
    """Return strangers' text on one line, without characters that cannot be seen or that turn what follows."""
    return "".join(map(_visible, " ".join(text.split())))


def verbatim(text: str) -> str:
    """Return text with its lines and spaces as they are, otherwise as :func:`plain`."""
    return "\n".join("".join(map(_visible, line.expandtabs())) for line in text.splitlines())


def _visible(character: str) -> str:
    hidden = character in _TURNING or unicodedata.category(character) in _INVISIBLE
    return "\N{REPLACEMENT CHARACTER}" if hidden else character

"""The document as PDF through Typst, offline; every text reaches it as data, never as markup."""

from __future__ import annotations

import json
import re
import tempfile
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from scfm_eval.charts.draw import drawn
from scfm_eval.errors import InvalidInputError
from scfm_eval.paper.document import (
    Block,
    Cell,
    Code,
    Document,
    Entries,
    Heading,
    Paragraph,
    Picture,
    Table,
    plain,
    verbatim,
)

_LINE = 140
"""Characters that fit beside each other in a row of a table."""
_WIDE, _NARROW, _BETWEEN = 30, 18, 2
"""Width of a column at most, where there is room and where there is not, and what lies between two; in characters."""
_LONG = 16
"""Words from this length may be broken in the cells of a table."""
_BREAK = "\N{ZERO WIDTH SPACE}"


def written(document: Document) -> bytes:
    """Return the PDF; equal documents give equal bytes.

    Raises
    ------
    InvalidInputError
        If typst is not installed.
    """
    try:
        import typst
    except ImportError as error:
        raise InvalidInputError(
            asked="a PDF", found="typst is not installed", remedy="python -m pip install typst, or ask for md or html"
        ) from error
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for block in document.blocks:
            if isinstance(block, Picture):
                (folder / f"{block.name}.pdf").write_bytes(drawn(block.figure, "pdf"))
        (folder / "document.json").write_text(json.dumps(_data(document)), encoding="utf-8")
        (folder / "paper.typ").write_text(_template(), encoding="utf-8")
        moment = int(_moment(document).timestamp())
        return bytes(typst.compile(folder / "paper.typ", root=folder, format="pdf", timestamp=moment))


def _template() -> str:
    return resources.files("scfm_eval.paper").joinpath("paper.typ").read_text(encoding="utf-8")


def _moment(document: Document) -> datetime:
    try:
        made = datetime.fromisoformat(document.created)
    except ValueError:
        return datetime(1970, 1, 1, tzinfo=UTC)
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def _data(document: Document) -> dict[str, Any]:
    return {
        "title": plain(document.title),
        "created": plain(document.created),
        "blocks": [made for block in document.blocks for made in _block(block)],
    }


def _block(block: Block) -> list[dict[str, Any]]:
    match block:
        case Heading(text, level):
            return [{"kind": "heading", "text": plain(text), "level": level}]
        case Paragraph(text):
            return [{"kind": "paragraph", "text": plain(text)}]
        case Code(text):
            return [{"kind": "code", "text": verbatim(text)}]
        case Entries(entries, numbered):
            points = [{"text": plain(entry.text), "address": entry.address} for entry in entries]
            return [{"kind": "entries", "entries": points, "numbered": numbered}]
        case Table():
            return _tables(block)
        case Picture(figure, name, number):
            texts = {"title": plain(figure.title), "caption": plain(figure.alt)}
            return [{"kind": "picture", "path": f"{name}.pdf", "number": number} | texts]


def _tables(table: Table) -> list[dict[str, Any]]:
    """Return the table in as many parts as its columns need, each with the first column."""
    parts = _parts(table)
    made = []
    for place, columns in enumerate(parts, start=1):
        more = f" (columns, part {place} of {len(parts)})" if len(parts) > 1 else ""
        made.append(
            {
                "kind": "table",
                "number": table.number,
                "caption": plain(table.caption if place == 1 else "As before.") + more,
                "heads": [_breakable(table.heads[column]) for column in columns],
                "rows": [[_cell(row[column]) for column in columns] for row in table.rows],
            }
        )
    return made


def _cell(cell: Cell) -> dict[str, Any]:
    return {"text": _breakable(cell.text), "bold": cell.bold}


def _parts(table: Table) -> list[list[int]]:
    """Return the columns of each part: all where narrow ones do, else as many as fit beside those that name the row."""
    narrow = _widths(table, widest=_NARROW)
    if sum(narrow) <= _LINE:
        return [list(range(len(narrow)))]
    widths = _widths(table, widest=_WIDE)
    keys = list(range(table.keys))
    parts: list[list[int]] = [[]]
    for column in range(table.keys, len(widths)):
        if parts[-1] and sum(widths[taken] for taken in [*keys, *parts[-1], column]) > _LINE:
            parts.append([])
        parts[-1].append(column)
    return [keys + part for part in parts]


def _widths(table: Table, *, widest: int) -> list[int]:
    """Return how many characters each column takes; what is longer than the widest is broken into lines."""
    columns = zip(*([cell.text for cell in row] for row in table.rows), strict=True) if table.rows else table.heads
    longest = [max([*map(len, cells), 0]) for cells in columns]
    # heads are broken after each word
    heads = [max(len(word) for word in re.split("[_ ]", head)) for head in table.heads]
    return [min(widest, max(pair)) + _BETWEEN for pair in zip(longest, heads, strict=True)]


def _breakable(text: str) -> str:
    """Return the text with places at which long words may be broken."""
    return " ".join(_broken(word) if len(word) > _LONG else word for word in plain(text).split(" "))


def _broken(word: str) -> str:
    parts = word.replace("_", f"_{_BREAK}").split(_BREAK)
    return _BREAK.join(_BREAK.join(part[at : at + _LONG] for at in range(0, len(part), _LONG)) for part in parts)

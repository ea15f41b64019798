"""The document as Markdown (GitHub's), with its figures as files beside it."""

from __future__ import annotations

import re
from urllib.parse import quote

from scfm_eval.charts.draw import drawn
from scfm_eval.escape import inert_markdown, markdown_table
from scfm_eval.paper.document import (
    Block,
    Cell,
    Code,
    Document,
    Entries,
    Entry,
    Heading,
    Paragraph,
    Picture,
    Table,
    plain,
    verbatim,
)


def written(document: Document, *, folder: str) -> tuple[str, dict[str, bytes]]:
    """Return the text, and the figures as SVG by their path relative to it.

    Parameters
    ----------
    document
        The document.
    folder
        Name of the folder of the figures, beside the text.
    """
    pictures = [block for block in document.blocks if isinstance(block, Picture)]
    files = {f"{folder}/{picture.name}.svg": drawn(picture.figure, "svg") for picture in pictures}
    parts = [f"# {escaped(document.title)}", f"*{escaped(_made(document))}*"]
    parts += [_block(block, folder) for block in document.blocks]
    return "\n\n".join(parts) + "\n", files


def _made(document: Document) -> str:
    return f"From reports up to {document.created}"


def _block(block: Block, folder: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * (level + 1)} {escaped(text)}"
        case Paragraph(text):
            return escaped(text)
        case Code(text):
            fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
            return "\n".join([fence, verbatim(text), fence])
        case Entries(entries, numbered):
            marks = (f"{place}." if numbered else "-" for place in range(1, len(entries) + 1))
            return "\n".join(f"{mark} {_entry(entry)}" for mark, entry in zip(marks, entries, strict=True))
        case Table():
            return _table(block)
        case Picture(figure, name, number):
            shown = f"![{escaped(figure.title)}]({quote(f'{folder}/{name}.svg')})"
            return f"{shown}\n\n**Figure {number}.** {escaped(figure.alt)}"


def _entry(entry: Entry) -> str:
    return f"[{escaped(entry.text)}]({entry.address})" if entry.address else escaped(entry.text)


def _table(table: Table) -> str:
    rows = [[*map(escaped, table.heads)], *([*map(_cell, row)] for row in table.rows)]
    return f"**Table {table.number}.** {escaped(table.caption)}\n\n{markdown_table(rows)}"


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    return f"**{text}**" if cell.bold and text else text


def escaped(text: str) -> str:
    """Return text that Markdown shows letter by letter, on one line."""
    return inert_markdown(plain(text))

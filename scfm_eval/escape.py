"""Strangers' text in Markdown and LaTeX: names of models, labels and datasets print as they are, and do nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ALWAYS = r"[\\`*\[\]|$~^#]"
_AT_EDGES = r"(?<![^\W_])_|_(?![^\W_])"
_IN_ADDRESSES = r":(?=//)|(?<=www)\."
_AT_START = r"^[-+=]"
_MARKDOWN = re.compile("|".join([_ALWAYS, _AT_EDGES, _IN_ADDRESSES, _AT_START]), re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_MENTION = re.compile(r"@(?=\w)")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "↓": r"$\downarrow$",
        "−": r"$-$",
        "±": r"$\pm$",
        **{special: f"\\{special}" for special in "&%$#_{}"},
    }
)


def one_line(text: str) -> str:
    """Return the text without line breaks and control characters; white space becomes one space."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def markdown(text: str) -> str:
    """Return the text as one line of Markdown that does nothing, as in :func:`inert_markdown`."""
    return inert_markdown(one_line(text))


def inert_markdown(line: str) -> str:
    """Return a line as GitHub's Markdown, fit for a cell of a table or a paragraph.

    No markup, HTML, list, formula, address or mention in it works; a mention, which cannot be escaped, is kept from
    working by a space of no width after its sign.
    """
    shown = _NUMBERED.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", line).translate(_HTML))
    return _MENTION.sub("@&#8203;", shown)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head, and every cell is Markdown already."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *others])


def latex(text: str) -> str:
    """Return the text as one line of LaTeX: no command, no special character, no comment in it works."""
    made = one_line(text).translate(_LATEX)
    # after the end of a row, a bracket or a star would be an argument of it
    return "{}" + made if made.startswith(("[", "*")) else made

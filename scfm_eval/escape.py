"""Strangers' text in Markdown and LaTeX: names of models, labels and datasets print as they are, and do nothing."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$!])")
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
    """Return the text as one line of Markdown, fit for a cell of a table: neither markup nor HTML in it works."""
    return _MARKDOWN.sub(r"\\\1", one_line(text)).translate(_HTML)


def latex(text: str) -> str:
    """Return the text as one line of LaTeX: no command, no special character, no comment in it works."""
    made = one_line(text).translate(_LATEX)
    # after the end of a row, a bracket or a star would be an argument of it
    return "{}" + made if made.startswith(("[", "*")) else made

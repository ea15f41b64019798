"""``scfm-eval report``: reports as a paper's results section, as PDF, HTML or Markdown."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from scfm_eval.commands.written import written
from scfm_eval.errors import InvalidInputError
from scfm_eval.paper import html, markdown, pdf
from scfm_eval.paper.contents import document
from scfm_eval.paper.document import Document
from scfm_eval.paper.sources import read_source

_FORMATS = {".pdf": "pdf", ".md": "md", ".html": "html"}


def add_to(commands: Any) -> None:
    """Declare the command."""
    report = commands.add_parser(
        "report", help="write reports as a paper's results section: data, tables, figures, limits"
    )
    report.add_argument("reports", type=Path, nargs="+", metavar="REPORT")
    report.add_argument("--format", choices=sorted(_FORMATS.values()), help="default: what the path ends with")
    report.add_argument("-o", "--out", type=Path, required=True, metavar="PATH", help="file to write")
    report.set_defaults(act=_report)


def _report(asked: argparse.Namespace) -> None:
    written_as = asked.format or _FORMATS.get(asked.out.suffix.lower())
    if written_as is None:
        raise InvalidInputError(
            asked=f"a report as {asked.out}",
            found="no format that ends so",
            remedy="say --format pdf, --format html or --format md",
        )
    sources = [read_source(path) for path in asked.reports]
    names = " ".join(shlex.quote(source.name) for source in sources)
    made = document(sources, command=f"scfm-eval report {names} --format {written_as} -o {shlex.quote(asked.out.name)}")
    for path, content in _files(made, written_as, asked.out).items():
        written(path, content)
    print(asked.out)


def _files(made: Document, written_as: str, output: Path) -> dict[Path, bytes]:
    if written_as == "pdf":
        return {output: pdf.written(made)}
    if written_as == "html":
        return {output: html.written(made).encode()}
    text, figures = markdown.written(made, folder=f"{output.stem}_figures")
    return {output.parent / name: drawn for name, drawn in figures.items()} | {output: text.encode()}

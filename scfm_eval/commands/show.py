"""``scfm-eval show`` and ``scfm-eval schema``: a report in the terminal, and the form of reports."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from scfm_eval.about_models import stated
from scfm_eval.errors import InvalidInputError
from scfm_eval.escape import one_line
from scfm_eval.report import read_report, schema
from scfm_eval.tables import render


def add_to(commands: Any) -> None:
    """Declare the commands."""
    show = commands.add_parser("show", help="print the tables of a report")
    show.add_argument("report", type=Path)
    show.add_argument("--task", help="of this task only, with every score")
    show.set_defaults(act=_show)
    commands.add_parser("schema", help="print the JSON Schema of a report").set_defaults(act=_schema)


def _show(asked: argparse.Namespace) -> None:
    report = read_report(asked.report)
    tasks = sorted({result.task for result in report.results})
    if asked.task not in (None, *tasks):
        raise InvalidInputError(
            asked=f"task {asked.task} of {asked.report}", found=f"it has {', '.join(tasks)}", remedy="name one of these"
        )
    print(render(report, width=Console().width, task=asked.task), end="")
    told = stated(result for result in report.results if asked.task in (None, result.task))
    if told:
        print("what the cards say:", *(f"- {one_line(line)}" for line in told), sep="\n")


def _schema(asked: argparse.Namespace) -> None:
    del asked
    print(schema(), end="")

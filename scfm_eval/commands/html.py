"""``scfm-eval html``: one or more reports as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scfm_eval.commands.written import refusing
from scfm_eval.report import read_report


def add_to(commands: Any) -> None:
    """Declare the command."""
    html = commands.add_parser("html", help="write reports as one page that needs no network")
    html.add_argument("reports", nargs="+", type=Path, metavar="REPORT")
    html.add_argument("-o", "--out", type=Path, default=Path("page.html"), metavar="PATH", help="default page.html")
    html.set_defaults(act=_write)


def _write(asked: argparse.Namespace) -> None:
    # drawing libraries take a second to load: only this command waits for them
    from scfm_eval.html.page import write_page

    reports = [read_report(path) for path in asked.reports]
    with refusing(asked.out):
        print(f"page: {write_page(reports, asked.out)}")

"""``scfm-eval guards``: the named checks, what each finds, and what becomes of it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scfm_eval.guards import GUARDS


def add_to(commands: Any) -> None:
    """Declare the command."""
    guards = commands.add_parser("guards", help="checks against wrong numbers, each switched off by its name only")
    guards.add_argument("--json", action="store_true", help="as JSON")
    guards.set_defaults(act=_guards)


def _guards(asked: argparse.Namespace) -> None:
    if asked.json:
        print(json.dumps([asdict(guard) for guard in GUARDS.values()], indent=1))
        return
    table = Table("name", "finds", "and then", title="guards")
    table.columns[0].no_wrap = True
    for guard in GUARDS.values():
        then = f"{guard.then}; always on: {guard.always}" if guard.always else guard.then
        table.add_row(*(Text(text) for text in (guard.name, guard.against, then)))
    # names are there to be copied: none is ever cut
    console = Console()
    Console(width=max(console.width, 100)).print(table)
    print("`--without-guard NAME` switches one off; the report states it.")

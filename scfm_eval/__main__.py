"""``scfm-eval``: what is there, and what can be done with a report."""

from __future__ import annotations

import argparse
import sys

from scfm_eval.commands import (
    at_hand,
    compare,
    embed,
    export,
    guards,
    html,
    log,
    rank,
    reference,
    report,
    reproduce,
    show,
)
from scfm_eval.errors import InvalidInputError

_COMMANDS = (at_hand, guards, embed, show, html, export, log, reproduce, compare, rank, reference, report)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 when what was given cannot be used."""
    asked = _parser().parse_args(arguments)
    try:
        _check_inputs_stay(asked)
        asked.act(asked)
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _check_inputs_stay(asked: argparse.Namespace) -> None:
    """Refuse to write over a report that is read."""
    given = [getattr(asked, name, None) or [] for name in ("report", "reports")]
    read = {path.resolve() for paths in given for path in (paths if isinstance(paths, list) else [paths])}
    for path in (getattr(asked, name, None) for name in ("out", "figure")):
        if path is not None and path.resolve() in read:
            raise InvalidInputError(
                asked=f"to write {path}", found="it is one of the reports that are read", remedy="name another file"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scfm-eval", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

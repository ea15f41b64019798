"""``scfm-eval reference update``: make a report, deliberately, what later runs must not fall behind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scfm_eval.commands.written import refusing
from scfm_eval.compare import changes
from scfm_eval.reference import check_fit, file_name, left_over, renewed
from scfm_eval.report import Report, read_report, write_report
from scfm_eval.wording import difference, number, there


def add_to(commands: Any) -> None:
    """Declare the command."""
    reference = commands.add_parser("reference", help="what later runs must not fall behind")
    update = reference.add_subparsers(required=True, metavar="ACTION").add_parser(
        "update", help="renew the reference of this report's kind of machine, and print what changed"
    )
    update.add_argument("report", type=Path)
    update.add_argument(
        "--to", type=Path, default=Path("reports/reference"), metavar="FOLDER", help="default reports/reference"
    )
    update.add_argument(
        "--whole", action="store_true", help="drop what the report does not have, instead of keeping it"
    )
    update.add_argument("--even-red", default="", metavar="REASON", help="accept red claims and errors, and why")
    update.set_defaults(act=_update)


def _update(asked: argparse.Namespace) -> None:
    new = read_report(asked.report)
    check_fit(new, even_red=asked.even_red.strip())
    target = asked.to / file_name(new)
    old = read_report(target) if target.exists() else None
    made = renewed(old, new, whole=asked.whole, even_red=asked.even_red.strip())
    _warn(new)
    with refusing(target):
        write_report(made, target)
    print("\n".join([*_said(old, new, made, whole=asked.whole), f"reference: {target}"]))


def _said(old: Report | None, new: Report, made: Report, *, whole: bool) -> list[str]:
    if old is None:
        return [f"a first reference of {len(made.results)} results"]
    others = list(left_over(old, new))
    lines = list(_changed(old, made)) or ["no headline score changed"]
    if others:
        lines.append(
            f"results that are not in the report: {len(others)}, "
            + ("dropped" if whole else f"kept as they were on {old.created}; --whole drops them")
        )
    return lines


def _changed(old: Report, made: Report) -> Iterator[str]:
    found = changes([old, made])
    for row in found.only[found.only["kind"] == "result"].to_dict("records"):
        yield f"{'gone' if row['side'] == 'before' else 'new'}: {row['name']}"
    shared = ~found.scores["finding"].isin(["identical", "undefined", "only before", "only after"])
    for row in found.scores[found.scores["headline"] & shared].to_dict("records"):
        numbers = f"{number(row['before'])} → {number(row['after'])}"
        if there(row["difference"]):
            numbers += f", {difference(row['difference'], low=row['low'], high=row['high'])}"
        reason = f" ({row['reason']})" if row["reason"] else ""
        where = " ".join(str(row[name]) for name in ("task", "dataset", "model", "score"))
        yield f"{row['finding']}: {where}: {numbers}{reason}"


def _warn(report: Report) -> None:
    git = report.environment.get("git", {})
    once = [result for result in report.results if result.model.trained_here and len(result.seeds) == 1]
    if git.get("dirty") or git.get("commit") is None:
        state = "with uncommitted changes" if git.get("dirty") else "outside of a git checkout"
        print(f"warning: the report was made {state}: nobody can repeat it", file=sys.stderr)
    if once:
        print(
            f"warning: results that were trained with one seed: {len(once)}; "
            "what training varies by is not known then, --seeds 5 measures it",
            file=sys.stderr,
        )

"""``scfm-eval rank``: models ranked over tasks, which are not told apart, and who wins against whom."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from scfm_eval.charts.differences import critical_difference
from scfm_eval.charts.draw import drawn
from scfm_eval.commands.printed import Section, as_markdown, as_text, short
from scfm_eval.commands.written import written
from scfm_eval.errors import InvalidInputError
from scfm_eval.ranking import HOW, PAIRS, Ranking, duels, ranked
from scfm_eval.report import read_report

_HOW = (
    HOW,
    "Rank 1 is best; won: share of duels won, by the values; first: share of blocks in which the model is the best.",
)
_DUELS = (
    "Blocks in which the first surely wins, is level with, or surely loses against the second, by the interval of the "
    "paired difference; better and worse by value: blocks without such an interval, counted apart.",
    "p of the difference of average ranks (two-sided, normal); q: corrected over all pairs (Benjamini–Hochberg).",
    PAIRS,
)

_MOST_MODELS = 40


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("rank", help="rank the models of reports over tasks")
    parser.add_argument("report", nargs="+", type=Path, help="taken together; the later counts where two overlap")
    parser.add_argument(
        "--task", action="append", default=[], help="over this task; repeatable; default all but throughput"
    )
    parser.add_argument("--controls", action="store_true", help="rank controls too")
    parser.add_argument("--figure", type=Path, metavar="PATH", help="draw critical differences as .png, .svg or .pdf")
    parser.add_argument("--format", choices=("text", "md"), default="text")
    parser.set_defaults(act=_act)


def _act(asked: argparse.Namespace) -> None:
    reports = [read_report(path) for path in asked.report]
    measured = {result.task for report in reports for result in report.results}
    unknown = sorted(set(asked.task) - measured)
    if unknown:
        raise InvalidInputError(
            asked=f"a ranking over {', '.join(unknown)}",
            found=f"results of {', '.join(sorted(measured)) or 'no task'}",
            remedy="name tasks that the reports have",
        )
    found = ranked(reports, controls=asked.controls, tasks=asked.task)
    if asked.figure:
        _draw(found, asked.figure)
    few = len(found.average) <= _MOST_MODELS
    sections = list(_sections(found, duels(reports, found, tasks=asked.task) if few else None))
    print(as_markdown(sections) if asked.format == "md" else as_text(sections, width=Console().width), end="")
    if asked.figure:
        print(f"figure: {asked.figure}")


def _draw(found: Ranking, path: Path) -> None:
    if found.reason:
        raise InvalidInputError(
            asked="a figure of the ranking", found=found.reason, remedy="give more reports or tasks"
        )
    written(path, drawn(critical_difference(found), path.suffix.removeprefix(".")))  # type: ignore[arg-type]


def _sections(found: Ranking, pairs: pd.DataFrame | None) -> Iterator[Section]:
    left_out = Section("left out", (), ("what", "why"), [(what, short(why)) for what, why in found.left_out.items()])
    if found.reason:
        yield Section("ranking", [f"none: {found.reason}"])
        yield left_out
        return
    rows = [
        (name, *(f"{of[name]:.2f}" for of in (found.average, found.share_won, found.firsts)))
        for name in found.average.index
    ]
    heads = ("model", "average rank", "won", "first")
    yield Section(f"ranking over {found.ranks.shape[1]} blocks", [*_HOW, *found.conclusions()], heads, rows)
    blocks = [(block, *(f"{rank:g}" for rank in found.ranks[block])) for block in found.ranks.columns]
    yield Section("ranks by block", (), ("block", *found.ranks.index), blocks)
    yield _duels(pairs) if pairs is not None else Section("duels", [f"not fought: over {_MOST_MODELS} models"])
    if found.left_out:
        yield left_out


def _duels(pairs: pd.DataFrame) -> Section:
    counts = ("left", "right", "wins", "ties", "losses", "better_by_value", "worse_by_value")
    rows = [
        (*(str(row[name]) for name in counts), f"{row['p']:.2g}", f"{row['q']:.2g}") for row in pairs.to_dict("records")
    ]
    heads = ("first", "second", "wins", "ties", "losses", "better by value", "worse by value", "p", "q")
    return Section("duels", _DUELS, heads, rows)

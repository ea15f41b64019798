"""``scfm-eval rank``: models ranked over tasks, which are not told apart, and who wins against whom."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from scfm_eval.charts.differences import critical_difference
from scfm_eval.charts.draw import drawn
from scfm_eval.commands.printed import Section, as_markdown, as_text, short
from scfm_eval.errors import InvalidInputError
from scfm_eval.ranking import LEVEL, Ranking, duels, ranked
from scfm_eval.report import read_report

_HOW = (
    "A block is a task on a dataset, with the first headline score. Rank 1 is best; wins: share of duels won, by the "
    "values; first: share of blocks in which the model is the best.",
    "Blocks that share cells are not independent, so every p here is rather too small.",
)
_DUELS = (
    "Blocks in which the first surely wins, is level with, or surely loses against the second, by the interval of the "
    "paired difference; by value: blocks without resamples, where the value alone decides.",
    "p of the difference of average ranks (two-sided, normal); q: corrected over all pairs (Benjamini–Hochberg).",
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
    few = len(found.average) <= _MOST_MODELS
    sections = list(_sections(found, duels(reports, found, tasks=asked.task) if few else None))
    print(as_markdown(sections) if asked.format == "md" else as_text(sections, width=Console().width), end="")
    if asked.figure:
        _draw(found, asked.figure)


def _draw(found: Ranking, path: Path) -> None:
    if found.reason:
        raise InvalidInputError(
            asked="a figure of the ranking", found=found.reason, remedy="give more reports or tasks"
        )
    picture = drawn(critical_difference(found), path.suffix.removeprefix("."))  # type: ignore[arg-type]
    path.write_bytes(picture)
    print(f"figure: {path}")


def _sections(found: Ranking, pairs: pd.DataFrame | None) -> Iterator[Section]:
    left_out = Section("left out", (), ("what", "why"), [(what, short(why)) for what, why in found.left_out.items()])
    if found.reason:
        yield Section("ranking", [f"none: {found.reason}"])
        yield left_out
        return
    rows = [
        (name, *(f"{of[name]:.2f}" for of in (found.average, found.wins, found.firsts))) for name in found.average.index
    ]
    heads = ("model", "average rank", "wins", "first")
    yield Section(f"ranking over {found.ranks.shape[1]} blocks", [*_HOW, *_said(found)], heads, rows)
    blocks = [(block, *(f"{rank:g}" for rank in found.ranks[block])) for block in found.ranks.columns]
    yield Section("ranks by block", (), ("block", *found.ranks.index), blocks)
    yield _duels(pairs) if pairs is not None else Section("duels", [f"not fought: over {_MOST_MODELS} models"])
    if found.left_out:
        yield left_out


def _duels(pairs: pd.DataFrame) -> Section:
    counts = ("left", "right", "wins", "ties", "losses", "by_value")
    rows = [
        (*(str(row[name]) for name in counts), f"{row['p']:.2g}", f"{row['q']:.2g}") for row in pairs.to_dict("records")
    ]
    return Section("duels", _DUELS, ("first", "second", "wins", "ties", "losses", "by value", "p", "q"), rows)


def _said(found: Ranking) -> Iterator[str]:
    if math.isnan(found.friedman_p):
        yield "All models are tied in every block."
        return
    sure = "differ" if found.friedman_p < LEVEL else "are not told apart"
    yield f"Friedman's test: p = {found.friedman_p:.2g}, so the models {sure}."
    yield f"Nemenyi's critical difference of average ranks: {found.critical_difference:.2f}."
    for group in found.groups:
        yield f"Not told apart: {', '.join(group)}."

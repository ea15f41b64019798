"""Figures of a report as Vega-Lite charts, each with a title and a description in words."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from scfm_eval.charts.annotation import confusion, per_class
from scfm_eval.charts.cells import maps
from scfm_eval.charts.costs import seconds, speed_and_quality
from scfm_eval.charts.curves import by_layer, few_shot
from scfm_eval.charts.figure import Figure
from scfm_eval.charts.leaderboard import leaderboard
from scfm_eval.charts.ontology import type_distances
from scfm_eval.charts.perturbation import deltas
from scfm_eval.report import Report

__all__ = ["Figure", "figures"]

_MAKERS: tuple[Callable[[Report, str], Iterable[Figure]], ...] = (
    leaderboard,
    confusion,
    per_class,
    maps,
    by_layer,
    few_shot,
    deltas,
    type_distances,
    speed_and_quality,
)


def figures(report: Report) -> list[Figure]:
    """Return every figure that the report has data for, task by task, then over tasks; an empty report has none.

    A report of many models and datasets is drawn in part: of each task the datasets with most results, and of each
    dataset the best models and what they are held against. The description of each figure says what is left out.
    """
    tasks = sorted({result.task for result in report.results})
    of_tasks = (figure for task in tasks for make in _MAKERS for figure in _made(make, report, task))
    return list(_uniquely_named(chain(of_tasks, seconds(report))))


def _made(make: Callable[[Report, str], Iterable[Figure]], report: Report, task: str) -> list[Figure]:
    """Return the figures of one kind, or none with a warning where the details of a result are of another form."""
    try:
        return list(make(report, task))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # details have no schema: one that cannot be drawn costs its figure, not the page
        warnings.warn(f"no figure of {make.__name__} of {task}: {type(error).__name__}: {error}", stacklevel=2)
        return []


def _uniquely_named(made: Iterable[Figure]) -> Iterator[Figure]:
    """Give the figures, numbered where their names differ only in letters that a slug cannot hold."""
    taken: set[str] = set()
    for figure in made:
        names = (figure.name if number == 1 else f"{figure.name}-{number}" for number in range(1, len(taken) + 2))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield replace(figure, name=name)

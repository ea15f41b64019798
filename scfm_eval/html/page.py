"""One or more reports as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from scfm_eval.atomic import replacing
from scfm_eval.charts import Figure, figures
from scfm_eval.html import sections
from scfm_eval.html.bundles import charts_bundle, tables_bundle
from scfm_eval.html.data import data_element, json_of
from scfm_eval.html.leaderboard import leaderboard
from scfm_eval.html.notes import Note, found, leaks, notes
from scfm_eval.html.tables import Table
from scfm_eval.html.verdict import TopVerdict, top_verdict
from scfm_eval.report import LandscapeCheck, Report


@dataclass(frozen=True)
class TaskSection:
    """One task of one report.

    Parameters
    ----------
    name
        Name of the task.
    figures
        Its figures.
    tables
        All its scores, and the tests of pairs of models.
    landscape
        What roughness has to do with errors, where this is that task.
    """

    name: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    landscape: tuple[LandscapeCheck, ...]


@dataclass(frozen=True)
class ReportSection:
    """All that the page shows of one report.

    Parameters
    ----------
    report
        The report.
    key
        Tells its ids in the page from those of other reports.
    verdict, leaks, found, notes
        What stands on top.
    leaderboard
        Models by tasks; ``None`` without results.
    figures
        Figures over tasks.
    tasks
        One section per task, by name.
    claims, costs, about
        The remaining tables; ``about`` is on models, datasets and the environment.
    """

    report: Report
    key: str
    verdict: TopVerdict
    leaks: Sequence[Note]
    found: Sequence[Note]
    notes: Sequence[Note]
    leaderboard: Table | None
    figures: Sequence[Figure]
    tasks: Sequence[TaskSection]
    claims: Table | None
    costs: Table | None
    about: Sequence[Table]


def page(reports: Sequence[Report]) -> str:
    """Return the page: one file with its scripts, styles and data, one part per report.

    Names, labels and reasons are strangers' text, and are shown as text whatever they hold.
    """
    parts = [_part(report, key=f"r{place}") for place, report in enumerate(reports, start=1)]
    charted = any(part.figures or any(task.figures for task in part.tasks) for part in parts)
    module, style = tables_bundle()
    modules = {"itables": module, "vega": charts_bundle() if charted else "data:text/javascript,"}
    return _template().render(parts=parts, modules=modules, tables_style=style)


def write_page(reports: Sequence[Report], path: str | Path) -> Path:
    """Write the page of these reports; returns its absolute path."""
    target = Path(path).absolute()
    made = page(reports)
    with replacing(target) as temporary:
        temporary.write_text(made, encoding="utf-8")
    return target


def _part(report: Report, *, key: str) -> ReportSection:
    drawn = figures(report)
    frame = report.to_frame()
    names = sorted({result.task for result in report.results})
    return ReportSection(
        report=report,
        key=key,
        verdict=top_verdict(report),
        leaks=leaks(report),
        found=found(report),
        notes=notes(report),
        leaderboard=leaderboard(report) if report.results else None,
        figures=[figure for figure in drawn if figure.task not in names],
        tasks=[_task(name, report=report, frame=frame, drawn=drawn) for name in names],
        claims=sections.claims(report) if report.verdicts else None,
        costs=sections.costs(report) if report.results else None,
        about=[
            *([sections.models(report), sections.datasets(report)] if report.results else []),
            sections.environment(report),
        ],
    )


def _task(name: str, *, report: Report, frame: pd.DataFrame, drawn: Sequence[Figure]) -> TaskSection:
    pairs = sections.pairs(report, task=name)
    return TaskSection(
        name=name,
        figures=tuple(figure for figure in drawn if figure.task == name),
        tables=(sections.scores(frame, task=name), *([pairs] if pairs else [])),
        landscape=tuple(report.landscape) if name == "landscape" else (),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("scfm_eval", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_function"] = json_of
    environment.filters["data"] = data_element
    return environment.get_template("template.html.j2")

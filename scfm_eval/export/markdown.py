"""Reports as Markdown: a table for each task and dataset, what cards say of the models, and the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scfm_eval.about_models import stated
from scfm_eval.escape import markdown, markdown_table
from scfm_eval.export.sheets import Entry, Sheet, claims, sheets
from scfm_eval.findings import told
from scfm_eval.report import Report

LEGEND = (
    "Value [95 % interval]; bold is the best of models and baselines; ↓: less is better; –: not measured; "
    "undefined: measured, and without a value; no answer: the model failed."
)
"""How a table of scores is to be read."""


def as_markdown(reports: Mapping[str, Report]) -> str:
    """Return reports as one Markdown page.

    Parameters
    ----------
    reports
        Reports by the name that heads each.
    """
    return "\n\n".join(part for name, report in reports.items() for part in _page(name, report)) + "\n"


def _page(name: str, report: Report) -> list[str]:
    tables = sheets(report)
    parts = [f"# {markdown(name)}", f"Made {markdown(report.created)}."]
    parts += [LEGEND] if tables else ["No scores: nothing was measured."]
    for task in dict.fromkeys(sheet.task for sheet in tables):
        parts.append(f"## {markdown(task)}")
        parts += [part for sheet in tables if sheet.task == task for part in _sheet(sheet)]
    cards = stated(report.results)
    parts += ["## Models", "\n".join(f"- {markdown(line)}" for line in cards)] if cards else []
    found = told(report)
    parts += ["## What the guards found", "\n".join(f"- {markdown(str(one))}" for one in found)] if found else []
    heads, rows = claims(report)
    parts.append("## Claims")
    return [*parts, _table(heads, [[markdown(cell) for cell in row] for row in rows]) if rows else "No claims."]


def _sheet(sheet: Sheet) -> list[str]:
    rows = [[markdown(model), *map(_cell, entries)] for model, entries in zip(sheet.models, sheet.rows, strict=True)]
    notes = "\n".join(f"- {markdown(note)}" for note in sheet.notes)
    made = [f"### {markdown(sheet.dataset)}", _table(["model", *sheet.scores], rows)]
    return [*made, notes] if notes else made


def _cell(entry: Entry) -> str:
    text = markdown(entry.text)
    return f"**{text}**" if entry.best else text


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table([[markdown(head) for head in heads], *rows])

"""Reports as LaTeX tables for a paper; they need the package booktabs, and longtable for the claims."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from scfm_eval.about_models import stated
from scfm_eval.escape import latex
from scfm_eval.export.sheets import Entry, Sheet, claims, sheets
from scfm_eval.report import Report

_HEADER = (
    "% needs \\usepackage{booktabs} and \\usepackage{longtable};\n"
    "% names with letters of other scripts need XeLaTeX or LuaLaTeX"
)
_CAPTION = "value [95\\,\\% interval], bold is the best of models and baselines, -- is not measured"


def as_latex(reports: Mapping[str, Report]) -> str:
    """Return reports as LaTeX: one ``table`` for each task and dataset, one ``longtable`` of claims for each report.

    Labels are ``tab:REPORT-TASK-DATASET`` and ``tab:REPORT-claims`` in letters, digits and hyphens; a label that is
    taken gets a number.

    Parameters
    ----------
    reports
        Reports by the name that begins their labels.
    """
    labels: set[str] = set()
    parts = [_HEADER]
    for name, report in reports.items():
        tables = sheets(report)
        parts += [_table(sheet, label=_label(labels, name, sheet.task, sheet.dataset)) for sheet in tables]
        parts += [f"% {latex(line)}" for line in stated(report.results)]
        if not tables:
            parts.append(f"% {latex(name)}: no scores, nothing was measured")
        parts.append(_claims(report, label=_label(labels, name, "claims")))
    return "\n\n".join(parts) + "\n"


def _table(sheet: Sheet, *, label: str) -> str:
    rows = [list(map(_cell, entries)) for entries in sheet.rows]
    caption = f"{latex(sheet.task)} on {latex(sheet.dataset)}: {_CAPTION}."
    notes = "".join(f"\n% {latex(note)}" for note in sheet.notes)
    heads = [latex(score) for score in sheet.scores]
    return _written(heads, rows, names=[latex(model) for model in sheet.models], caption=caption, label=label) + notes


def _claims(report: Report, *, label: str) -> str:
    heads, rows = claims(report)
    if not rows:
        return "% no claims"
    cells = [[latex(cell) for cell in row[1:]] for row in rows]
    return _written(
        list(heads[1:]),
        cells,
        names=[latex(row[0]) for row in rows],
        caption="Claims.",
        label=label,
        environment="longtable",
        columns="lllllp{6cm}",
    )


def _written(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    names: Sequence[str],
    caption: str,
    label: str,
    environment: str | None = None,
    columns: str | None = None,
) -> str:
    frame = pd.DataFrame([[name, *cells] for name, cells in zip(names, rows, strict=True)], columns=["", *heads])
    return str(
        frame.style.hide(axis="index").to_latex(
            hrules=True,
            caption=caption,
            label=label,
            environment=environment,
            position_float=None if environment else "centering",
            column_format=columns or "l" * (1 + len(heads)),
        )
    ).rstrip()


def _cell(entry: Entry) -> str:
    text = "--" if entry.kind == "absent" else latex(entry.text)
    return f"\\textbf{{{text}}}" if entry.best else text


def _label(taken: set[str], *parts: str) -> str:
    wanted = "tab:" + "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") or "x" for part in parts)
    label, number = wanted, 2
    while label in taken:
        label, number = f"{wanted}-{number}", number + 1
    taken.add(label)
    return label

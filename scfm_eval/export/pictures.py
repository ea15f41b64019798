"""The figures of reports as files for a paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scfm_eval.atomic import replacing
from scfm_eval.charts import figures
from scfm_eval.charts.draw import Format, drawn
from scfm_eval.report import Report


def write_figures(reports: Mapping[str, Report], folder: Path, *, format: Format) -> list[Path]:  # noqa: A002
    """Draw every figure of the reports into a folder, several reports into one folder each; returns the files.

    Beside each figure lies its alternative text, ``NAME.txt``: its title, and what is seen.

    Parameters
    ----------
    reports
        Reports by name.
    folder
        Where the figures go.
    format
        Kind of the files.
    """
    made = []
    for place, report in zip(_places(folder, list(reports)), reports.values(), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        for figure in (one.printed() for one in figures(report)):
            path = place / f"{figure.name}.{format}"
            with replacing(path) as temporary:
                temporary.write_bytes(drawn(figure, format))
            path.with_suffix(".txt").write_text(f"{figure.title}\n{figure.alt}\n", encoding="utf-8")
            made.append(path)
    return made


def _places(folder: Path, names: list[str]) -> list[Path]:
    if len(names) == 1:
        return [folder]
    slugs = [re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") for name in names]
    return [folder / f"{number}-{slug}" for number, slug in enumerate(slugs, 1)]

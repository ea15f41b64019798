"""``scfm-eval export``: reports as tables, figures or annotated cells."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scfm_eval.errors import InvalidInputError
from scfm_eval.export.frames import FRAMES, write_csv
from scfm_eval.export.latex import as_latex
from scfm_eval.export.markdown import as_markdown
from scfm_eval.report import Report, read_report

Reports = dict[str, Report]


def add_to(commands: Any) -> None:
    """Declare the command."""
    export = commands.add_parser("export", help="write reports as tables, figures or annotated cells")
    export.add_argument("report", type=Path, nargs="+")
    export.add_argument("--format", choices=_WRITERS, required=True)
    export.add_argument(
        "-o", "--out", type=Path, required=True, metavar="PATH", help="a file; a folder for figures and for all of csv"
    )
    export.add_argument("--what", choices=FRAMES, help="one table of csv instead of all three")
    export.add_argument("--dataset", metavar="SPEC", help="for h5ad: which dataset of the report, and where it is")
    export.set_defaults(act=_export)


def _export(asked: argparse.Namespace) -> None:
    reports = {_name(path, asked.report): read_report(path) for path in asked.report}
    try:
        made = _WRITERS[asked.format](reports, asked)
    except OSError as error:
        raise InvalidInputError(
            asked=f"{asked.format} in {asked.out}", found=str(error), remedy="give a path that can be written"
        ) from error
    print("\n".join(map(str, made)) or "no figures: nothing was measured that could be drawn")


def _name(path: Path, among: list[Path]) -> str:
    """Return the name of the file, or the whole path where two files have one name."""
    return path.name if [other.name for other in among].count(path.name) == 1 else str(path)


def _csv(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    return write_csv(reports, asked.out, what=asked.what)


def _markdown(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    return _text(as_markdown(reports), asked.out)


def _latex(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    return _text(as_latex(reports), asked.out)


def _text(text: str, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return [path]


def _figures(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    # the drawing library is slow to load, and tables do without
    from scfm_eval.export.pictures import write_figures

    return write_figures(reports, asked.out, format=asked.format)


def _h5ad(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    from scfm_eval.discovery import find_dataset
    from scfm_eval.export.cells import annotated, datasets_of, write_cells
    from scfm_eval.store import Store

    names = [name for report in reports.values() for name in datasets_of(report)]
    if len(reports) > 1 or (asked.dataset is None and len(names) != 1):
        raise InvalidInputError(
            asked=f"the cells of {', '.join(reports)} in one file",
            found=f"{len(reports)} reports, with arrays or predictions of {', '.join(names) or 'no dataset'}",
            remedy="give one report, and name one of its datasets with --dataset",
        )
    (report,) = reports.values()
    made, missing = annotated(report, find_dataset(asked.dataset or names[0]), store=Store())
    for what in missing:
        print(f"missing: {what}")
    return [write_cells(made, asked.out)]


_WRITERS: dict[str, Callable[[Reports, argparse.Namespace], list[Path]]] = {
    "csv": _csv,
    "md": _markdown,
    "latex": _latex,
    "png": _figures,
    "svg": _figures,
    "pdf": _figures,
    "h5ad": _h5ad,
}

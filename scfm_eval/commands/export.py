"""``scfm-eval export``: reports as tables, figures or annotated cells."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scfm_eval.commands.written import refusing, written
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
    _check_used(asked)
    reports = {_name(path, asked.report): read_report(path) for path in asked.report}
    made = _WRITERS[asked.format](reports, asked)
    print("\n".join(map(str, made)) or "no figures: nothing was measured that could be drawn")


def _check_used(asked: argparse.Namespace) -> None:
    for option, given, used_by in (("--what", asked.what, "csv"), ("--dataset", asked.dataset, "h5ad")):
        if given is not None and asked.format != used_by:
            raise InvalidInputError(
                asked=f"{option} {given} with --format {asked.format}",
                found=f"{option} is for {used_by} only",
                remedy=f"leave it out, or give --format {used_by}",
            )


def _name(path: Path, among: list[Path]) -> str:
    """Return the name of the file, or the whole path where two files have one name."""
    return path.name if [other.name for other in among].count(path.name) == 1 else str(path)


def _csv(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    with refusing(asked.out):
        return write_csv(reports, asked.out, what=asked.what)


def _markdown(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    return [written(asked.out, as_markdown(reports))]


def _latex(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    return [written(asked.out, as_latex(reports))]


def _figures(reports: Reports, asked: argparse.Namespace) -> list[Path]:
    # the drawing library is slow to load, and tables do without
    from scfm_eval.export.pictures import write_figures

    with refusing(asked.out):
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
    store = Store()
    made, missing = annotated(report, find_dataset(asked.dataset or names[0]), store=store)
    if missing and not made.uns["scfm_eval"]["embedded"]:
        raise InvalidInputError(
            asked=f"the cells of {', '.join(reports)} with embeddings",
            found=f"none of them: {'; '.join(missing)}; the store is {store.folder}",
            remedy="set SCFM_EVAL_CACHE to the cache of the run, whose folder store has the embeddings, or run again",
        )
    for what in missing:
        print(f"missing: {what}")
    with refusing(asked.out):
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

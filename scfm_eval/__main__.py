"""``scfm-eval``: what is there, fetch a dataset, show a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scfm_eval.discovery import dataset_names, find_dataset, find_model, model_names
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import card
from scfm_eval.report import read_report, schema
from scfm_eval.tables import render


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 when what was given cannot be used."""
    asked = _parser().parse_args(arguments)
    try:
        asked.act(asked)
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scfm-eval", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("list", help="models, baselines, controls and datasets").set_defaults(act=_list)
    fetch = commands.add_parser("fetch", help="download datasets into the cache")
    fetch.add_argument("dataset", nargs="+")
    fetch.set_defaults(act=_fetch)
    show = commands.add_parser("show", help="print the tables of a report")
    show.add_argument("report", type=Path)
    show.add_argument("--task", help="of this task only, with every score")
    show.set_defaults(act=_show)
    commands.add_parser("schema", help="print the JSON Schema of a report").set_defaults(act=_schema)
    return parser


def _list(asked: argparse.Namespace) -> None:
    del asked
    # names are there to be copied: none is ever cut
    console = Console(width=max(Console().width, 160))
    models = Table("name", "role", "gene ids", "licence", "revision", title="models")
    models.columns[0].no_wrap = True
    for name in model_names():
        about = card(find_model(name), name=name)
        models.add_row(about.name, about.role, about.gene_ids or "any", about.licence, about.revision)
    console.print(models)
    datasets = Table("name", "keys", "gene ids", "licence", title="datasets")
    datasets.columns[0].no_wrap = True
    for name in dataset_names():
        declared = find_dataset(name)
        datasets.add_row(declared.name, ", ".join(declared.keys), declared.gene_ids, declared.licence)
    console.print(datasets)


def _fetch(asked: argparse.Namespace) -> None:
    for name in asked.dataset:
        cells = find_dataset(name).load()
        print(f"{name}: {cells.n_obs} cells, {cells.n_vars} genes")


def _show(asked: argparse.Namespace) -> None:
    report = read_report(asked.report)
    tasks = sorted({result.task for result in report.results})
    if asked.task not in (None, *tasks):
        raise InvalidInputError(
            asked=f"task {asked.task} of {asked.report}", found=f"it has {', '.join(tasks)}", remedy="name one of these"
        )
    print(render(report, width=Console().width, task=asked.task), end="")


def _schema(asked: argparse.Namespace) -> None:
    del asked
    print(schema(), end="")


if __name__ == "__main__":
    sys.exit(main())

"""``scfm-eval list`` and ``scfm-eval fetch``: models and datasets that are at hand."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from scfm_eval.discovery import dataset_names, find_dataset, find_model, model_names
from scfm_eval.models.card import card


def add_to(commands: Any) -> None:
    """Declare the commands."""
    commands.add_parser("list", help="models, baselines, controls and datasets").set_defaults(act=_list)
    fetch = commands.add_parser("fetch", help="download datasets into the cache")
    fetch.add_argument("dataset", nargs="+")
    fetch.set_defaults(act=_fetch)


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

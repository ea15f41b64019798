"""``scfm-eval list`` and ``scfm-eval fetch``: models and datasets that are at hand, and those that can be had."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from scfm_eval.commands.model_list import as_json, as_text, listed_models
from scfm_eval.consent import accept_licences
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.discovery import dataset_names, find_dataset, find_model, model_names
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Pretrained, missing_methods

_KINDS = ("models", "datasets")


def add_to(commands: Any) -> None:
    """Declare the commands."""
    listing = commands.add_parser("list", help="models, baselines, controls and datasets")
    listing.add_argument("kind", nargs="?", choices=_KINDS, help="default both")
    listing.add_argument("--json", action="store_true", help="as JSON, with all that the cards of models say")
    listing.set_defaults(act=_list)
    fetch = commands.add_parser("fetch", help="download weights of models, or datasets, into the cache")
    fetch.add_argument("name", nargs="+", help="model or dataset, as `scfm-eval list` names it")
    fetch.add_argument(
        "--accept-licence", action="append", default=[], metavar="NAME", help="accept the licence of a model's weights"
    )
    fetch.set_defaults(act=_fetch)


def _list(asked: argparse.Namespace) -> None:
    models = listed_models({name: find_model(name) for name in model_names()}) if asked.kind != "datasets" else []
    datasets = [find_dataset(name) for name in dataset_names()] if asked.kind != "models" else []
    if asked.json:
        kinds = {"models": as_json(models), "datasets": [_declared(one) for one in datasets]}
        print(json.dumps({kind: kinds[kind] for kind in _KINDS if asked.kind in (None, kind)}, indent=1))
        return
    console = Console()
    if asked.kind != "datasets":
        console.print(as_text(models, width=console.width), crop=False)
    if asked.kind != "models":
        # names are there to be copied: none is ever cut
        Console(width=max(console.width, 160)).print(_datasets(datasets))


def _datasets(datasets: Sequence[Dataset]) -> Table:
    table = Table("name", "keys", "gene ids", "organism", "licence", title="datasets")
    table.columns[0].no_wrap = True
    for column in table.columns:
        column.overflow = "fold"
    for one in datasets:
        table.add_row(*(Text(text) for text in (one.name, ", ".join(one.keys), *map(str, _of(one).values()))))
    return table


def _declared(dataset: Dataset) -> dict[str, Any]:
    return {"name": dataset.name, "keys": list(dataset.keys), **_of(dataset)}


def _of(dataset: Dataset) -> dict[str, Any]:
    return {name: getattr(dataset, name) for name in ("gene_ids", "organism", "licence")}


def _fetch(asked: argparse.Namespace) -> None:
    accept_licences(asked.accept_licence)
    models = set(model_names())
    for name in asked.name:
        print(f"{name}: {_fetched_model(name) if name in models else _fetched_cells(name)}")


def _fetched_model(name: str) -> str:
    model: Any = find_model(name)
    if missing_methods(model, Pretrained):
        raise InvalidInputError(
            asked=f"the weights of {name}", found="a method without weights", remedy="run it as it is"
        )
    folder: Path = model.locate()
    # read, so that a damaged or incomplete download is seen now
    n_genes, files = len(model.vocabulary(folder)), model.sources(folder)
    size = tqdm.format_sizeof(sum(file.stat().st_size for file in files), suffix="B")
    return f"{len(files)} files, {size}, {n_genes} names of genes, in {folder}"


def _fetched_cells(name: str) -> str:
    known = sorted({*model_names(), *dataset_names()})
    if name not in known and not any(mark in name for mark in (".", ":", "->")):
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise InvalidInputError(
            asked=f"to fetch {name}",
            found=f"no model and no dataset of that name; the nearest: {', '.join(near)}",
            remedy="give one of these; `scfm-eval list` prints them all",
        )
    cells = find_dataset(name).load()
    return f"{cells.n_obs} cells, {cells.n_vars} genes"

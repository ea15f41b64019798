"""``scfm-eval list`` and ``scfm-eval fetch``: models and datasets that are at hand, and those that can be had."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from scfm_eval.consent import accept_licences
from scfm_eval.discovery import dataset_names, find_dataset, find_model, model_names
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import Card, card
from scfm_eval.models.protocols import Pretrained, capabilities, missing_methods
from scfm_eval.results import ROLES

_KINDS = ("models", "datasets")


def add_to(commands: Any) -> None:
    """Declare the commands."""
    listing = commands.add_parser("list", help="models, baselines, controls and datasets")
    listing.add_argument("kind", nargs="?", choices=_KINDS, help="default both")
    listing.set_defaults(act=_list)
    fetch = commands.add_parser("fetch", help="download weights of models, or datasets, into the cache")
    fetch.add_argument("name", nargs="+", help="model or dataset, as `scfm-eval list` names it")
    fetch.add_argument(
        "--accept-licence", action="append", default=[], metavar="NAME", help="accept the licence of a model's weights"
    )
    fetch.set_defaults(act=_fetch)


def _list(asked: argparse.Namespace) -> None:
    # names are there to be copied: none is ever cut
    console = Console(width=max(Console().width, 160))
    if asked.kind in (None, "models"):
        console.print(_models())
    if asked.kind in (None, "datasets"):
        console.print(_datasets())


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title)
    table.columns[0].no_wrap = True
    for column in table.columns:
        column.overflow = "fold"
    return table


def _models() -> Table:
    table = _table("models", "name", "role", "parameters", "genes", "layers", "reads", "can", "licence", "weights")
    classes = {name: find_model(name) for name in model_names()}
    about = {name: card(model, name=name) for name, model in classes.items()}
    for name in sorted(classes, key=lambda name: (ROLES.index(about[name].role), name)):
        table.add_row(*_row(classes[name], about[name]))
    table.caption = "`scfm-eval fetch NAME` gets what is to fetch; --weights NAME=FOLDER gives what was got by hand"
    return table


def _row(model: type, about: Card) -> Sequence[str]:
    sizes = (about.published_parameters, about.published_genes, about.published_layers)
    reads = [about.gene_ids or "any", *about.organisms]
    licence = [about.licence, *([f"weights: {about.weights_licence}"] if about.weights_licence else [])]
    return (
        about.name,
        about.role,
        *(_number(size) for size in sizes),
        ", ".join(reads),
        ", ".join(capabilities(model)),
        "; ".join(licence),
        _weights(model, about),
    )


def _number(size: int | None) -> str:
    return "" if size is None else tqdm.format_sizeof(size) if size >= 1_000_000 else str(size)


def _weights(model: Any, about: Card) -> str:
    if missing_methods(model, Pretrained):
        return "needs none"
    if model.available():
        return "here"
    size = "" if about.download_bytes is None else f", {tqdm.format_sizeof(about.download_bytes, suffix='B')}"
    if getattr(model, "repo", None) or getattr(model, "downloads", ()):
        return f"to fetch{size}" + (", licence to accept" if about.asks_licence else "")
    return f"by hand{size}: {about.home or about.citation}"


def _datasets() -> Table:
    table = _table("datasets", "name", "keys", "gene ids", "organism", "licence")
    for name in dataset_names():
        declared = find_dataset(name)
        table.add_row(declared.name, ", ".join(declared.keys), declared.gene_ids, declared.organism, declared.licence)
    return table


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
    cells = find_dataset(name).load()
    return f"{cells.n_obs} cells, {cells.n_vars} genes"

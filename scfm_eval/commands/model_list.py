"""Models that are at hand, and those that can be had: as a table, as a list where that is narrow, and as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from scfm_eval.about_models import licences
from scfm_eval.models.card import Card, card
from scfm_eval.models.protocols import Pretrained, capabilities, missing_methods
from scfm_eval.results import ROLES

WIDE = 150
"""Characters from which on there is room for a table."""

_SIZES = ("parameters", "genes", "layers")
_LEGEND = "`scfm-eval fetch NAME` gets what is to fetch; --weights NAME=FOLDER gives what was got by hand."


@dataclass(frozen=True)
class Listed:
    """One model.

    Parameters
    ----------
    about
        Its card.
    can
        What it can do, in words.
    weights
        ``"needs none"``, ``"here"``, ``"to fetch"`` or ``"by hand"``.
    """

    about: Card
    can: Sequence[str]
    weights: str


def listed_models(classes: Mapping[str, type]) -> list[Listed]:
    """Return models by role and name.

    Parameters
    ----------
    classes
        Classes by the name that they are installed under.
    """
    found = [Listed(card(model, name=name), capabilities(model), _weights(model)) for name, model in classes.items()]
    return sorted(found, key=lambda one: (ROLES.index(one.about.role), one.about.name))


def as_json(models: Sequence[Listed]) -> list[dict[str, Any]]:
    """Return the whole card of each model, with ``capabilities`` and ``weights``."""
    return [
        {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(one.about).items()}
        | {"capabilities": list(one.can), "weights": one.weights}
        for one in models
    ]


def as_text(models: Sequence[Listed], *, width: int) -> RenderableType:
    """Return the models role by role, in a table where there is room for one; no name and no address is ever cut.

    Parameters
    ----------
    models
        By role.
    width
        Characters in a line.
    """
    parts = (_of_role(role, [one for one in models if one.about.role == role], width) for role in ROLES)
    return Group(*(part for made in parts for part in made), Text(_LEGEND))


def _of_role(role: str, models: Sequence[Listed], width: int) -> list[RenderableType]:
    if not models:
        return []
    table = _table(f"{role}s", models)
    if width < WIDE and Console(width=10_000).measure(table).maximum > width:
        return _list(f"{role}s", models)
    homes = [_uncut(f" {one.about.name}: {_home(one)}") for one in models if _home(one)]
    return [table, *([Text(" where weights are got by hand:"), *homes] if homes else []), Text()]


def _table(title: str, models: Sequence[Listed]) -> Table:
    heads = (*_SIZES, "reads", "can", "licence", "weights")
    filled = [_cells(one) for one in models]
    # baselines have no sizes: a column of nothing takes room from the others
    kept = [place for place in range(len(heads)) if any(cells[place] for cells in filled)]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("name", no_wrap=True)
    for place in kept:
        is_size = place < len(_SIZES)
        table.add_column(heads[place], overflow="fold", no_wrap=is_size, justify="right" if is_size else "left")
    for one, cells in zip(models, filled, strict=True):
        table.add_row(*(Text(text) for text in (one.about.name, *(cells[place] for place in kept))))
    return table


def _list(title: str, models: Sequence[Listed]) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(title)]
    for one in models:
        *sizes, reads, can, licence, weights = _cells(one)
        named = [f"{size} {noun}" for size, noun in zip(sizes, _SIZES, strict=True) if size]
        lines = [", ".join([*named, f"reads {reads}"]), f"can {can}", f"licence: {licence}", f"weights: {weights}"]
        parts += [Text(one.about.name, style="bold"), *(Padding(Text(line), (0, 0, 0, 4)) for line in lines)]
        parts += [_uncut(f"    {_home(one)}")] if _home(one) else []
    return [*parts, Text()]


def _uncut(line: str) -> Text:
    return Text(line, no_wrap=True, overflow="ignore")


def _cells(one: Listed) -> tuple[str, ...]:
    about = one.about
    return (
        *(_number(getattr(about, f"published_{size}")) for size in _SIZES),
        ", ".join([f"{about.gene_ids or 'any'} genes", *map(_short, about.organisms)]),
        ", ".join(one.can),
        licences(about),
        _where(one),
    )


def _short(organism: str) -> str:
    genus, _, species = organism.partition(" ")
    return f"{genus[:1]}. {species}" if species else genus


def _number(size: int | None) -> str:
    return "" if size is None else tqdm.format_sizeof(size) if size >= 1_000_000 else str(size)


def _weights(model: Any) -> str:
    if missing_methods(model, Pretrained):
        # what takes weights and cannot look for them is given them
        return "by hand" if "weights" in inspect.signature(model).parameters else "needs none"
    if model.available():
        return "here"
    return "to fetch" if getattr(model, "repo", None) or getattr(model, "downloads", ()) else "by hand"


def _where(one: Listed) -> str:
    about = one.about
    if one.weights in ("needs none", "here"):
        return one.weights
    size = "" if about.download_bytes is None else f", {tqdm.format_sizeof(about.download_bytes, suffix='B')}"
    if one.weights == "to fetch":
        return f"to fetch{size}" + (", licence to accept" if about.asks_licence else "")
    return f"by hand{size}"


def _home(one: Listed) -> str:
    """Return where the weights are that nobody can fetch; empty where they are here, or can be fetched."""
    return one.about.home or one.about.citation if one.weights == "by hand" else ""

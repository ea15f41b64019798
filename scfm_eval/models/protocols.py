"""What a model can do, as method-only protocols, and the card that its class carries.

An adapter is one class in one file with the methods of the capabilities that it has. It is handed a *view*: an
``AnnData`` with raw integer counts in ``X`` (CSR, float32), ``var_names`` in the model's own gene namespace and, where
the dataset has batches, ``obs["batch"]`` (categorical). Nothing else is in it, so that no label can leak.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError

Role = Literal["model", "baseline", "control"]
GeneIds = Literal["symbol", "ensembl"]


class Embedder(Protocol):
    """Turns cells into vectors."""

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one finite row per cell, ``(n_cells, d)``, in the order of ``cells.obs_names``.

        ``cells`` is never changed, and a cell's row never depends on which other cells are in the call.
        """
        ...


class LayerEmbedder(Protocol):
    """Turns cells into one vector per layer."""

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, the input embedding first."""
        ...


class Trainable(Protocol):
    """Learns from the cells of the dataset itself before it embeds; sees training cells only."""

    def fit(self, cells: AnnData) -> None:
        """Learn from ``cells``; a later :meth:`Embedder.embed` may hold cells that were not among them."""
        ...


class LabelTrainable(Protocol):
    """Learns from the labels of the training cells too."""

    def fit_with_labels(self, cells: AnnData, *, labels: NDArray[np.str_]) -> None:
        """Learn from ``cells`` and their ``labels`` ``(n_cells,)``; both are of the training fold."""
        ...


class Pretrained(Protocol):
    """Has weights on disk, and knows which genes they can read before they are loaded."""

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded if need be; raises ``InvalidInputError`` where there is none."""
        ...

    @classmethod
    def available(cls, weights: str | Path | None = None) -> bool:
        """Return whether the weights are on this machine; the network is not touched."""
        ...

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return every file that decides what the weights folder computes."""
        ...

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene ids, in the class's ``gene_ids`` namespace, that the weights folder names."""
        ...


@dataclass(frozen=True)
class Card:
    """What a model's class says about itself; every entry is a class attribute of the same name.

    Parameters
    ----------
    name
        Name in reports, claims and ``-k``.
    role
        ``"model"``, ``"baseline"`` or ``"control"``.
    revision
        Pinned revision of the weights, or the version of the method.
    licence
        Licence of the code and of the weights.
    citation
        DOI.
    gene_ids
        Namespace of the genes that it reads; ``None`` takes the dataset's own.
    needs
        Dataset keys without which it means nothing, e.g. ``("batch",)``.
    sees
        Keys that are put into the view beside the batch; only a control may see ``"label"``.
    trained_here
        Whether the method learns from the dataset itself.
    pretrained_on
        Names of datasets that its pretraining saw.
    transductive
        Whether it embeds all cells of a call together and cannot place others.
    in_default_run
        Whether it runs when no model is named.
    """

    name: str
    role: Role = "model"
    revision: str = ""
    licence: str = "not stated"
    citation: str = ""
    gene_ids: GeneIds | None = None
    needs: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    trained_here: bool = False
    pretrained_on: tuple[str, ...] = ()
    transductive: bool = False
    in_default_run: bool = True


def card(model: type, *, name: str | None = None) -> Card:
    """Return the card of a model class; what the class does not state has the defaults of :class:`Card`.

    Raises
    ------
    InvalidInputError
        If an attribute is of another kind, or a class that is no control asks to see the labels.
    """
    stated: dict[str, Any] = {key: getattr(model, key) for key in Card.__dataclass_fields__ if hasattr(model, key)}
    stated["name"] = name or stated.get("name") or model.__name__.lower()
    made = Card(**stated)
    wrong = _wrong(made)
    if wrong:
        raise InvalidInputError(
            asked=f"the model class {model.__module__}.{model.__qualname__}",
            found=wrong,
            remedy="mend that class attribute",
        )
    return made


def _wrong(made: Card) -> str:
    """Return what is wrong with a card; empty when nothing is."""
    texts = {key: getattr(made, key) for key in ("name", "revision", "licence", "citation")}
    lists = {key: getattr(made, key) for key in ("needs", "sees", "pretrained_on")}
    for key, value in texts.items():
        if not isinstance(value, str):
            return f"{key} = {value!r}, which is no text"
    for key, value in lists.items():
        if not isinstance(value, tuple):
            return f"{key} = {value!r}, which is no tuple"
    if made.role not in get_args(Role):
        return f"role = {made.role!r}, which is none of {', '.join(get_args(Role))}"
    if made.gene_ids not in (None, *get_args(GeneIds)):
        return f"gene_ids = {made.gene_ids!r}, which is none of {', '.join(get_args(GeneIds))}"
    if "label" in made.sees and made.role != "control":
        return "it asks to see the labels, which only a control may"
    return ""


def missing_methods(model: type, capability: type) -> list[str]:
    """Return the methods of ``capability`` that the class ``model`` does not have."""
    return [name for name in vars(capability) if name[0] != "_" and not callable(getattr(model, name, None))]

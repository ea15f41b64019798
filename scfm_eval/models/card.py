"""The card of a model: what its class says about itself before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import GeneIds, Role


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
    licence, weights_licence
        Licence of the code, and of the weights where that is another one.
    asks_licence
        Whether the weights are downloaded only after their licence was accepted by name.
    citation
        DOI.
    home
        Address where the weights are published.
    gene_ids
        Namespace of the genes that it reads; ``None`` takes the dataset's own.
    organisms
        Organisms whose cells it reads, first the one whose genes it names; empty where it does not say.
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
    untrained
        Name of the control that is this very architecture with random weights; empty where there is none.
    definition
        In which points the default is not what the published code computes, and which option gives that.
    exceptions
        Checks of ``tests/conformance`` that it does not pass, by name without ``test_``, with the reason.
    tolerances
        Largest 1 − cosine between a cell's row in a lower precision and in float32, by precision.
    published_parameters, published_genes, published_layers
        Sizes of the published network; ``None`` where they are not known.
    download_bytes
        Size of what is downloaded; ``None`` where it is not known.
    """

    name: str
    role: Role = "model"
    revision: str = ""
    licence: str = "not stated"
    weights_licence: str = ""
    asks_licence: bool = False
    citation: str = ""
    home: str = ""
    gene_ids: GeneIds | None = None
    organisms: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    trained_here: bool = False
    pretrained_on: tuple[str, ...] = ()
    transductive: bool = False
    in_default_run: bool = True
    untrained: str = ""
    definition: str = ""
    exceptions: Mapping[str, str] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    published_parameters: int | None = None
    published_genes: int | None = None
    published_layers: int | None = None
    download_bytes: int | None = None


_KINDS: dict[Any, tuple[str, tuple[str, ...]]] = {
    str: (
        "text",
        ("name", "revision", "licence", "weights_licence", "citation", "home", "untrained", "definition"),
    ),
    tuple: ("tuple", ("organisms", "needs", "sees", "pretrained_on")),
    bool: ("True or False", ("asks_licence", "trained_here", "transductive", "in_default_run")),
    Mapping: ("dictionary", ("exceptions", "tolerances")),
    int | None: (
        "whole number",
        ("published_parameters", "published_genes", "published_layers", "download_bytes"),
    ),
}


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
    wrong_kind = [
        f"{key} = {getattr(made, key)!r}, which is no {said}"
        for kind, (said, keys) in _KINDS.items()
        for key in keys
        if not isinstance(getattr(made, key), kind)
    ]
    if wrong_kind:
        return wrong_kind[0]
    if made.role not in get_args(Role):
        return f"role = {made.role!r}, which is none of {', '.join(get_args(Role))}"
    if made.gene_ids not in (None, *get_args(GeneIds)):
        return f"gene_ids = {made.gene_ids!r}, which is none of {', '.join(get_args(GeneIds))}"
    if "label" in made.sees and made.role != "control":
        return "it asks to see the labels, which only a control may"
    return ""

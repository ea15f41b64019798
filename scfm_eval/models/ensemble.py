"""Ensembles: models that decide together, by the majority of the neighbours that each of them finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import Card, card
from scfm_eval.models.protocols import Embedder, learns_here, missing_methods

_ROLES = ("model", "baseline", "control")


class Ensemble:
    """Models that decide together; :func:`ensemble` makes the class of some of them.

    It has no embedding of its own, so that only a task that asks each member can score it: annotation, where the votes
    of the 10 nearest neighbours of each member are pooled.
    """

    name: ClassVar[str]
    members: ClassVar[tuple[type, ...]]
    citation: ClassVar[str] = "10.1038/s41551-024-01284-6"
    definition: ClassVar[str] = (
        "The votes of the 10 nearest neighbours that each member finds by cosine distance are pooled, and all count "
        "alike; between labels with as many votes, the first in alphabetical order is taken."
    )


def ensemble(members: Sequence[type]) -> type[Ensemble]:
    """Return the class of an ensemble; the order of its members does not matter.

    Parameters
    ----------
    members
        Classes of models that embed, each under a name of its own.

    Raises
    ------
    InvalidInputError
        There is no member, one embeds nothing or is shown the labels, two have one name, or no organism is read by all.
    """
    named = {card(member).name: member for member in members}
    wrong = _wrong([card(member) for member in members], members)
    if wrong:
        raise InvalidInputError(
            asked=f"an ensemble of {' + '.join(card(member).name for member in members) or 'nothing'}",
            found=wrong,
            remedy="name models or baselines that embed cells, each once",
        )
    order = sorted(named)
    about = {"name": "+".join(order), "members": tuple(named[name] for name in order)}
    joint = _joint([card(named[name]) for name in order], members)
    return type("Ensemble", (Ensemble,), {**joint, **about, "__doc__": f"The ensemble of {', '.join(order)}."})


def _wrong(cards: Sequence[Card], members: Sequence[type]) -> str:
    """Return what keeps models from being an ensemble, in words; empty when nothing does."""
    if not members:
        return "no member"
    for about, member in zip(cards, members, strict=True):
        missing = missing_methods(member, Embedder)
        if missing:
            return f"{about.name} has no method {', '.join(missing)}"
        if "label" in about.sees:
            return f"{about.name}, which is shown the labels"
    names = [about.name for about in cards]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        return f"two members named {twins[0]}"
    stated = [about.organisms for about in cards if about.organisms]
    return "members that read no organism in common" if stated and not _shared(stated) else ""


def _joint(cards: Sequence[Card], members: Sequence[type]) -> dict[str, object]:
    """Return what the card of an ensemble takes over from its members."""
    licences = [about.licence for about in cards]
    weights = [about.weights_licence for about in cards if about.weights_licence]
    return {
        "role": next(role for role in _ROLES if any(about.role == role for about in cards)),
        "revision": " + ".join(about.revision for about in cards),
        "licence": " + ".join(dict.fromkeys(licences)),
        "weights_licence": " + ".join(dict.fromkeys(weights)),
        "organisms": _shared([about.organisms for about in cards if about.organisms]),
        "needs": tuple(dict.fromkeys(key for about in cards for key in about.needs)),
        "pretrained_on": tuple(dict.fromkeys(name for about in cards for name in about.pretrained_on)),
        "trained_here": any(about.trained_here for about in cards) or any(learns_here(member) for member in members),
        "transductive": any(about.transductive for about in cards),
    }


def _shared(organisms: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the organisms that every member reads which states any."""
    return tuple(name for name in organisms[0] if all(name in others for others in organisms)) if organisms else ()

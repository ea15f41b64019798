"""Asking a model, or each member of an ensemble, on one dataset; and what is known of the answers taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scfm_eval.answers import StoredAnswers
from scfm_eval.cells import Cells, model_view
from scfm_eval.datasets.view import Readable
from scfm_eval.device import Resident
from scfm_eval.models.card import Card, card
from scfm_eval.models.options import other_options
from scfm_eval.models.protocols import members_of
from scfm_eval.provenance import weights_folder
from scfm_eval.store import Store, key_of


def ask(
    model: type,
    about: Card,
    cells: Cells,
    store: Store,
    resident: Resident,
    *,
    weights: Path | None,
    member_weights: Mapping[str, Path] | None,
) -> tuple[StoredAnswers, list[Readable]]:
    """Return the answers of a model that nothing was asked of yet, and how much of the cells each member can read.

    Each member of an ensemble is given its own view and weights, as it would be alone.

    Parameters
    ----------
    model, about, cells
        The class, its card, and the cells.
    store, resident
        Where answers are kept, and what holds the one loaded model.
    weights, member_weights
        Local weights of the model, and of the members of an ensemble by their names.

    Raises
    ------
    InvalidInputError
        Weights are nowhere, or a model cannot read the genes.
    """
    folder = weights_folder(model, weights, offline=bool(resident.settings.get("offline")))
    members = members_of(model)
    if members == (model,):
        seen, readable = model_view(model, about, cells, weights=folder)
        return StoredAnswers(model, about, cells, seen, store, resident, folder), [readable]
    asked = [
        ask(
            member,
            card(member),
            cells,
            store,
            resident,
            weights=(member_weights or {}).get(card(member).name),
            member_weights=None,
        )
        for member in members
    ]
    each = tuple(answers for answers, _ in asked)
    together = StoredAnswers(model, about, cells, each[0].view, store, resident, None, each=each)
    return together, [readable for _, (readable,) in asked]


def least(readable: Sequence[Readable]) -> Readable:
    """Return what the member reads that reads least of the counts."""
    return min(readable, key=lambda one: one.counts)


def shares(answers: StoredAnswers, readable: Sequence[Readable]) -> list[str]:
    """Return what each member of an ensemble reads, in words; nothing for any other model."""
    return [
        f"{one.card.name} reads {read.genes:.1%} of the genes with {read.counts:.1%} of the counts"
        for one, read in zip(answers.each, readable, strict=False)
    ]


def made(answers: StoredAnswers) -> list[dict[str, Any]]:
    """Return what is known of the making of every answer that was used, member by member."""
    return [facts for one in answers.members() for facts in one.facts]


def from_store(answers: StoredAnswers) -> bool:
    """Return whether every answer that was used had been made before."""
    return all(was_there for one in answers.members() for was_there in one.from_store)


def arrays(answers: StoredAnswers) -> dict[str, str]:
    """Return the store keys of a model's answers; those of an ensemble are named ``<kind> of <member>``."""
    if not answers.each:
        return answers.arrays
    return {f"{kind} of {one.card.name}": key for one in answers.each for kind, key in one.arrays.items()}


def parameters(answers: StoredAnswers, *, seed: int) -> dict[str, Any]:
    """Return the constructor arguments of a model; those of an ensemble by member."""
    if not answers.each:
        return answers.parameters(seed)
    return {one.card.name: one.parameters(seed) for one in answers.each}


def options(answers: StoredAnswers) -> dict[str, Any]:
    """Return the options of a model that are not the defaults of its class; those of an ensemble by member."""
    if not answers.each:
        return other_options(answers.model)
    return {one.card.name: others for one in answers.each if (others := other_options(one.model))}


def loaded(answers: StoredAnswers) -> dict[str, Any]:
    """Return what is known of the loaded weights; of an ensemble all parameters, one hash, and the lowest share."""
    first = [one.facts[0] if one.facts else {} for one in answers.members()]
    if not answers.each:
        return first[0]
    each = {key: [facts.get(key) for facts in first] for key in ("n_parameters", "loaded_share", "weights_sha256")}
    shares = [share for share in each["loaded_share"] if share is not None]
    return {
        "n_parameters": None if None in each["n_parameters"] else sum(each["n_parameters"]),
        "loaded_share": min(shares, default=None),
        "weights_sha256": key_of(weights=each["weights_sha256"]) if any(each["weights_sha256"]) else None,
    }

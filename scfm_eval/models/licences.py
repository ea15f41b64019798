"""Licences of weights that are not free for every use: accepted by name, once, before the first download."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from scfm_eval.atomic import replacing
from scfm_eval.datasets.download import cache_folder
from scfm_eval.errors import InvalidInputError


def accept(name: str, *, licence: str) -> Path:
    """Record in the cache that the user has accepted the licence of a model's weights, and return that record.

    Parameters
    ----------
    name, licence
        The model, and its licence as its card states it: another licence has to be accepted anew.
    """
    said = {"model": name, "licence": licence, "accepted": datetime.now(UTC).isoformat(timespec="seconds")}
    path = cache_folder() / "licences" / f"{name}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(said, indent=1), encoding="utf-8")
    return path


def is_accepted(name: str, *, licence: str) -> bool:
    """Return whether this licence of a model was accepted on this machine."""
    path = cache_folder() / "licences" / f"{name}.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("licence") == licence


def require_accepted(name: str, *, licence: str, address: str, by_hand: str = "") -> None:
    """Refuse to get weights before their licence was accepted.

    Parameters
    ----------
    name
        Name of the model.
    licence
        Empty where nothing is asked.
    address
        Where the licence can be read.
    by_hand
        Where the weights are got by hand; empty where they are downloaded once it was accepted.

    Raises
    ------
    InvalidInputError
        The licence was not accepted on this machine.
    """
    if licence and not is_accepted(name, licence=licence):
        where = f" at {address}" if address else ""
        no_address = f"no open address: they are got by hand from {by_hand}; and " if by_hand else ""
        then = f", get the files from {by_hand}, and put their folder at $SCFM_EVAL_WEIGHTS/{name}" if by_hand else ""
        raise InvalidInputError(
            asked=f"a download of the weights of {name}",
            found=f"{no_address}a licence that has not been accepted here: {licence}",
            remedy=f"read it{where}; if you accept it, add --accept-licence {name}{then}",
        )

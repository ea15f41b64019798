"""Licences of weights that a user accepts by the name of the model."""

from __future__ import annotations

from collections.abc import Iterable

from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.licences import accept


def accept_licences(names: Iterable[str]) -> None:
    """Record that the user has accepted the licences of the weights of these models, and say so.

    Raises
    ------
    InvalidInputError
        There is no such model, or its weights ask for nothing.
    """
    for name in names:
        about = card(find_model(name))
        if not about.asks_licence:
            raise InvalidInputError(
                asked=f"to accept the licence of {name}",
                found=f"weights that do not ask for it: {about.weights_licence or about.licence}",
                remedy="leave --accept-licence out",
            )
        licence = about.weights_licence or about.licence
        record = accept(about.name, licence=licence)
        print(f"the licence of the weights of {about.name} is accepted ({licence}): recorded in {record}")

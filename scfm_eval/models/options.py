"""A model with other options than those of its class: what it computes, its name stays."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from typing import Any

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card

_OF_THE_RUN = ("device", "offline", "precision", "seed", "weights")


def with_options(model: type, options: Mapping[str, str]) -> type:
    """Return a class that is constructed with other values of some of its options.

    Its signature has them as defaults, so that reports state them and answers of other options are never taken for
    its own.

    Parameters
    ----------
    model
        The class.
    options
        Values as text, by option: ``true``, ``3``, ``0.5``, or anything else as it is.

    Raises
    ------
    InvalidInputError
        The constructor has no such option, or the run has one of its own for it.
    """
    if not options:
        return model
    signature = inspect.signature(model)
    known = [name for name in signature.parameters if name not in _OF_THE_RUN]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InvalidInputError(
            asked=f"{card(model).name} with the option {unknown[0]}",
            found=f"--{unknown[0]} is an option of the run" if unknown[0] in _OF_THE_RUN else "no such option",
            remedy=f"give one of {', '.join(known)}" if known else "it has none",
        )
    chosen = {name: _read(text) for name, text in options.items()}
    parameters = [
        known.replace(default=chosen[name]) if name in chosen else known for name, known in signature.parameters.items()
    ]

    def construct(self: Any, **given: Any) -> None:
        model.__init__(self, **{**chosen, **given})  # type: ignore[misc]

    same = {name: getattr(model, name) for name in ("__module__", "__qualname__", "__doc__")}
    stated = {name: value for name, value in chosen.items() if hasattr(model, name)}
    return type(
        model.__name__,
        (model,),
        {**same, **stated, "__init__": construct, "__signature__": signature.replace(parameters=parameters)},
    )


def _read(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, (bool, int, float, str)) else text

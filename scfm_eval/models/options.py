"""Options of a model: which values mean something, and a class with other ones than its own, whose name stays."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card

_OF_THE_RUN = ("device", "offline", "precision", "seed", "weights")
_OTHERS = "_other_options"


def require_known(option: str, value: object, *, known: Collection[str]) -> None:
    """Raise ``InvalidInputError``, which names the known ones, for a value that an option does not have."""
    if value not in known:
        raise _meaningless(option, value, remedy=f"give one of {', '.join(known)}")


def require_flag(option: str, value: object) -> None:
    """Raise ``InvalidInputError`` for a value that is neither true nor false."""
    if not isinstance(value, bool):
        raise _meaningless(option, value, remedy="give true or false")


def require_whole(option: str, value: object, *, least: int | None = None) -> None:
    """Raise ``InvalidInputError`` for a value that is no whole number, or one below ``least``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or (least is not None and value < least):
        raise _meaningless(
            option, value, remedy="give a whole number" if least is None else f"give a whole number from {least}"
        )


def _meaningless(option: str, value: object, *, remedy: str) -> InvalidInputError:
    return InvalidInputError(asked=f"{option} {value!r}", found="an option without meaning", remedy=remedy)


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

    others = {name: value for name, value in chosen.items() if value != signature.parameters[name].default}
    same = {name: getattr(model, name) for name in ("__module__", "__qualname__", "__doc__")}
    stated = {name: value for name, value in chosen.items() if hasattr(model, name)}
    return type(
        model.__name__,
        (model,),
        {
            **same,
            **stated,
            _OTHERS: others,
            "__init__": construct,
            "__signature__": signature.replace(parameters=parameters),
        },
    )


def other_options(model: type) -> dict[str, Any]:
    """Return the options of a class that are not its defaults, by name; see :func:`with_options`."""
    return dict(vars(model).get(_OTHERS, {}))


def _read(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, (bool, int, float, str)) else text

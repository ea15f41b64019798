"""Pickles of plain data: containers, strings, numbers and numpy arrays; whatever else one names is not run."""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError

# booleans, numbers, bytes, text and objects; no structures, whose parts could lie outside of them
_CODES = re.compile(r"\??|[biufcSU]\d{1,9}|O8?")


class Inert:
    """Stands for an object of a file whose class is not wanted: its data are kept, and nothing of the class is run.

    Attributes
    ----------
    arguments, state
        What the object would have been made from, and what it would have been filled with.
    """

    arguments: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *arguments: Any) -> Inert:
        """Keep the arguments; pickles fill some objects without ever calling ``__init__``."""
        made = super().__new__(cls)
        made.arguments = arguments
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Kind:
    """Stands for a type of numpy, whose own state a file could set to something that reads other memory."""

    def __init__(self, code: str, *_: Any) -> None:
        if not _CODES.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of the type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if any(state[2:5]) or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array of a type with parts, or of bytes in no order")
        self.order = state[1]

    def made(self) -> np.dtype[Any]:
        """Return the type itself."""
        return np.dtype(self.order + self.code)


class _Array(np.ndarray[Any, Any]):
    """An array that takes from a file only as many values as the file has."""

    def __new__(cls, *_: Any) -> _Array:
        """Make an empty array, whatever the file asks for."""
        return super().__new__(cls, (0,), "b")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, kind, is_fortran, data = state
        dtype = kind.made()
        n_values = math.prod(shape)
        n_there = len(data) if dtype.hasobject else len(data) / dtype.itemsize if dtype.itemsize else -1
        if min(shape, default=0) < 0 or n_values != n_there or isinstance(data, list) != dtype.hasobject:
            raise pickle.UnpicklingError(f"{len(data)} values or bytes for an array of shape {shape} and type {dtype}")
        super().__setstate__((version, shape, dtype, is_fortran, data))


def _reconstructed(*_: Any) -> _Array:
    return _Array()


def _scalar(kind: _Kind, data: bytes) -> Any:
    return np.frombuffer(data, kind.made(), count=1)[0]


def _from_buffer(data: Any, kind: _Kind, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    return np.frombuffer(data, kind.made()).reshape(shape, order="F" if order == "F" else "C")


def _dictionary(*arguments: Any) -> dict[Any, Any]:
    return dict(arguments[0]) if arguments and isinstance(arguments[0], list) else {}


def _bytes(*arguments: Any) -> bytes:
    # protocol 2 writes empty bytes so; a number would be a size, and the memory for it
    if arguments:
        raise pickle.UnpicklingError("bytes made of something else")
    return b""


def _latin1(text: str, encoding: str) -> bytes:
    # protocol 2 writes the bytes of numpy scalars in this way, always as latin1
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding}")
    return text.encode("latin1")


_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "_reconstruct"): _reconstructed,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "dtype"): _Kind,
    ("numpy", "ndarray"): _Array,
    ("collections", "OrderedDict"): _dictionary,
    ("collections", "defaultdict"): _dictionary,
    ("builtins", "dict"): _dictionary,
    ("builtins", "bytes"): _bytes,
    ("__builtin__", "bytes"): _bytes,
    ("_codecs", "encode"): _latin1,
}

_LEAVES = {float, int, str, bool, type(None)}

FILLED = (_Kind, _Array)
"""Stand-ins that a pickle fills after it made them."""


class _PlainUnpickler(pickle.Unpickler):
    """Knows what is harmless; a pickle that names anything else is refused."""

    def __init__(self, content: bytes, *, path: Path, inert: Sequence[str]) -> None:
        super().__init__(io.BytesIO(content))
        self._path, self._inert = path, inert

    def find_class(self, module: str, name: str) -> Any:
        return stand_in(module, name, inert=self._inert, path=self._path)


def unpickled(content: bytes, *, path: Path, inert: Sequence[str] = ()) -> Any:
    r"""Return the plain data in a pickle that :func:`~scfm_eval.trial.require_survived` let through.

    Parameters
    ----------
    content
        The pickle.
    path
        Where it is from.
    inert
        Regular expressions of classes and functions, e.g. ``r"sklearn\..*"``, in whose place :class:`Inert` stands.

    Raises
    ------
    InvalidInputError
        It names something else.
    Exception
        It is damaged; that can be nearly any.
    """
    return settled(_PlainUnpickler(content, path=path, inert=inert).load())


def stand_in(module: str, name: str, *, inert: Sequence[str], path: Path) -> Any:
    """Return what stands for a class or a function that a pickle names.

    Parameters
    ----------
    module, name
        What the pickle says.
    inert, path
        See :func:`unpickled`.

    Raises
    ------
    InvalidInputError
        It is not harmless, and not to be inert.
    """
    known = _HARMLESS.get((module.replace("numpy.core", "numpy._core"), name))
    if known is None and any(re.fullmatch(pattern, f"{module}.{name}") for pattern in inert):
        return type(name, (Inert,), {})
    if known is None:
        raise InvalidInputError(
            asked=f"plain data in {path}",
            found=f"a pickle that calls {module}.{name}; nothing of it was executed",
            remedy="use the file of the pinned release, or convert the dictionary to .json",
        )
    return known


def settled(content: Any) -> Any:
    """Return content without stand-ins: arrays are those of numpy, and dictionaries those of Python."""
    return _Settled().one(content)


class _Settled:
    """Goes through content, and through what occurs in it several times only once."""

    def __init__(self) -> None:
        # the values are kept too, so that no other one gets their id
        self._done: dict[int, tuple[Any, Any]] = {}

    def one(self, value: Any) -> Any:
        if isinstance(value, _Kind):
            return value.made()
        if not isinstance(value, dict | list | tuple | _Array | Inert):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = (self._anew(value), value)
        return self._done[id(value)][0]

    def _anew(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.one(key): self.one(part) for key, part in dict.items(value)}
        if isinstance(value, Inert):
            value.arguments, value.state = self.one(value.arguments), self.one(value.state)
            return value
        if isinstance(value, _Array):
            return self._array(value)
        if set(map(type, value)) <= _LEAVES or type(value) not in (list, tuple):
            return value
        return type(value)(map(self.one, value))

    def _array(self, value: _Array) -> NDArray[Any]:
        made = value.view(np.ndarray)
        if made.dtype.hasobject:
            for place, part in np.ndenumerate(made):
                made[place] = self.one(part)
        return made

"""How weights are read: nothing that a file holds is executed, and nothing is skipped in silence."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.files import refusing

if TYPE_CHECKING:
    from torch import Tensor, nn

Network = TypeVar("Network", bound="nn.Module")

_SHOWN = 5
_SAID = 200  # characters
_MOST, _MOST_LAYERS = 10_000_000, 1_000
_FETCH_AGAIN = "fetch the file again from the pinned release"


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


class _PlainUnpickler(pickle.Unpickler):
    """Knows containers, strings, numbers and numpy arrays; a pickle that names anything else is refused."""

    def __init__(self, content: bytes, *, path: Path, inert: Sequence[str]) -> None:
        super().__init__(io.BytesIO(content))
        self._path, self._inert = path, inert

    def find_class(self, module: str, name: str) -> Any:
        return _stand_in(module, name, inert=self._inert, path=self._path)


def _stand_in(module: str, name: str, *, inert: Sequence[str], path: Path) -> Any:
    known = _harmless().get((module.replace("numpy.core", "numpy._core"), name))
    if known is None and any(re.fullmatch(pattern, f"{module}.{name}") for pattern in inert):
        return type(name, (Inert,), {})
    if known is None:
        raise InvalidInputError(
            asked=f"plain data in {path}",
            found=f"a pickle that calls {module}.{name}; nothing of it was executed",
            remedy="use the file of the pinned release, or convert the dictionary to .json",
        )
    return known


def _harmless() -> dict[tuple[str, str], Any]:
    from numpy._core import multiarray, numeric

    return {
        ("numpy._core.multiarray", "scalar"): multiarray.scalar,
        ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
        ("numpy._core.numeric", "_frombuffer"): numeric._frombuffer,  # type: ignore[attr-defined]
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): _plain_dictionary,
        ("builtins", "dict"): dict,
        ("builtins", "bytes"): bytes,
        ("_codecs", "encode"): _latin1,
    }


def _plain_dictionary(*_: Any) -> dict[Any, Any]:
    return {}


def _latin1(text: str, encoding: str) -> bytes:
    # protocol 2 writes the bytes of numpy scalars in this way, always as latin1
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding}")
    return text.encode("latin1")


def read_pickle(path: Path, *, inert: Sequence[str] = ()) -> Any:
    r"""Return the plain data in a pickle or a ``.json`` file; nothing in it is executed.

    Plain are containers, strings, numbers and numpy scalars and arrays.

    Parameters
    ----------
    path
        The file.
    inert
        Regular expressions of classes and functions, e.g. ``r"sklearn\..*"``, in whose place :class:`Inert` stands.

    Raises
    ------
    InvalidInputError
        The file is absent, cut short, or names something else.
    """
    with refusing(asked=f"the content of {path}", remedy=_FETCH_AGAIN):
        content = path.read_bytes()
        if path.suffix == ".json":
            return json.loads(content, object_pairs_hook=_each_once)
        return _PlainUnpickler(content, path=path, inert=inert).load()


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def read_dictionary(path: Path, *, inert: Sequence[str] = ()) -> dict[str, Any]:
    """Return the dictionary in a pickle or a ``.json`` file; as :func:`read_pickle`, and raises for other data too."""
    content = read_pickle(path, inert=inert)
    if isinstance(content, Mapping):
        return dict(content)
    raise InvalidInputError(asked=f"a dictionary in {path}", found=f"a {type(content).__name__}", remedy=_FETCH_AGAIN)


def read_tokens(path: Path) -> dict[str, int]:
    """Return the token id of each name in a dictionary of ``n`` names: each of 0 to ``n - 1`` once.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or an id is no whole number, outside that range, or of two names.
    """
    tokens = read_dictionary(path)
    strange = [
        f"{name!r}: {value!r}"
        for name, value in tokens.items()
        if not (isinstance(name, str) and is_whole(value) and 0 <= value < len(tokens))
    ]
    if strange or len(set(tokens.values())) < len(tokens):
        raise InvalidInputError(
            asked=f"a token id from 0 to {len(tokens) - 1} for each name in {path}, none twice",
            found=textwrap.shorten(few(strange), _SAID) if strange else "ids that several names have",
            remedy=_FETCH_AGAIN,
        )
    return {name: int(value) for name, value in tokens.items()}


def require_sizes(said: Mapping[str, Any], names: Iterable[str], *, path: Path) -> None:
    """Refuse settings from ``path`` in which one of the ``names`` is no whole number of 1 or more, or beyond reason."""
    strange = [f"{name} {said.get(name)!r}" for name in names if not _is_size(said.get(name), name=name)]
    if strange:
        raise InvalidInputError(
            asked=f"the sizes of the network in {path}",
            found=f"no usable whole number of 1 or more for {textwrap.shorten(', '.join(strange), _SAID)}",
            remedy="use the file that was published with the checkpoint",
        )


def _is_size(value: Any, *, name: str) -> bool:
    return is_whole(value) and 1 <= value <= (_MOST_LAYERS if "layer" in name or name == "depth" else _MOST)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, be it of numpy; true and false are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def choose_files(folder: Path, candidates: Sequence[tuple[str, ...]]) -> tuple[Path, ...]:
    """Return the first set of files that is complete in a folder.

    Raises
    ------
    InvalidInputError
        No set is complete; the message names the sets and what the folder holds.
    """
    for names in candidates:
        if all((folder / name).exists() for name in names):
            return tuple(folder / name for name in names)
    raise InvalidInputError(
        asked=" or ".join(" + ".join(names) for names in candidates) + f" in {folder}",
        found=few(sorted(file.name for file in folder.iterdir())) or "an empty folder",
        remedy="give the folder that holds the checkpoint",
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file or of a torch state dict, on the CPU; nothing is executed.

    Raises
    ------
    InvalidInputError
        The file is absent, cut short, would execute code, or is not a flat dict of tensors.
    """
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        return only_tensors(read_checkpoint(path), path=path)
    with refusing(asked=f"the content of {path}", remedy=_FETCH_AGAIN):
        return dict(load_file(path))


def read_checkpoint(path: Path, *, inert: Sequence[str] = ()) -> Any:
    """Return what ``torch.save`` wrote, on the CPU: tensors and plain data, nested or not; nothing is executed.

    Parameters
    ----------
    path
        The file.
    inert
        See :func:`read_pickle`; where there are any, numpy arrays are read too.

    Raises
    ------
    InvalidInputError
        The file is absent, cut short, or would execute code.
    """
    import torch

    with refusing(asked=f"the content of {path}", remedy=_FETCH_AGAIN):
        known: list[Any] = []
        if inert:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            known = [(_stand_in(*name.rpartition(".")[::2], inert=inert, path=path), name) for name in named]
            known += {type(np.dtype(code)) for code in np.typecodes["All"]}
        with torch.serialization.safe_globals(known):
            return torch.load(path, weights_only=True, map_location="cpu")


def only_tensors(content: Any, *, path: Path) -> dict[str, Tensor]:
    """Return a part of a checkpoint once it is a flat dictionary of tensors; raises ``InvalidInputError`` else."""
    import torch

    strange = [] if isinstance(content, Mapping) else [type(content).__name__]
    strange = strange or [
        str(name)
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided)
    ]
    if strange:
        raise InvalidInputError(
            asked=f"named tensors in {path}", found=f"other content: {few(strange)}", remedy="give a plain state dict"
        )
    return dict(content)


def renamed(tensors: Mapping[str, Tensor], patterns: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Return a checkpoint under other names.

    Parameters
    ----------
    tensors
        Name to tensor.
    patterns
        Regular expressions with what to put in their place, applied to every name one after the other.

    Raises
    ------
    InvalidInputError
        Two tensors get one name.
    """
    made: dict[str, Tensor] = {}
    for name, value in tensors.items():
        new = name
        for pattern, replacement in patterns:
            new = re.sub(pattern, replacement, new)
        if new in made:
            raise InvalidInputError(
                asked="one tensor of each meaning", found=f"{new} twice, once as {name}", remedy="drop one of them"
            )
        made[new] = value
    return made


def load_strictly(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    tied: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
) -> int:
    """Fill a module from a checkpoint in which every tensor is accounted for.

    Parameters
    ----------
    module
        Changed in place.
    tensors
        The checkpoint, name to tensor.
    tied
        Names that are one tensor with another name; they may be absent, and must be equal where they are not.
    ignored
        Regular expressions of names in the checkpoint that the module does not need.

    Returns
    -------
    int
        Number of parameters loaded; tied ones count once, buffers never.

    Raises
    ------
    InvalidInputError
        A tensor is missing, unexpected, of another shape, or differs from the one that it is tied to.
    """
    wanted, tied = module.state_dict(), tied or {}
    given = _needed(tensors, ignored)
    _require_fit(module, given, tied=tied)
    filled = {name: given[tied.get(name, name)] if name not in given else given[name] for name in wanted}
    module.load_state_dict(filled, strict=True)
    return sum(value.numel() for name, value in module.named_parameters() if name not in tied)


def _needed(tensors: Mapping[str, Tensor], ignored: Collection[str]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not any(re.fullmatch(e, name) for e in ignored)}


def _require_fit(module: nn.Module, given: Mapping[str, Tensor], *, tied: Mapping[str, str]) -> None:
    wanted = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in given and name not in tied]
    faults += [f"{name} is unexpected" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    faults += [
        f"{name} is of type {value.dtype}"
        for name, value in given.items()
        if name in wanted and (value.dtype.is_floating_point != wanted[name].dtype.is_floating_point)
    ]
    faults = faults or [
        f"{name} differs from {other}" for name, other in tied.items() if not _equal(given.get(name), given.get(other))
    ]
    if faults:
        raise InvalidInputError(
            asked=f"a checkpoint for {type(module).__name__}",
            found=f"{len(faults)} tensors that do not fit: {few(faults)}",
            remedy="give the checkpoint of this architecture and size",
        )


@dataclass(frozen=True, eq=False)
class Loaded(Generic[Network]):
    """A network as it was read from a checkpoint.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU.
    n_parameters
        Number of parameters loaded; tied ones count once.
    unused
        Names of tensors of the checkpoint that nothing here needs.
    share
        Share of the tensors of the checkpoint that were loaded, 0 to 1.
    files
        What was read.
    """

    network: Network
    n_parameters: int
    unused: list[str]
    share: float
    files: list[Path]


def loaded(
    build: Callable[[], Network],
    tensors: Mapping[str, Tensor],
    *,
    files: Sequence[Path],
    settings: str = "",
    tied: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
) -> Loaded[Network]:
    """Return a network that was filled from a checkpoint, and how much of that it took.

    Parameters
    ----------
    build
        Makes the network. It is called on torch's meta device first, where nothing takes memory: settings of another
        size than the checkpoint's are refused before a network of that size is made.
    tensors, tied, ignored
        See :func:`load_strictly`, which this raises like.
    files
        What the network was read from.
    settings
        What the sizes were read from, in words; empty where they are those of the tensors themselves.
    """
    import torch

    remedy = "use the settings that were published with the checkpoint"
    with refusing(asked=f"a network of {settings or 'these tensors'}", remedy=remedy):
        if settings:
            with torch.device("meta"):
                _require_fit(build(), _needed(tensors, ignored), tied=tied or {})
        network = build()
    n_parameters = load_strictly(network, tensors, tied=tied, ignored=ignored)
    unused = sorted(tensors.keys() - network.state_dict().keys())
    return Loaded(network, n_parameters, unused, 1 - len(unused) / len(tensors), list(files))


def _equal(copy: Tensor | None, original: Tensor | None) -> bool:
    return copy is None or original is None or bool((copy == original).all())


def few(names: Sequence[str]) -> str:
    """Return the first few names and how many more there are, for a message."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def weights_sha256(files: Iterable[Path]) -> str:
    """Return one SHA-256 of several files: of the lines ``<sha256>  <file name>``, sorted by name."""
    lines = []
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {path.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()

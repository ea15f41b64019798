"""How weights are read: nothing that a file holds is executed, and nothing is skipped in silence."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from scfm_eval import guards
from scfm_eval.bounds import ordinary, read_bytes, read_json
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import pretrained
from scfm_eval.models.files import refusing
from scfm_eval.models.pickles import FILLED, settled, stand_in, unpickled
from scfm_eval.trial import require_survived

if TYPE_CHECKING:
    from torch import Tensor, nn

Network = TypeVar("Network", bound="nn.Module")

_SHOWN = 5
_SAID = 200  # characters
_MOST, _MOST_LAYERS = 10_000_000, 1_000
_FETCH_AGAIN = "fetch the file again from the pinned release"


def read_pickle(path: Path, *, inert: Sequence[str] = ()) -> Any:
    r"""Return the plain data in a pickle or a ``.json`` file; nothing in it is executed.

    Plain are containers, strings, numbers and numpy scalars and arrays.

    Parameters
    ----------
    path
        The file.
    inert
        Regular expressions of classes and functions, e.g. ``r"sklearn\..*"``, in whose place
        :class:`~scfm_eval.models.pickles.Inert` stands.

    Raises
    ------
    InvalidInputError
        The file is absent, cut short, or names something else.
    """
    with refusing(asked=f"the content of {path}", remedy=_FETCH_AGAIN):
        if path.suffix == ".json":
            return read_json(path)
        require_survived("pickle", path)
        return unpickled(read_bytes(path), path=path, inert=inert)


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
        if all((folder / name).is_file() for name in names):
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
        return dict(load_file(ordinary(path)))


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
        require_survived("torch", path)
        known: list[Any] = []
        if inert:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            known = [(stand_in(*name.rpartition(".")[::2], inert=inert, path=path), name) for name in named]
            known += FILLED
        with torch.serialization.safe_globals(known):
            return settled(torch.load(path, weights_only=True, map_location="cpu"))


def only_tensors(content: Any, *, path: Path) -> dict[str, Tensor]:
    """Return a part of a checkpoint once it is a flat dictionary of tensors; raises ``InvalidInputError`` else."""
    import torch

    strange = [] if isinstance(content, Mapping) else [type(content).__name__]
    strange = strange or [
        str(name)
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, torch.Tensor) and _is_plain(value))
    ]
    if strange:
        raise InvalidInputError(
            asked=f"named tensors in {path}", found=f"other content: {few(strange)}", remedy="give a plain state dict"
        )
    return dict(content)


def _is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is dense, on the CPU, and no larger than what is stored of it."""
    import torch

    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
        return False
    return tensor.nbytes <= tensor.untyped_storage().nbytes()


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
    GuardError
        A tensor is missing, unexpected, of another shape, or differs from the one that it is tied to. Without the guard
        ``tensors``, what fits is loaded and the rest stays as it was drawn.
    """
    wanted, tied = module.state_dict(), tied or {}
    given = _needed(tensors, ignored)
    _require_fit(module, given, tied=tied)
    fitting = _fitting(wanted, given, tied=tied)
    module.load_state_dict({**wanted, **fitting}, strict=True)
    return sum(value.numel() for name, value in module.named_parameters() if name in fitting and name not in tied)


def loaded_share(module: nn.Module, tensors: Mapping[str, Tensor], *, tied: Mapping[str, str] | None = None) -> float:
    """Return the share of tensors, of checkpoint and module taken together, that :func:`load_strictly` loads.

    1 where each tensor of the checkpoint is used and none is missing; a tied one that is absent is not missing.
    """
    wanted, tied = module.state_dict(), tied or {}
    all_of_them = tensors.keys() | (wanted.keys() - tied.keys())
    return len(all_of_them & _fitting(wanted, tensors, tied=tied).keys()) / max(len(all_of_them), 1)


def _needed(tensors: Mapping[str, Tensor], ignored: Collection[str]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not any(re.fullmatch(e, name) for e in ignored)}


def _require_fit(module: nn.Module, given: Mapping[str, Tensor], *, tied: Mapping[str, str]) -> None:
    wanted = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if given.get(name, given.get(tied.get(name, ""))) is None]
    faults += [f"{name} is unexpected" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    faults += [
        f"{name} is of type {value.dtype}"
        for name, value in given.items()
        if name in wanted and not _is_alike(value, wanted[name])
    ]
    faults = faults or [
        f"{name} differs from {other}" for name, other in tied.items() if not _equal(given.get(name), given.get(other))
    ]
    if faults:
        guards.refuse(
            "tensors",
            asked=f"a checkpoint for {type(module).__name__}",
            found=f"{len(faults)} tensors that do not fit: {few(faults)}",
            remedy="give the checkpoint of this architecture and size",
        )


def _fitting(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], *, tied: Mapping[str, str]
) -> dict[str, Tensor]:
    found = {name: given.get(name, given.get(tied.get(name, ""))) for name in wanted}
    return {
        name: value
        for name, value in found.items()
        if value is not None and value.shape == wanted[name].shape and _is_alike(value, wanted[name])
    }


def _is_alike(value: Tensor, other: Tensor) -> bool:
    return value.dtype.is_floating_point == other.dtype.is_floating_point


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
        See :func:`loaded_share`.
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
    heads: Mapping[str, str] | None = None,
    outputs: Mapping[str, int] | None = None,
) -> Loaded[Network]:
    """Return a network that was filled from a checkpoint, and how much of that it took.

    Parameters
    ----------
    build
        Makes the network. It is called on torch's meta device first, where nothing takes memory: settings of another
        size than the checkpoint's are refused before a network of that size is made.
    tensors, tied, ignored
        See :func:`load_strictly`, which this raises like.
    heads, outputs
        See :func:`~scfm_eval.models.pretrained.untuned`, which this raises like too.
    files
        What the network was read from.
    settings
        What the sizes were read from, in words; empty where they are those of the tensors themselves.
    """
    import torch

    given = pretrained.untuned(tensors, files=files, heads=heads, outputs=outputs)
    remedy = "use the settings that were published with the checkpoint"
    with refusing(asked=f"a network of {settings or 'these tensors'}", remedy=remedy):
        if settings:
            with torch.device("meta"):
                _require_fit(build(), _needed(given, ignored), tied=tied or {})
        network = build()
    n_parameters = load_strictly(network, given, tied=tied, ignored=ignored)
    unused = sorted(tensors.keys() - _fitting(network.state_dict(), given, tied=tied or {}).keys())
    return Loaded(network, n_parameters, unused, loaded_share(network, tensors, tied=tied), list(files))


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

"""Where weights lie and how they are read: nothing that a file holds is executed, and nothing is skipped in silence."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import textwrap
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfm_eval.datasets.download import cache_folder
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.files import refusing

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN = 5
_SAID = 200  # characters
_FETCH_AGAIN = "fetch the file again from the pinned release"
_PACKAGED = Path(__file__).parent.parent / "weights"


def locate(
    name: str,
    *,
    weights: str | Path | None = None,
    repo: str | None = None,
    revision: str | None = None,
    files: Sequence[str] = (),
    packaged: str | None = None,
    offline: bool = False,
) -> Path:
    """Return the folder that holds a model's weights.

    Looked for in this order: the folder that was given, ``$SCFM_EVAL_WEIGHTS/<name>``, the package itself, the
    Hugging Face cache, and the Hugging Face repository.

    Parameters
    ----------
    name
        Name of the model.
    weights
        Folder that was given; nothing else is tried when there is one.
    repo, revision
        Hugging Face repository and its full commit hash; ``None`` where the model has no such home.
    files
        Paths inside the repository that are needed.
    packaged
        Name of the folder of weights that comes with this package; ``None`` where none does.
    offline
        Never download; the cache is still read.

    Raises
    ------
    InvalidInputError
        The weights are nowhere; the message names every place.
    """
    if weights is not None:
        return _given(name, Path(weights).expanduser())
    here = _here(name, repo=repo, revision=revision, files=files, packaged=packaged)
    if here is not None:
        return here
    if packaged is not None:
        raise _nowhere(name, f"weights/{packaged} is not in the installed package", "install the package again")
    reason = "downloads are off" if offline else "it has no pinned repository"
    if repo is not None and not offline:
        try:
            return _hub(repo, revision=revision, files=files, offline=False)
        except OSError as error:
            reason = f"the download failed: {error}"
    missing = f"{_home(repo, revision)} is not in the Hugging Face cache ({reason})"
    raise _nowhere(name, missing, "allow the download")


def present(
    name: str,
    *,
    weights: str | Path | None = None,
    repo: str | None = None,
    revision: str | None = None,
    files: Sequence[str] = (),
    packaged: str | None = None,
) -> bool:
    """Return whether :func:`locate` finds the weights on this machine; the network is not touched."""
    if weights is not None:
        return Path(weights).expanduser().is_dir()
    return _here(name, repo=repo, revision=revision, files=files, packaged=packaged) is not None


def _nowhere(name: str, missing: str, otherwise: str) -> InvalidInputError:
    mirror = f"a folder without {_mirror(name)}" if _mirror(name) else "not set"
    return InvalidInputError(
        asked=f"the weights of {name}",
        found=f"no folder was given, $SCFM_EVAL_WEIGHTS is {mirror}, and {missing}",
        remedy=f"give a folder (--weights {name}=FOLDER), put one at $SCFM_EVAL_WEIGHTS/{name}, or {otherwise}",
    )


def _given(name: str, folder: Path) -> Path:
    if folder.is_dir():
        return folder
    raise InvalidInputError(
        asked=f"the weights of {name} in {folder}",
        found="a file" if folder.exists() else "no such folder",
        remedy="give the folder that holds the checkpoint and its dictionaries",
    )


def _mirror(name: str) -> Path | None:
    root = os.environ.get("SCFM_EVAL_WEIGHTS")
    return Path(root).expanduser() / name if root else None


def _home(repo: str | None, revision: str | None) -> str:
    return "a repository" if repo is None else f"{repo} at {revision}"


def _here(
    name: str, *, repo: str | None, revision: str | None, files: Sequence[str], packaged: str | None
) -> Path | None:
    mirror = _mirror(name)
    if mirror is not None and mirror.is_dir():
        return mirror
    if packaged is not None:
        inside = _PACKAGED / packaged
        return inside if inside.is_dir() else None
    if repo is None:
        return None
    try:
        folder = _hub(repo, revision=revision, files=files, offline=True)
    except OSError:
        return None
    return folder if all((folder / file).exists() for file in files) else None


def _hub(repo: str, *, revision: str | None, files: Sequence[str], offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repo, revision=revision, allow_patterns=list(files), local_files_only=offline))


def fetch_file(name: str, file: str, *, url: str, sha256: str, offline: bool = False) -> Path:
    """Return a file of a model that lies outside its repository, downloaded once and checked.

    Parameters
    ----------
    name
        Name of the model.
    file
        Name of the file.
    url, sha256
        Where it is published and the SHA-256 of its bytes.
    offline
        Never download; an earlier download is still used.

    Raises
    ------
    InvalidInputError
        The file is neither here nor can it be had, or its bytes are others.
    """
    import pooch

    folder = cache_folder() / "weights" / name
    remedy = f"put {file} beside the checkpoint and give that folder (--weights {name}=FOLDER)"
    if offline and not (folder / file).exists():
        raise InvalidInputError(
            asked=f"{file} of {name}", found=f"it is not in {folder} and downloads are off", remedy=remedy
        )
    try:
        return Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=file, path=folder))
    except (OSError, ValueError) as error:
        raise InvalidInputError(asked=f"{file} of {name} from {url}", found=str(error), remedy=remedy) from error


class _PlainUnpickler(pickle.Unpickler):
    """Knows containers, strings, numbers and numpy arrays; a pickle that names anything else is refused."""

    def __init__(self, content: bytes, *, path: Path) -> None:
        super().__init__(io.BytesIO(content))
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        known = _harmless().get((module.replace("numpy.core", "numpy._core"), name))
        if known is None:
            raise InvalidInputError(
                asked=f"plain data in {self._path}",
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
        ("_codecs", "encode"): _latin1,
    }


def _latin1(text: str, encoding: str) -> bytes:
    # protocol 2 writes the bytes of numpy scalars in this way, always as latin1
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding}")
    return text.encode("latin1")


def read_pickle(path: Path) -> Any:
    """Return the plain data in a pickle or a ``.json`` file; nothing in it is executed.

    Plain are containers, strings, numbers and numpy scalars and arrays.

    Raises
    ------
    InvalidInputError
        The file is absent, cut short, or names something else.
    """
    with refusing(asked=f"the content of {path}", remedy=_FETCH_AGAIN):
        content = path.read_bytes()
        return json.loads(content) if path.suffix == ".json" else _PlainUnpickler(content, path=path).load()


def read_dictionary(path: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle or a ``.json`` file; raises like :func:`read_pickle`, also for other data."""
    content = read_pickle(path)
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
    """Refuse settings from ``path`` in which one of the ``names`` is no whole number of 1 or more."""
    strange = [f"{name} {said.get(name)!r}" for name in names if not (is_whole(said.get(name)) and said[name] >= 1)]
    if strange:
        raise InvalidInputError(
            asked=f"the sizes of the network in {path}",
            found=f"no whole number of 1 or more for {textwrap.shorten(', '.join(strange), _SAID)}",
            remedy="use the file that was published with the checkpoint",
        )


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
    import torch
    from safetensors.torch import load_file

    with refusing(asked=f"the content of {path}", remedy=_FETCH_AGAIN):
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
    strange = [] if isinstance(loaded, Mapping) else [type(loaded).__name__]
    strange = strange or [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise InvalidInputError(
            asked=f"named tensors in {path}", found=f"other content: {few(strange)}", remedy="give a plain state dict"
        )
    return dict(loaded)


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
        Number of parameters loaded; tied ones count once.

    Raises
    ------
    InvalidInputError
        A tensor is missing, unexpected, of another shape, or differs from the one that it is tied to.
    """
    wanted, tied = module.state_dict(), tied or {}
    given = {name: value for name, value in tensors.items() if not any(re.fullmatch(e, name) for e in ignored)}
    faults = [f"{name} is missing" for name in wanted if name not in given and name not in tied]
    faults += [f"{name} is unexpected" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
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
    filled = {name: given[tied.get(name, name)] if name not in given else given[name] for name in wanted}
    module.load_state_dict(filled, strict=True)
    return sum(given[name].numel() for name in wanted if name not in tied)


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

"""What an answer was made with: the source of the adapter, the weights, where they lie."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Pretrained, members_of, missing_methods

_PACKAGE = "scfm_eval"


@cache
def adapter_sha256(model: type) -> str:
    """Return the hash of a model's source, so that an edit makes its answers anew.

    For a class of this package: its file, those of its parents, and every file of this package that one of them
    imports, directly or through others. For any other class: every Python file of the folder that the class's file is
    in, and of the folders below where it is a package. What a class states as ``made_with`` is hashed too: a model
    under another Python says there what that runs. Weights that a class opens by itself are not seen: they have to
    come through ``weights``.
    """
    own = {sys.modules[part.__module__] for part in model.__mro__ if part.__module__ not in ("builtins", "typing")}
    files = {Path(module.__file__) for module in own if module.__file__}
    files |= {file for module in own if not module.__name__.startswith(_PACKAGE) for file in _beside_module(module)}
    waiting = list(files)
    while waiting:
        found = _imported(waiting.pop()) - files
        files |= found
        waiting += found
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    digest.update(getattr(model, "made_with", "").encode())
    for member in set(members_of(model)) - {model}:
        digest.update(adapter_sha256(member).encode())
    return digest.hexdigest()


@cache
def _imported(file: Path) -> frozenset[Path]:
    """Return the files of this package that a file imports, at its top or inside of a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PACKAGE):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith(_PACKAGE)}
    root = Path(__file__).parent.parent
    places = (root.joinpath(*name.split(".")).with_suffix(".py") for name in names)
    return frozenset(place for place in places if place.is_file())


def _beside_module(module: ModuleType) -> set[Path]:
    return _beside(Path(module.__file__)) if module.__file__ else set()


def _beside(file: Path) -> set[Path]:
    folder = file.parent
    return set(folder.rglob("*.py") if (folder / "__init__.py").exists() else folder.glob("*.py"))


def weights_hash(model: type, weights: Path | None) -> str | None:
    """Return the hash of the files that decide what the weights compute; ``None`` for a model without weights."""
    if weights is None:
        return None
    if not missing_methods(model, Pretrained):
        files = model.sources(weights)  # type: ignore[attr-defined]
    else:
        files = [weights] if weights.is_file() else sorted(path for path in weights.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def weights_folder(model: type, weights: Path | None, *, offline: bool) -> Path | None:
    """Return the folder of a pretrained model's weights, fetched if need be; ``None`` for a model without weights."""
    if missing_methods(model, Pretrained):
        _check_given(model, weights)
        return weights
    folder: Path = model.locate(weights, offline=offline)  # type: ignore[attr-defined]
    return folder


def _check_given(model: type, weights: Path | None) -> None:
    takes = "weights" in inspect.signature(model).parameters
    if weights is not None and not (takes and weights.exists()):
        raise InvalidInputError(
            asked=f"{model.__name__} with the weights {weights}",
            found="no such file or folder" if takes else "its constructor takes no `weights`",
            remedy="give a path that is there" if takes else "add the keyword argument `weights` to the class",
        )

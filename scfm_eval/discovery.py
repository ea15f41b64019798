"""From a name, a FILE:OBJECT, a declaration or embeddings to a class; from a name or an .h5ad to a Dataset."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from scfm_eval.errors import InvalidInputError

if TYPE_CHECKING:
    from scfm_eval.datasets.dataset import Dataset

T = TypeVar("T")
_EMBEDDINGS = (".h5ad", ".npz", ".npy", ".parquet")


def model_names() -> list[str]:
    """Return the names of all installed models, baselines and controls, without importing them."""
    return sorted(entry_points(group="scfm_eval.models").names)


def dataset_names() -> list[str]:
    """Return the names of all installed dataset declarations, without importing them."""
    return sorted(entry_points(group="scfm_eval.datasets").names)


def find_model(spec: str) -> type:
    """Return the class that ``spec`` names.

    Parameters
    ----------
    spec
        An installed name; ``FILE.py:Class``; ``FILE.toml``, which declares a model under another Python; or stored
        embeddings: ``FILE.h5ad:key``, ``.npz``, ``.npy``, ``.parquet``. Several of these with `` + `` between them are
        an ensemble; between installed names the blanks may be left out, which leaves a ``+`` in a path alone.

    Raises
    ------
    InvalidInputError
        If there is none; the nearest names are offered.
    """
    parts = _members(spec)
    if len(parts) > 1:
        from scfm_eval.models.ensemble import ensemble

        return ensemble([find_model(part) for part in parts])
    path = spec.partition(":")[0]
    if path.endswith(".py"):
        found_class: type = _object_in(spec, kind="model", of=type)
        return found_class
    if spec.endswith(".toml"):
        from scfm_eval.models.outside import outside_model

        return outside_model(spec)
    if path.endswith(_EMBEDDINGS):
        from scfm_eval.models.stored import stored_embedding

        return stored_embedding(spec)
    found: type = _installed(spec, kind="model")
    return found


def find_dataset(spec: str) -> Dataset:
    """Return the dataset that ``spec`` names: installed, ``FILE.py:OBJECT``, or ``FILE.h5ad:label=…,batch=…``.

    ``SOURCE->TARGET`` joins two of them for :class:`~scfm_eval.tasks.transfer.Transfer`.

    Raises
    ------
    InvalidInputError
        If there is none, or the file cannot be read; the nearest names are offered.
    """
    source, arrow, target = spec.partition("->")
    if "->" in target or (arrow and not (source.strip() and target.strip())):
        raise InvalidInputError(
            asked=f"dataset {spec!r}", found="no two names with one arrow between them", remedy="give SOURCE->TARGET"
        )
    if arrow:
        from scfm_eval.datasets.joined import joined

        return joined(find_dataset(source.strip()), find_dataset(target.strip()))
    path = spec.partition(":")[0]
    if path.endswith(".py"):
        from scfm_eval.datasets.dataset import Dataset

        return _object_in(spec, kind="dataset", of=Dataset)
    if path.endswith(".h5ad"):
        from scfm_eval.datasets.files import dataset_from_spec

        return dataset_from_spec(spec)
    found: Dataset = _installed(spec, kind="dataset")
    return found


def _members(spec: str) -> list[str]:
    if " + " in spec:
        return [part.strip() for part in spec.split(" + ")]
    is_names = re.fullmatch(r"[\w-]+(\+[\w-]+)+", spec) and spec not in model_names()
    return spec.split("+") if is_names else [spec]


def _object_in(spec: str, *, kind: str, of: type[T]) -> T:
    path, _, attribute = spec.partition(":")
    asked = f"{kind} {spec}"
    module = _module(path, asked=asked)
    found = getattr(module, attribute, None)
    if isinstance(found, of):
        return found
    names = [name for name, value in vars(module).items() if isinstance(value, of)]
    raise InvalidInputError(
        asked=asked,
        found=f"no such {'class' if of is type else of.__name__}; the file has {', '.join(names) or 'none'}",
        remedy=f"give FILE.py:{'Class' if of is type else 'NAME'}",
    )


def _installed(name: str, *, kind: str) -> Any:
    group = f"scfm_eval.{kind}s"
    for entry in entry_points(group=group, name=name):
        return _loaded(entry, kind=kind)
    names = sorted(entry_points(group=group).names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise InvalidInputError(
        asked=f"{kind} {name!r}",
        found=f"no {kind} of that name; the nearest: {', '.join(near)}",
        remedy=f"give one of these, or a file (`scfm-eval list` prints every {kind})",
    )


def _loaded(entry: EntryPoint, *, kind: str) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            asked=f"{kind} {entry.name!r}",
            found=f"{entry.value} cannot be imported: {error}",
            remedy="install what it needs, or reinstall the package that declares it",
        ) from error


def _name_of(place: Path) -> str:
    # two files of one name in two folders are two modules
    return f"scfm_eval_user_{place.stem}_{hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]}"


def _module(path: str, *, asked: str) -> ModuleType:
    place = Path(path)
    if not place.exists():
        raise InvalidInputError(
            asked=asked, found=f"no file {path}", remedy="give the path of a Python file that is there"
        )
    spec = importlib.util.spec_from_file_location(_name_of(place), place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            asked=asked, found=f"{path} fails to import: {error!r}", remedy="run it with python first and mend it"
        ) from error
    return module

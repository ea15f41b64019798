"""What a run of claims is: all that decides its numbers, as one flat record that two runs can be compared by."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.options import SOURCES

if TYPE_CHECKING:
    from scfm_eval.selection import Run

_PACKAGE = Path(__file__).parent
_SETTINGS = ("device", "precision", "seeds")
_FILES = ("reference", "orthologs", *(name.replace("_", "-") for name in SOURCES))


def files_with_claims(ids: Iterable[str], *, root: Path) -> list[Path]:
    """Return the files of tests that name a ``task``, by the ids of the tests, which are relative to ``root``."""
    files = dict.fromkeys(root / test.partition("::")[0] for test in ids)
    return [file for file in files if file.suffix == ".py" and file.is_file() and _names_a_task(file)]


def identity(run: Run, ids: Sequence[str], *, files: Sequence[Path]) -> dict[str, Any]:
    """Return all that decides the numbers of a run, by what it is called in a message; ``None`` is not known yet.

    Parameters
    ----------
    run
        What the command line asks for.
    ids
        Ids of the selected tests.
    files
        Files of claims among them.
    """
    return {
        "selected tests": f"{len(ids)} ({_sha256(' '.join(sorted(ids)).encode())})",
        "guards switched off": guards.switched_off(),
        **_environment(run),
        **_options(run),
        **_datasets(run),
        **_models(run, ids),
        **_source(run, files),
    }


def _environment(run: Run) -> dict[str, Any]:
    import torch

    from scfm_eval.environment import environment

    found = environment(run.config.rootpath, workers=run.config.getoption("numprocesses", None) or 1)
    return {
        "machine": found["machine"]["kind"],
        "threads": torch.get_num_threads(),
        **{name: found[name] for name in ("python", "platform", "workers")},
        **{f"version of {name}": version for name, version in found["packages"].items()},
    }


def _options(run: Run) -> dict[str, Any]:
    option = run.config.getoption
    named = {f"--{name}": option(f"--{name}") for name in _FILES}
    files = {name: Path(value) for name, value in named.items() if value and Path(value).is_file()}
    return {
        **{f"--{name}": option(f"--{name}") for name in _SETTINGS},
        **named,
        **{f"file of {name}": _sha256(path.read_bytes()) for name, path in files.items()},
        "--option": sorted(option("--option")),
        "--layouts": bool(option("--layouts") or option("--html")),
    }


def _datasets(run: Run) -> dict[str, Any]:
    # those that run by themselves are made by the source of the package, unless a file of the user wins over it
    named, folder = run.config.getoption("--dataset"), os.environ.get("SCFM_EVAL_DATA")
    return {
        f"dataset {dataset.name}": [run.cells(index).sha256, dataset.labels_from, dataset.organism, dataset.gene_ids]
        for index, dataset in enumerate(run.datasets)
        if named or (folder and Path(folder, f"{dataset.name}.h5ad").is_file())
    }


def _models(run: Run, ids: Sequence[str]) -> dict[str, Any]:
    from scfm_eval.discovery import find_model
    from scfm_eval.models.card import card
    from scfm_eval.models.protocols import members_of
    from scfm_eval.provenance import adapter_sha256

    names = {name for name in run.models if any(f"[{name}-" in test for test in ids)} | set(run.weights)
    models = {name: run.models.get(name) or find_model(name) for name in names}
    members = {card(member).name: member for model in models.values() for member in members_of(model)}
    return {
        **{f"source of {name}": adapter_sha256(model) for name, model in models.items()},
        **{f"weights of {name}": _weights(run, name, model) for name, model in members.items()},
    }


def _weights(run: Run, name: str, model: type) -> str | None:
    from scfm_eval.provenance import weights_folder, weights_hash

    try:
        folder = weights_folder(model, run.weights.get(name), offline=True)
        return weights_hash(model, folder)
    except (InvalidInputError, OSError):
        # the run will fetch them, or say why it cannot
        return None


def _source(run: Run, files: Sequence[Path]) -> dict[str, Any]:
    root = run.config.rootpath
    modules = [plugin for plugin in run.config.pluginmanager.get_plugins() if isinstance(plugin, ModuleType)]
    loaded = {Path(module.__file__) for module in modules if module.__file__}
    known = {file.parent / "expected_failures.toml" for file in files}
    own = {file for file in {*files, *loaded, *known} if file.is_relative_to(root) and file.is_file()}
    outside = sorted(file for file in own if not file.is_relative_to(_PACKAGE))
    return {
        "source of scfm_eval": _of_package(),
        **{f"file {file.relative_to(root).as_posix()}": _sha256(file.read_bytes()) for file in outside},
    }


def _of_package() -> str:
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.relative_to(_PACKAGE).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _names_a_task(file: Path) -> bool:
    try:
        top = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return False
    return any(name in ("task", "*") for statement in top for name in _names(statement))


def _names(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a module makes known there."""
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    if isinstance(statement, ast.AnnAssign):
        return [statement.target.id] if isinstance(statement.target, ast.Name) else []
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""The declaration of a model that runs under another Python: what it says, and whether that Python is fit for it."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from scfm_eval.bounds import read_text
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import Card
from scfm_eval.models.outside_process import environment, is_secret

CHILD = Path(__file__).with_name("outside_child.py")
"""The program that the other Python runs."""

CAPABILITIES = ("embed", "embed_layers", "embed_genes", "score_gene_pairs", "annotate", "reconstruct_layers")
"""Methods that a script may have."""

_OLDEST = Version("3.8")
_LONGEST, _WIDEST = 65_536, 2_048  # letters of a declaration and of a line of it
_PATIENCE = 60.0  # seconds in which a Python has to say its version
_REMEDY = "mend the declaration; examples/outside has some to copy"
_CARD = tuple(name for name in Card.__dataclass_fields__ if name != "sees")
_PYTHON: dict[str, tuple[type | tuple[type, ...], str]] = {
    "path": (str, "text"),
    "script": (str, "text"),
    "timeout": ((int, float), "a number of seconds"),
    "accelerator": (bool, "true or false"),
    "environment": (list, "a list of names"),
    "arguments": (dict, "a table"),
    "packages": (dict, "a table of name and version"),
}


@dataclass(frozen=True)
class Declaration:
    """What a declaration says.

    Parameters
    ----------
    file
        The declaration.
    card
        Entries of the model's card.
    python, script
        Interpreter and script, as absolute paths; the interpreter's links are not followed, since a virtual
        environment is one.
    capabilities
        Methods of the script, of :data:`CAPABILITIES`.
    timeout
        Seconds that one call may take, loading included.
    accelerator
        Whether the script can run on one; else it is asked to run on the CPU whatever the others run on.
    environment
        Names of variables that are passed on beside the usual few.
    arguments
        Handed to the script as they are.
    packages
        Packages that the other Python has to have, with versions such as ``">=2,<3"``; ``""`` is any version.
    """

    file: Path
    card: dict[str, Any]
    python: Path
    script: Path
    capabilities: tuple[str, ...]
    timeout: float = 3600.0
    accelerator: bool = False
    environment: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)

    def sources_sha256(self) -> str:
        """Return the hash of the declaration, of the script and the Python files beside it, and of what calls it."""
        digest = hashlib.sha256()
        for file in (self.file, *sorted(self.script.parent.glob("*.py")), CHILD):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()


def read_declaration(file: Path) -> Declaration:
    """Return what a declaration says, once every entry is known and of its kind.

    Raises
    ------
    InvalidInputError
        It is not there, is no TOML, has unknown, wrong or missing entries, or its interpreter or script is not there.
    """
    said = _tables(file)
    python = said.get("python", {})
    _check_names(file, said, ("model", "python", "capabilities"), where="the declaration")
    _check_names(file, said.get("model", {}), _CARD, where="[model]")
    _check_names(file, python, tuple(_PYTHON), where="[python]")
    _check_kinds(file, said, python)
    where = {name: Path(os.path.abspath(file.parent / Path(python[name]).expanduser())) for name in ("path", "script")}
    for name, place in where.items():
        if not os.path.isfile(place):  # never raises, however long the name is
            raise _refuse(
                file,
                f"{name} = {python[name]!r}, and there is no file {place}",
                "give a path from the folder of the declaration, or an absolute one",
            )
    card = {name: tuple(value) if isinstance(value, list) else value for name, value in said.get("model", {}).items()}
    return Declaration(
        file=file,
        card={"name": file.stem, **card},
        python=where["path"],
        script=where["script"],
        capabilities=tuple(said["capabilities"]),
        timeout=float(python.get("timeout", Declaration.timeout)),
        accelerator=python.get("accelerator", False),
        environment=tuple(python.get("environment", ())),
        arguments=python.get("arguments", {}),
        packages=python.get("packages", {}),
    )


def describe_python(declaration: Declaration) -> dict[str, Any]:
    """Return version and packages of the other Python, once it has what the declaration asks for.

    Returns
    -------
    ``python`` (its version), and ``packages``: those that are declared and numpy, or all where none is declared.

    Raises
    ------
    InvalidInputError
        It does not run, is too old, or lacks a package or has another version of it.
    """
    names = {"numpy": "", **declaration.packages}
    found = _asked(declaration, [*names] if declaration.packages else [])
    faults = [] if Version(found["python"]) >= _OLDEST else [f"Python {found['python']}, and not {_OLDEST} or later"]
    installed = {name.lower().replace("_", "-"): version for name, version in found["packages"].items()}
    for name, wanted in names.items():
        version = installed.get(name.lower().replace("_", "-"))
        if version is None:
            faults.append(f"no {name}")
        elif not SpecifierSet(wanted).contains(version, prereleases=True):
            faults.append(f"{name} {version}, and not {wanted}")
    if faults:
        needed = " ".join(f"'{name}{wanted}'" for name, wanted in names.items())
        raise InvalidInputError(
            asked=f"the Python of {declaration.file.name} with its packages",
            found="; ".join(faults),
            remedy=f"install into that environment: {needed}; or give the path of another Python",
        )
    return found


def _asked(declaration: Declaration, names: list[str]) -> dict[str, Any]:
    command = [str(declaration.python), "-I", str(CHILD), "--describe", *names]
    try:
        done = subprocess.run(
            command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=True
        )
        said: dict[str, Any] = json.loads(done.stdout.decode().strip().splitlines()[-1])
        return {"python": str(said["python"]), "packages": dict(said["packages"])}
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        raise _refuse(
            declaration.file,
            f"path names a program that does not answer as a Python of {_OLDEST} or later does: {type(error).__name__}",
            "give the python of the environment, such as path = 'envs/mine/bin/python'",
        ) from error


def _tables(file: Path) -> dict[str, Any]:
    try:
        text = read_text(file)
        if len(text) > _LONGEST or max(map(len, text.splitlines()), default=0) > _WIDEST:
            # names of very many parts take for ever
            raise ValueError(f"more than {_LONGEST:,} letters, or {_WIDEST:,} in a line")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise _refuse(file, "no such file", "give the path of a .toml file that is there") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse(file, f"no TOML: {error}") from error


def _check_names(file: Path, said: Any, known: tuple[str, ...], *, where: str) -> None:
    if not isinstance(said, dict):
        raise _refuse(file, f"{where} is no table")
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or known
            raise _refuse(file, f"{where} has {name!r}, which is not known; the nearest: {', '.join(near)}")


def _check_kinds(file: Path, said: dict[str, Any], python: dict[str, Any]) -> None:
    missing = [name for name in ("path", "script") if name not in python]
    if missing:
        raise _refuse(file, f"[python] has no {' and no '.join(missing)}")
    for name, value in python.items():
        kind, words = _PYTHON[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _refuse(file, f"{name} = {value!r}, which is not {words}")
    if not 0 < python.get("timeout", 1) < float("inf"):
        raise _refuse(file, f"timeout = {python['timeout']!r}, which is no positive number of seconds")
    _check_lists(file, said.get("capabilities"), python)


def _check_lists(file: Path, capabilities: Any, python: dict[str, Any]) -> None:
    if not isinstance(capabilities, list) or not capabilities or not set(map(str, capabilities)) <= {*CAPABILITIES}:
        raise _refuse(file, f"capabilities = {capabilities!r}, which is no list of some of {', '.join(CAPABILITIES)}")
    for name in python.get("environment", ()):
        if not isinstance(name, str) or name.startswith("PYTHON"):
            found = f"environment has {name!r}: no name, or one that the other Python, being isolated, does not read"
            raise _refuse(file, found)
        if is_secret(name):
            raise _refuse(
                file,
                f"environment has {name!r}, which is named like a secret; other programs get none",
                "leave it out, and fetch with it beforehand what the script needs",
            )
    try:
        json.dumps(python.get("arguments", {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _refuse(file, f"[python.arguments] cannot be handed on: {error}") from error
    for name, wanted in python.get("packages", {}).items():
        try:
            SpecifierSet(wanted)
        except (InvalidSpecifier, TypeError, AttributeError) as error:
            raise _refuse(file, f"packages has {name} = {wanted!r}, which is no version such as '>=2,<3'") from error


def _refuse(file: Path, found: str, remedy: str = _REMEDY) -> InvalidInputError:
    return InvalidInputError(asked=f"the model declared in {file}", found=found, remedy=remedy)

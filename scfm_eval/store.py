"""Arrays on disk under the hash of what made them: written once, atomically, verified on every read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from scfm_eval.datasets.download import cache_folder
from scfm_eval.errors import FailedModelError, InvalidInputError

_KEY = re.compile("[0-9a-f]{64}")

Made = tuple[list[NDArray[Any]], dict[str, Any]]
"""Arrays, and what is known of their making: seconds, memory, parameters."""


@dataclass(frozen=True)
class Stored:
    """What the store gave.

    Parameters
    ----------
    arrays
        The arrays, read-only memory maps.
    facts
        What is known of their making.
    was_there
        Whether they had been made before.
    """

    arrays: list[NDArray[Any]]
    facts: dict[str, Any]
    was_there: bool


def key_of(**parts: Any) -> str:
    """Return the sha256 of everything that an array depends on, as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Store:
    """A folder of arrays; processes on one machine may share it.

    Parameters
    ----------
    folder
        Where the arrays lie; default ``$SCFM_EVAL_CACHE/store`` or the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "store"
        self._failed: dict[str, FailedModelError] = {}

    def get(self, key: str, make: Callable[[], Made]) -> Stored:
        """Return the arrays under ``key``, made by ``make`` if they are not there or do not verify.

        Only one process makes them; the others wait for it. What failed is not stored, and not tried again either.

        Raises
        ------
        FailedModelError
            The model gave no answer, now or when this store was asked for it before.
        """
        if key in self._failed:
            raise copy(self._failed[key])
        place = self.folder / key[:2] / key
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            found = _read(place)
            if found is not None:
                return Stored(*found, was_there=True)
            try:
                arrays, facts = make()
            except FailedModelError as error:
                self._failed[key] = copy(error)
                raise
            self._write(place, arrays, facts)
            written = _read(place)
        if written is None:
            raise OSError(f"{place} does not read back as it was written: the disk or its file system is at fault")
        return Stored(*written, was_there=False)

    def find(self, key: str) -> Stored | None:
        """Return the arrays under ``key`` if they are there and verify; ``None`` otherwise, and nothing is made."""
        found = _read(self.folder / key[:2] / key) if _KEY.fullmatch(key) else None
        return None if found is None else Stored(*found, was_there=True)

    def unfinished(self, name: str) -> Path:
        """Return a folder for work that may be interrupted and go on later; see :meth:`finish`."""
        return self.folder / "unfinished" / name

    def finish(self, name: str) -> None:
        """Take the folder of unfinished work away."""
        shutil.rmtree(self.unfinished(name), ignore_errors=True)

    def _write(self, place: Path, arrays: list[NDArray[Any]], facts: dict[str, Any]) -> None:
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name[:8]}."))
        try:
            hashes = [_save(temporary / f"{i}.npy", array) for i, array in enumerate(arrays)]
            (temporary / "facts.json").write_text(json.dumps({"sha256": hashes, "facts": facts}), encoding="utf-8")
            if place.is_file():
                place.unlink()
            shutil.rmtree(place, ignore_errors=True)
            os.replace(temporary, place)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise InvalidInputError(
                asked=f"to store arrays in {self.folder}",
                found=str(error),
                remedy="free some disk space, or point SCFM_EVAL_CACHE to a folder with room",
            ) from error


def _save(path: Path, array: NDArray[Any]) -> str:
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    return _sha256(path)


def _read(place: Path) -> tuple[list[NDArray[Any]], dict[str, Any]] | None:
    try:
        written = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        paths = [place / f"{i}.npy" for i in range(len(written["sha256"]))]
        if not paths or not written["facts"] or [_sha256(path) for path in paths] != written["sha256"]:
            return None
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths], written["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

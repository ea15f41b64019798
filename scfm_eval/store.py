"""Arrays on disk under the hash of what made them: written once, atomically, verified on every read."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from scfm_eval.datasets.download import cache_folder
from scfm_eval.errors import FailedModelError

_KEY = re.compile("[0-9a-f]{64}")
_PATIENCE = 60  # seconds after which waiting for another process is told
_ROOM = 64 << 20  # bytes on the disk below which unfinished work is not kept
_log = logging.getLogger(__name__)

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


def hash_of(values: NDArray[Any] | None) -> str | None:
    """Return the sha256 of a mask, of row numbers or of texts."""
    if values is None:
        return None
    content = "\0".join(values).encode() if values.dtype.kind in "UO" else np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(content).hexdigest()


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
        self._unkept: dict[str, Stored] = {}
        self._is_swept = False

    def get(self, key: str, make: Callable[[], Made]) -> Stored:
        """Return the arrays under ``key``, made by ``make`` if they are not there or do not verify.

        Only one process makes them; the others wait for it. What failed is not stored, and not tried again either.
        Where nothing can be written, arrays are held in memory, which a warning and a note among the facts say.

        Raises
        ------
        FailedModelError
            The model gave no answer, now or when this store was asked for it before.
        """
        if key in self._failed:
            raise copy(self._failed[key])
        if key in self._unkept:
            return self._unkept[key]
        # what verifies needs no lock, so that a folder that is only readable will do
        found = self.find(key)
        if found is not None:
            return found
        try:
            lock = _locked(self._place(key))
        except (OSError, NotImplementedError) as error:
            return self._hold(key, *self._made(key, make), why=error)
        with lock:
            return self.find(key) or self._keep(key, *self._made(key, make))

    def _made(self, key: str, make: Callable[[], Made]) -> Made:
        try:
            return make()
        except FailedModelError as error:
            self._failed[key] = copy(error)
            raise

    def _keep(self, key: str, arrays: list[NDArray[Any]], facts: dict[str, Any]) -> Stored:
        """Write arrays and read them back; the lock of the key is held."""
        place = self._place(key)
        try:
            self._sweep()
            _write(place, arrays, facts)
        except OSError as error:
            return self._hold(key, arrays, facts, why=error)
        written = _read(place)
        if written is None:
            why = OSError(errno.EIO, "it does not read back as it was written")
            return self._hold(key, arrays, facts, why=why)
        return Stored(*written, was_there=False)

    def _hold(self, key: str, arrays: list[NDArray[Any]], facts: dict[str, Any], *, why: Exception) -> Stored:
        """Hold what cannot be written in memory, and say so."""
        # numpy says how much was written, and not why that was not all
        reason = getattr(why, "strerror", None) or f"the disk took a part only: {why}"
        if not self._unkept:
            warnings.warn(
                f"nothing can be kept in {self.folder} ({reason}): the run goes on in memory, and the next one makes "
                "these arrays anew; free some disk space, or point SCFM_EVAL_CACHE to a folder with room",
                stacklevel=2,
            )
        note = f"its arrays could not be kept on disk: {reason}"
        said = json.loads(json.dumps(facts | {"notes": [*facts.get("notes", []), note]}))
        held = [np.array(array, order="C") for array in arrays]
        for array in held:
            array.flags.writeable = False
        self._unkept[key] = Stored(held, said, was_there=True)
        return Stored(held, said, was_there=False)

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _sweep(self) -> None:
        """Take away, once in a run, what writers left that were killed: nobody holds the lock of their key."""
        if self._is_swept:
            return
        self._is_swept = True
        for left in self.folder.glob("??/.*.*"):
            key = left.name.split(".")[1]
            if _KEY.fullmatch(key) and left.is_dir():
                with suppress(Timeout, OSError), FileLock(f"{self._place(key)}.lock", blocking=False):
                    shutil.rmtree(left, ignore_errors=True)

    def find(self, key: str) -> Stored | None:
        """Return the arrays under ``key`` if they are there and verify; ``None`` otherwise, and nothing is made."""
        found = _read(self._place(key)) if _KEY.fullmatch(key) else None
        return None if found is None else Stored(*found, was_there=True)

    def unfinished(self, name: str) -> Path | None:
        """Return a folder for work that may be interrupted and go on later, ``None`` where nothing can be kept.

        See :meth:`finish`.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                return self._unfinished(name) if shutil.disk_usage(self.folder).free > _ROOM else None
        except OSError:
            return None

    def finish(self, name: str) -> None:
        """Take the folder of unfinished work away."""
        shutil.rmtree(self._unfinished(name), ignore_errors=True)

    def _unfinished(self, name: str) -> Path:
        return self.folder / "unfinished" / name


def _locked(place: Path) -> AbstractContextManager[Any]:
    """Return the lock of a place, held; it is the kernel's, and goes with the process that holds it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{place}.lock")
    if Path(lock.lock_file).is_dir():
        shutil.rmtree(lock.lock_file)
    try:
        return lock.acquire(timeout=_PATIENCE)
    except Timeout:
        _log.warning("another process has been making %s for %d s; this one waits for it", place.name, _PATIENCE)
        return lock.acquire()


def _write(place: Path, arrays: list[NDArray[Any]], facts: dict[str, Any]) -> None:
    for left in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    facts = json.loads(json.dumps(facts))
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        hashes = [_save(temporary / f"{i}.npy", array) for i, array in enumerate(arrays)]
        said = {"sha256": hashes, "facts": facts, "of_facts": _seal(place.name, hashes, facts)}
        (temporary / "facts.json").write_text(json.dumps(said), encoding="utf-8")
        if place.is_file():
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        os.replace(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _save(path: Path, array: NDArray[Any]) -> str:
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
    return _sha256(path)


def _read(place: Path) -> tuple[list[NDArray[Any]], dict[str, Any]] | None:
    try:
        written = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        hashes, facts = written["sha256"], written["facts"]
        paths = [place / f"{i}.npy" for i in range(len(hashes))]
        if not paths or not facts or written["of_facts"] != _seal(place.name, hashes, facts):
            return None
        if [_sha256(path) for path in paths] != hashes:
            return None
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths], facts
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _seal(key: str, hashes: list[str], facts: dict[str, Any]) -> str:
    """Return the hash that ties facts and arrays to their key."""
    return key_of(key=key, sha256=hashes, facts=facts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

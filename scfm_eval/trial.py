"""Files that are first read in another process, which may run out of time or memory, or end, in place of this one."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

from scfm_eval.bounds import TIMES, ordinary, room
from scfm_eval.errors import InvalidInputError

Kind = Literal["pickle", "torch", "hdf5", "parquet"]

SECONDS = 6.0
"""Seconds of a processor that a file of no size may take; larger ones have more."""

_CHILD = Path(__file__).with_name("trial_child.py")
_BUSY = 6  # how much longer it may take where the machine has other work
_A_SECOND = 2 * 10**7  # bytes that are read at least in a second
_MEMORY: dict[Kind, int] = {"pickle": 2**28, "torch": 2**28, "hdf5": 2**31, "parquet": 2**31}
_ALONE: tuple[Kind, ...] = ("pickle", "torch")
# one thread: each of the others would reserve memory
_FEW = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_survived: set[tuple[object, ...]] = set()


def require_survived(kind: Kind, path: Path) -> None:
    """Refuse a file which ends a process that reads it, or takes more time or memory than such a file has a reason to.

    Parameters
    ----------
    kind, path
        See :func:`fault_of`.

    Raises
    ------
    InvalidInputError
        It is no ordinary file, or is refused; what was found is told.
    OSError
        It is not there.
    """
    fault = fault_of(kind, path)
    if fault:
        raise InvalidInputError(
            asked=f"the content of {path}",
            found=f"{fault}; nothing of it was executed",
            remedy="fetch the file again from where it was published",
        )


def fault_of(kind: Kind, path: Path) -> str:
    """Return why a file could not be read in another process; empty where it was.

    What was read once is not tried again in this process, unless it changed.

    Parameters
    ----------
    kind
        How it is read: ``"pickle"`` without any class of it, and of ``"torch"`` the pickle in it and the sizes of the
        storages; of ``"hdf5"`` the whole structure and the text, and some of the chunks; ``"parquet"`` wholly.
    path
        The file.

    Raises
    ------
    InvalidInputError
        It is no ordinary file.
    OSError
        It is not there.
    """
    about = ordinary(path).stat()
    known = (kind, str(path), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    fault = "" if known in _survived else _fault(kind, path, size=about.st_size)
    if not fault:
        _survived.add(known)
    return fault


def _fault(kind: Kind, path: Path, *, size: int) -> str:
    """Return why a file was not read in another process; empty where it was."""
    memory, seconds = min(room(), _MEMORY[kind] + TIMES * size), SECONDS + size / _A_SECOND
    flags = ["-I", "-S"] if kind in _ALONE else ["-P"]
    command = [sys.executable, *flags, str(_CHILD), kind, str(path.absolute()), str(memory), str(math.ceil(seconds))]
    try:
        done = subprocess.run(
            command,
            env=os.environ | _FEW,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds * _BUSY,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it could not be read within {seconds:.0f} s"
    if done.returncode == 0:
        return ""
    if -done.returncode == getattr(signal, "SIGXCPU", None):
        return f"it could not be read within {seconds:.0f} s"
    said = done.stdout.decode(errors="replace").strip()
    return said if done.returncode == 1 and said else f"reading it ended a process ({_ended(done.returncode)})"


def _ended(code: int) -> str:
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"

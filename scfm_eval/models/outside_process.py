"""A child process that does no harm when it fails: its time, log and memory are watched, its family ends with it.

The child gets no shell, no secrets of the environment, and no standard input.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from scfm_eval.timing import phase

_PASSED = ("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "TMP", "TEMP", "TZ", "SYSTEMROOT", "LD_LIBRARY_PATH")
# languages, devices and numbers of threads
_PASSED_LIKE = ("LC_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "OMP_", "OPENBLAS_NUM", "MKL_NUM", "NUMEXPR_NUM")
_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|COOKIE|(^|_)KEY(S|$|_)|APIKEY|(^|_)(PAT|PWD)$", re.IGNORECASE
)
_MARK = "SCFM_EVAL_OUTSIDE_RUN"
_PAUSE = 0.1  # seconds between two looks at the child
_HEAD, _TAIL, _CHUNK = 1 << 20, 1 << 16, 1 << 16  # bytes of the log that are kept, and read at once
_SHOWN = 15  # last lines in a message
_LINGER = 5.0  # seconds that the log is waited for when all is over


@dataclass(frozen=True)
class Ended:
    """How a child process ended.

    Parameters
    ----------
    fault
        Why it gave no answer, in words; empty where it ended by itself without a fault.
    peak_bytes
        Largest resident memory of the child and all of its descendants together; ``None`` was never seen.
    last_lines
        End of what it printed.
    """

    fault: str
    peak_bytes: int | None
    last_lines: str


def environment(names: Iterable[str] = ()) -> dict[str, str]:
    """Return the few variables that every child gets, and those that are named, as far as they are set."""
    wanted = {*_PASSED, *names}
    return {
        name: value
        for name, value in os.environ.items()
        if (name in wanted or name.startswith(_PASSED_LIKE)) and not is_secret(name)
    }


def is_secret(name: str) -> bool:
    """Return whether a variable is named like a secret, such as a token, a password or a key; none is passed on."""
    return _SECRET.search(name) is not None


def run(
    command: Sequence[str], *, variables: dict[str, str], folder: Path, log: Path, timeout: float, is_loaded: Path
) -> Ended:
    """Run a command until it ends or its time is over, and end every process that it started.

    Parameters
    ----------
    command
        Program and arguments.
    variables
        Its whole environment.
    folder
        Where it runs.
    log
        File for what it prints: the first 1 MiB and the last 64 KiB of it.
    timeout
        Seconds.
    is_loaded
        File that the child makes when it has loaded; until then the time is that of the phase ``load``.
    """
    token = secrets.token_hex(8)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=variables | {_MARK: token},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    printed, watched = _Printed(process.stdout, log), _Watched(process, until=time.monotonic() + timeout)
    try:
        with phase("load"):
            watched.wait(is_loaded.exists)
        watched.wait(lambda: False)
        in_time = True
    except TimeoutError:
        in_time = False
    finally:
        _end(process, token)
        printed.finish()
    fault = _fault(process.returncode) if in_time else f"it did not end within {timeout:g} s"
    return Ended(fault, watched.peak_bytes or None, printed.last_lines())


def _fault(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}" if code else ""
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"it was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"


class _Watched:
    """Waits for a child and remembers how large it and its descendants were together."""

    def __init__(self, process: subprocess.Popen[bytes], *, until: float) -> None:
        self.process, self.until, self.peak_bytes = process, until, 0

    def wait(self, reached: Callable[[], bool]) -> None:
        while self.process.poll() is None and not reached():
            if time.monotonic() > self.until:
                raise TimeoutError
            self.peak_bytes = max(self.peak_bytes, _tree_bytes(self.process.pid))
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_PAUSE)


def _tree_bytes(pid: int) -> int:
    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for one in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def _end(process: subprocess.Popen[bytes], token: str) -> None:
    """End the child, its process group, and what left the group but still has the mark in its environment."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if one.environ().get(_MARK) == token:
                one.kill()


class _Printed:
    """Reads what a child prints, however much it is, and keeps the beginning and the end."""

    def __init__(self, stream: IO[bytes], log: Path) -> None:
        self._stream, self._log = stream, log
        self._n_bytes, self._tail = 0, b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._log.open("wb") as file:
            while chunk := os.read(self._stream.fileno(), _CHUNK):
                file.write(chunk[: max(0, _HEAD - self._n_bytes)])
                file.flush()
                self._n_bytes += len(chunk)
                self._tail = (self._tail + chunk)[-_TAIL:]
            beyond = self._n_bytes - _HEAD
            if beyond > 0:
                file.write(f"\n[… {max(0, beyond - _TAIL):,} bytes are left out …]\n".encode())
                file.write(self._tail[-beyond:])

    def finish(self) -> None:
        """Wait for the last lines; a process that got away may hold the pipe open for ever."""
        self._reader.join(_LINGER)
        if not self._reader.is_alive():
            self._stream.close()

    def last_lines(self) -> str:
        text = self._tail.decode("utf-8", errors="replace").replace(str(Path.home()), "~")
        return "\n".join(line[:300] for line in text.strip().splitlines()[-_SHOWN:])

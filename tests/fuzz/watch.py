"""What watches a process that reads damaged files: its time, its memory, and whether it is still there."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.readers import READERS
from tests.fuzz.work import work

SECONDS, BYTES = 10.0, 4 * 2**30
WARM_UP = 120.0  # seconds for imports and the good files
_PROCESSES_EACH = 20
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass
class Told:
    """What came of one reader."""

    seconds: float = 0.0
    ready: float = 0.0
    busy: float = 0.0
    executions: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: int = 0
    faults: dict[str, Path] = field(default_factory=dict)


def watch(name: str, *, seconds: float, seed: int, keep: Path) -> Told:
    """Let one reader run for a while, in as many processes as it ends."""
    told = Told()
    with tempfile.TemporaryDirectory() as place:
        for number in range(_PROCESSES_EACH):
            if told.seconds < seconds:
                left = seconds - told.seconds
                _one_process(name, Path(place), seed=seed + number, seconds=left, keep=keep, told=told)
    return told


def _one_process(name: str, folder: Path, *, seed: int, seconds: float, keep: Path, told: Told) -> None:
    began, (received, sent) = _PROCESSES.Value("d", 0.0), _PROCESSES.Pipe(duplex=False)
    settings = {"seed": seed, "seconds": seconds, "began": began, "sent": sent}
    process = _PROCESSES.Process(target=work, args=(name, folder), kwargs=settings, daemon=True)
    process.start()
    sent.close()
    told.ready = told.busy = 0.0
    started, file, why = time.time(), folder / f"input{READERS[name].suffix}", ""
    while not why:
        try:
            if received.poll(0.1):
                if not _take(received.recv(), name, keep=keep, told=told):
                    break
                told.busy, _ = _used(process.pid)
        except EOFError:
            process.join()
            why = f"the process ended with {process.exitcode}"
        busy, n_bytes = _used(process.pid)
        told.peak = max(told.peak, n_bytes)
        why = why or _beyond(told, busy=busy, began=began.value or (0.0 if told.ready else started), name=name)
    told.seconds += time.time() - (told.ready or time.time())
    process.kill()
    process.join()
    if why:
        told.executions += 1
        told.faults.setdefault(why, _kept(file.read_bytes() if file.exists() else b"", name, keep=keep))


def _take(answer: Any, name: str, *, keep: Path, told: Told) -> bool:
    if answer is None:
        return False
    if answer == "ready":
        told.ready = time.time()
        return True
    refused, taken, fault, content = answer
    told.executions, told.refused = told.executions + 1, told.refused + refused
    told.slowest = max(told.slowest, taken)
    if fault and fault not in told.faults:
        told.faults[fault] = _kept(content, name, keep=keep)
    return True


def _beyond(told: Told, *, busy: float, began: float, name: str) -> str:
    """Return why a process is ended: time of the processor counts, and six times that on a clock."""
    allowed = SECONDS if told.ready else WARM_UP
    if busy - told.busy > allowed or (began and time.time() - began > 6 * allowed):
        return f"{name} took more than {allowed:.0f} s"
    return f"{name} took more than {BYTES:,} bytes" if told.peak > BYTES else ""


def _used(pid: int | None) -> tuple[float, int]:
    """Return seconds of the processor and bytes of a process and those that it started."""
    seconds, n_bytes = 0.0, 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        seconds += sum(root.cpu_times()[2:4])
        for one in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                seconds += sum(one.cpu_times()[:2])
                n_bytes += one.memory_info().rss
    return seconds, n_bytes


def _kept(content: bytes, name: str, *, keep: Path) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{name}{len(list(keep.iterdir()))}{READERS[name].suffix}"
    path.write_bytes(content)
    return path

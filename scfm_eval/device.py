"""The device: at most one model on it, batches that fit, and how much memory was used at most."""

from __future__ import annotations

import gc
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil

from scfm_eval.errors import InvalidInputError

T = TypeVar("T")
_SAMPLES_PER_SECOND = 20


def check_device(device: str) -> None:
    """Refuse a device that is not there, before anything is loaded.

    Raises
    ------
    InvalidInputError
        If CUDA is asked for and torch finds none, or another kind of device is asked for.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInputError(
            asked=f"device {device!r}", found="no device that the suite runs on", remedy="give cpu, cuda or cuda:N"
        )
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(
            asked=f"device {device!r}",
            found=str(error).splitlines()[0],
            remedy="give --device cpu, or install a torch build for this machine's accelerator",
        ) from error


class Resident:
    """Holds at most one loaded model; loading another one frees the first.

    Parameters
    ----------
    settings
        Constructor arguments offered to every model; each takes those that it names.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.loads: list[str] = []
        self._held: tuple[tuple[object, ...], Any] | None = None

    def load(self, model: type, *, name: str, fresh: bool = False, **own: Any) -> Any:
        """Return the instance of ``model`` with these arguments, loading it unless it is already held.

        ``fresh`` always loads: a method that learns must not know the cells of an earlier fit.
        """
        arguments = accepted(model, {**self.settings, **own})
        held = (model, tuple(sorted((key, str(value)) for key, value in arguments.items())))
        if fresh or self._held is None or self._held[0] != held:
            self.free()
            self.loads.append(name)
            self._held = (held, model(**arguments))
        return self._held[1]

    def free(self) -> None:
        """Let go of the held model and of the device memory that it had."""
        if self._held is None:
            return
        self._held = None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def accepted(model: type, offered: dict[str, Any]) -> dict[str, Any]:
    """Return those of the offered arguments that the constructor of ``model`` names."""
    named = inspect.signature(model).parameters
    return {key: value for key, value in offered.items() if key in named}


def fitting(model: Any, call: Callable[[], T]) -> T:
    """Call, and call again with half the model's ``batch_size`` as long as the accelerator runs out of memory."""
    while True:
        try:
            return call()
        except RuntimeError as error:
            torch = sys.modules.get("torch")
            smaller = getattr(model, "batch_size", 1) // 2
            if torch is None or not isinstance(error, torch.cuda.OutOfMemoryError) or smaller < 1:
                raise
            model.batch_size = smaller
            torch.cuda.empty_cache()


@contextmanager
def peak_memory() -> Iterator[dict[str, int | None]]:
    """Measure the largest resident memory of this process, and of the accelerator, while the block runs."""
    peak: dict[str, int | None] = {"host": psutil.Process().memory_info().rss, "device": None}
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    if torch is not None and on_gpu:
        torch.cuda.reset_peak_memory_stats()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, done), daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        if torch is not None and on_gpu:
            peak["device"] = int(torch.cuda.max_memory_allocated())


def _watch(peak: dict[str, int | None], done: threading.Event) -> None:
    process = psutil.Process()
    while not done.wait(1 / _SAMPLES_PER_SECOND):
        peak["host"] = max(peak["host"] or 0, process.memory_info().rss)

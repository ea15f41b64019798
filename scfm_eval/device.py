"""The device: at most one model on it, batches that fit, and how much memory was used at most."""

from __future__ import annotations

import errno
import gc
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from copy import copy
from functools import partial
from typing import Any, TypeVar

import psutil
from anndata import AnnData

from scfm_eval.blame import blamed_on
from scfm_eval.errors import FailedModelError, InvalidInputError

T = TypeVar("T")
_SAMPLES_PER_SECOND = 20
_OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "annot allocate memory", "not enough memory", "ALLOC_FAILED", "bad_alloc",
    "RESOURCE_EXHAUSTED",
)  # fmt: skip
_elsewhere: ContextVar[dict[str, int | None] | None] = ContextVar("elsewhere", default=None)
_parts: ContextVar[list[int] | None] = ContextVar("parts", default=None)


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


Start = Callable[[type, dict[str, Any]], AbstractContextManager[Any]]
"""What gives an instance of a class that is made with some arguments, and ends it."""


def in_process(model: type, arguments: dict[str, Any]) -> AbstractContextManager[Any]:
    """Give an instance of ``model`` in this process."""
    return nullcontext(model(**arguments))


class Resident:
    """Holds at most one loaded model; loading another one frees the first.

    Parameters
    ----------
    start
        What loads a model: :func:`in_process`, or in a process of its own, see :mod:`scfm_eval.isolated`.
    settings
        Constructor arguments offered to every model; each takes those that it names.
    """

    def __init__(self, *, start: Start = in_process, **settings: Any) -> None:
        self.settings = settings
        self.loads: list[str] = []
        self.batch_size: int | None = None
        self.is_apart = start is not in_process
        self._start = start
        self._held: tuple[tuple[object, ...], Any] | None = None
        self._open = ExitStack()
        self._failed: dict[tuple[object, ...], FailedModelError] = {}

    def load(self, model: type, *, name: str, fresh: bool = False, **own: Any) -> Any:
        """Return the instance of ``model`` with these arguments, loading it unless it is already held.

        ``fresh`` always loads: a method that learns must not know the cells of an earlier fit. The ``batch_size`` that
        it had when it was loaded is kept, see :func:`told_of_memory`.

        Raises
        ------
        FailedModelError
            It cannot be loaded, now or when it was tried before.
        """
        arguments = accepted(model, {**self.settings, **own})
        held = (model, tuple(sorted((key, str(value)) for key, value in arguments.items())))
        if held in self._failed:
            raise copy(self._failed[held])
        if fresh or self._held is None or self._held[0] != held:
            self.free()
            self.loads.append(name)
            try:
                with blamed_on(name, asked="loading"):
                    self._held = (held, self._open.enter_context(self._start(model, arguments)))
            except FailedModelError as error:
                self._failed[held] = copy(error)
                raise
            self.batch_size = getattr(self._held[1], "batch_size", None)
        return self._held[1]

    def free(self) -> None:
        """Let go of the held model and of the memory that it had."""
        if self._held is None:
            return
        self._held = None
        self._open.close()
        free_memory()


def free_memory() -> None:
    """Give memory back that nothing holds any more, of this process and of the accelerator."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def accepted(model: type, offered: dict[str, Any]) -> dict[str, Any]:
    """Return those of the offered arguments that the constructor of ``model`` names."""
    named = inspect.signature(model).parameters
    return {key: value for key, value in offered.items() if key in named}


def fitting(model: Any, call: Callable[[], T]) -> T:
    """Call, and call again with half the model's ``batch_size``, down to one cell, as long as memory runs out."""
    while True:
        try:
            return call()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            smaller = (getattr(model, "batch_size", None) or 1) // 2
            if smaller < 1:
                raise
        # only here, where the error holds no array any more
        model.batch_size = smaller
        free_memory()


def fitting_cells(model: Any, call: Callable[[AnnData], T], cells: AnnData) -> list[T]:
    """Call with all cells, or with parts of them in their order as long as memory runs out, down to one cell.

    Only for an answer in which a cell does not depend on the others. The model's ``batch_size`` is halved first.
    """
    made, start, size = [], 0, cells.n_obs
    while start < cells.n_obs:
        part = cells if size == cells.n_obs else cells[start : start + size].copy()
        try:
            made.append(fitting(model, partial(call, part)))
            start += size
            continue
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
        size = (size + 1) // 2
        parts = _parts.get()
        if parts is not None:
            parts.append(size)
        free_memory()
    return made


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out, on the accelerator or on the host."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY))


@contextmanager
def told_of_memory(usual: int | None) -> Iterator[Callable[[Any], list[str]]]:
    """Give what says of a model, after it was asked inside, how its cells were divided because memory ran out.

    Parameters
    ----------
    usual
        The model's ``batch_size`` when it was loaded.
    """
    parts: list[int] = []

    def said(model: Any) -> list[str]:
        now = getattr(model, "batch_size", None)
        batches = [] if usual == now else [f"cells were given {now} at a time instead of {usual}"]
        calls = [f"it was called with {parts[-1]} cells at a time"] if parts else []
        return [f"ran out of memory: {'; '.join(batches + calls)}"] if batches or calls else []

    token = _parts.set(parts)
    try:
        yield said
    finally:
        _parts.reset(token)


@contextmanager
def peak_memory() -> Iterator[dict[str, int | None]]:
    """Measure the largest resident memory of this process, and of the accelerator, while the block runs.

    Where a model in another process said what it used, it is that; see :func:`peak_elsewhere`.
    """
    peak: dict[str, int | None] = {"host": psutil.Process().memory_info().rss, "device": None}
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    if torch is not None and on_gpu:
        torch.cuda.reset_peak_memory_stats()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, done), daemon=True)
    watcher.start()
    elsewhere: dict[str, int | None] = {}
    token = _elsewhere.set(elsewhere)
    try:
        yield peak
    finally:
        _elsewhere.reset(token)
        done.set()
        watcher.join()
        if torch is not None and on_gpu:
            peak["device"] = int(torch.cuda.max_memory_allocated())
        peak.update(elsewhere)


def peak_elsewhere(seen: dict[str, int | None]) -> None:
    """Tell the :func:`peak_memory` around this how much another process used, which did the work."""
    most = _elsewhere.get()
    if most is not None:
        for place, used in seen.items():
            most[place] = max((n for n in (used, most.get(place)) if n is not None), default=None)


def _watch(peak: dict[str, int | None], done: threading.Event) -> None:
    process = psutil.Process()
    while not done.wait(1 / _SAMPLES_PER_SECOND):
        peak["host"] = max(peak["host"] or 0, process.memory_info().rss)

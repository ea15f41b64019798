"""How long each phase of an evaluation takes, device-synchronised; a phase does not count the phases inside it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Phase = Literal["load", "fit", "tokenise", "forward", "score"]


class _Clock:
    """Gives the time that passes to the innermost running phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.running: list[str] = []
        self.since = _now()

    def settle(self) -> None:
        now = _now()
        if self.running:
            name = self.running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self.since
        self.since = now


_clock: ContextVar[_Clock | None] = ContextVar("clock", default=None)


@contextmanager
def recording() -> Iterator[dict[str, float]]:
    """Collect the seconds of the phases that run inside; a recording around this one stands still meanwhile."""
    outer, clock = _clock.get(), _Clock()
    if outer is not None:
        outer.settle()
    token = _clock.set(clock)
    try:
        yield clock.seconds
    finally:
        _clock.reset(token)
        if outer is not None:
            outer.since = _now()


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """Time a phase; does nothing outside of :func:`recording`."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.settle()
    clock.running.append(name)
    try:
        yield
    finally:
        clock.settle()
        clock.running.pop()


def take_over(seconds: Mapping[str, float]) -> None:
    """Count phases that another process measured while the running phase waited for it; the rest is that one's own."""
    clock = _clock.get()
    if clock is None:
        return
    clock.settle()
    for name, spent in seconds.items():
        clock.seconds[name] = clock.seconds.get(name, 0.0) + spent
    if clock.running:
        waiting = clock.running[-1]
        clock.seconds[waiting] = max(0.0, clock.seconds[waiting] - sum(seconds.values()))


def _now() -> float:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()

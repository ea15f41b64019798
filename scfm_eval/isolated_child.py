"""The other side of :mod:`scfm_eval.isolated`: makes a model, and answers what is asked of it."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

from anndata import AnnData

from scfm_eval import guards, timing
from scfm_eval.blame import described
from scfm_eval.datasets.view import fingerprint
from scfm_eval.device import free_memory, peak_memory
from scfm_eval.errors import FailedModelError

Request = Literal["load", "call", "get", "greet", "set"]


@dataclass
class Said:
    """What is said to one request.

    Parameters
    ----------
    value, error
        The answer, or what was raised instead.
    seconds, peak_memory_bytes, findings
        Phases that the model stated, largest memory of this process, and what guards told, meanwhile.
    changed_cells
        Whether cells that came with the request are others now.
    """

    value: Any = None
    error: BaseException | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: dict[str, int | None] = field(default_factory=dict)
    findings: list[guards.Finding] = field(default_factory=list)
    changed_cells: bool = False


def serve(handle: int) -> None:
    """Answer requests that come through the socket ``handle`` until it is closed."""
    host, own = _Host(), os.getpid()
    with Connection(handle) as connection:
        while True:
            try:
                what, parts = connection.recv()
            except (EOFError, ConnectionError):
                return
            except Exception as error:
                _say(connection, Said(error=_travelling(error)))
            else:
                said = host.answer(what, parts)
                if os.getpid() != own:
                    # a process that the model split off must not answer in its place
                    os._exit(0)
                _say(connection, said)


class _Host:
    """Has the one model of this process."""

    def __init__(self) -> None:
        self.model: Any = None
        self.changed_cells = False
        self._off = ExitStack()

    def answer(self, what: Request, parts: tuple[Any, ...]) -> Said:
        """Return what the model says, or what it raised: an exit is an error like any other."""
        do: Callable[..., Any] = getattr(self, f"_{what}")
        said = Said()
        with timing.recording() as said.seconds, peak_memory() as peak, guards.listening() as said.findings:
            try:
                said.value = do(*parts)
            except BaseException as error:
                said.error = _travelling(error)
        if said.error is not None:
            free_memory()
        said.peak_memory_bytes, said.changed_cells = dict(peak), self.changed_cells
        return said

    def _greet(self) -> None:
        return

    def _load(
        self, files: dict[str, str], packed: bytes, arguments: dict[str, Any], threads: int | None, off: list[str]
    ) -> None:
        self._off.enter_context(guards.without(off))
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        for name, file in files.items():
            _import_file(name, file)
        model = pickle.loads(packed)  # noqa: S301 - it comes from the process that started this one
        self.model = model(**arguments)

    def _call(self, name: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = [part for part in (*positional, *named.values()) if isinstance(part, AnnData)]
        before = [fingerprint(cells) for cells in given]
        value = getattr(self.model, name)(*positional, **named)
        self.changed_cells |= before != [fingerprint(cells) for cells in given]
        return value

    def _get(self, name: str) -> Any:
        return getattr(self.model, name)

    def _set(self, name: str, value: Any) -> None:
        setattr(self.model, name, value)


def _import_file(name: str, file: str) -> None:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _say(connection: Connection, said: Said) -> None:
    try:
        connection.send(said)
    except ConnectionError:
        return
    except Exception as error:
        connection.send(Said(error=_untold(error)))


def _travelling(error: BaseException) -> Exception:
    """Return an error as it is if the other process can read it, else what it says."""
    if isinstance(error, SystemExit):
        return _untold(error)
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - it was packed here, a moment ago
    except Exception:
        return _untold(error)
    return error if type(again) is type(error) and isinstance(error, Exception) else _untold(error)


def _untold(error: BaseException) -> FailedModelError:
    return FailedModelError(
        asked="an answer in a process of its own", found=described(error), remedy="mend the model, and run it alone"
    )

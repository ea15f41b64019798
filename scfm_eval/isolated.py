"""A model in a process of its own: whatever ends that process, the run goes on with the others.

The two processes are of this program and speak through a socket that nobody else can open; what they send each other
is pickled. The other process starts anew, knows what this one could import, and ends with it.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle

from scfm_eval import guards, timing
from scfm_eval.blame import blamed_on
from scfm_eval.device import peak_elsewhere
from scfm_eval.errors import FailedModelError, InvalidInputError
from scfm_eval.isolated_child import Request, Said

_PAUSE = 0.2  # seconds between two looks at a process that says nothing
_LINGER = 3.0  # seconds that a process has to end by itself
_CHILD = "import sys; sys.path[:] = {path!r}; from scfm_eval.isolated_child import serve; serve({handle})"
_WHEN_ALONE = "read _; kill -s KILL -- -{group}"


@contextmanager
def isolated(model: type, arguments: dict[str, Any], *, time_limit: float | None = None) -> Iterator[Any]:
    """Give what stands for an instance of ``model`` that is made and asked in a process of its own.

    A model under another Python has one already, with a time limit of its own, and is given as it is.

    Parameters
    ----------
    model, arguments
        The class, and what its constructor is given.
    time_limit
        Most seconds for loading and for each call, after which the process is ended; ``None`` waits for ever.

    Raises
    ------
    FailedModelError
        The process died or took too long, now or at a later call.
    InvalidInputError
        The system has no such processes.
    """
    if getattr(model, "loads_at_each_call", False):
        yield model(**arguments)
        return
    child = _Child(getattr(model, "name", model.__name__), time_limit=time_limit)
    try:
        child.start()
        child.ask("load", _files(model), _packed(model), arguments, _threads(), guards.switched_off())
        yield StandIn(model, child)
    finally:
        child.end()


class StandIn:
    """Stands for a model in another process: its methods and attributes are asked for there.

    Parameters
    ----------
    model
        The class.
    child
        The other process.
    """

    def __init__(self, model: type, child: _Child) -> None:
        vars(self).update(_model=model, _child=child)

    @property
    def changed_cells(self) -> bool:
        """Whether the model has changed cells that it was given."""
        return self._child.changed_cells  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if callable(getattr(self._model, name, None)):
            return partial(self._child.call, name)
        return self._child.ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._child.ask("set", name, value)


class _Child:
    """The other process: at most one question at a time."""

    def __init__(self, name: str, *, time_limit: float | None) -> None:
        if os.name != "posix":
            raise InvalidInputError(
                asked=f"{name} in a process of its own", found=f"the system {os.name}", remedy="leave --isolate out"
            )
        self.name, self.time_limit = name, time_limit
        self.changed_cells = self.is_late = False
        self.ended = ""
        here, there = socket.socketpair()
        with there:
            command = _CHILD.format(path=sys.path, handle=there.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-c", command],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )
        self.connection = Connection(here.detach())
        # ends the other process and those that it started when this one is gone, however it went
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _WHEN_ALONE.format(group=self.process.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self) -> None:
        """Wait for the first word, which tells that the process is there; this takes nothing of a model's time."""
        limit, self.time_limit = self.time_limit, None
        self.ask("greet")
        self.time_limit = limit

    def call(self, name: str, /, *positional: Any, **named: Any) -> Any:
        return self.ask("call", name, positional, named)

    def ask(self, what: Request, *parts: Any) -> Any:
        """Return what the process says; raises what the model raised there."""
        if self.connection.closed:
            raise self._failed()
        timer = threading.Timer(self.time_limit, self._be_late) if self.time_limit else None
        if timer:
            timer.start()
        try:
            self.connection.send((what, parts))
            said = self._said()
        except (EOFError, ConnectionError):
            self.ended = self._how_it_ended()
            raise self._failed() from None
        except BaseException:
            # in the middle of an answer nobody knows what would come next
            self._kill()
            self.end()
            raise
        finally:
            if timer:
                timer.cancel()
        return self._taken(said)

    def _said(self) -> Said:
        while not self.connection.poll(_PAUSE):
            # a process that it started may hold the socket open
            if self.process.poll() is not None and not self.connection.poll():
                raise EOFError
        with blamed_on(self.name, asked="reading an answer"):
            try:
                said: Said = self.connection.recv()
            except (EOFError, ConnectionError) as error:
                ended = error
            else:
                return said
        raise ended

    def _taken(self, said: Said) -> Any:
        timing.take_over(said.seconds)
        peak_elsewhere(said.peak_memory_bytes)
        for finding in said.findings:
            guards.tell(finding.guard, asked=finding.asked, found=finding.found, remedy=finding.remedy)
        self.changed_cells |= said.changed_cells
        if said.error is not None:
            raise said.error
        return said.value

    def _be_late(self) -> None:
        self.is_late = True
        self._kill()

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_LINGER)
        code = self.process.returncode
        self.end()
        if self.is_late:
            return f"it took longer than {self.time_limit:g} s, the time limit, and was ended"
        if code is None:
            return "its process closed the connection"
        if code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its process was ended by {name}{', probably out of memory' if name == 'SIGKILL' else ''}"

    def _failed(self) -> FailedModelError:
        remedy = "run it alone and watch it" if not self.is_late else "give it more time: --time-limit SECONDS"
        found = self.ended or "its process was ended in the middle of an answer"
        return FailedModelError(asked=f"{self.name} in a process of its own", found=found, remedy=remedy)

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Let the process end by itself, then end it and what it started."""
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_LINGER)
        self._kill()
        self.process.wait()
        self._guardian.kill()
        self._guardian.communicate()


def _packed(model: type) -> bytes:
    """Return a class as the other process finds or makes it again."""
    with suppress(pickle.PicklingError, AttributeError, TypeError):
        if model.__module__ != "__main__":
            return pickle.dumps(model)
    packed: bytes = cloudpickle.dumps(model)
    return packed


def _files(model: type) -> dict[str, str]:
    """Return the file of each module of a class that no import would find, by its name, parents first."""
    names = [part.__module__ for part in reversed(model.__mro__) if not _is_found(part.__module__)]
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {name: str(Path(file).absolute()) for name, file in files.items() if file}


def _is_found(name: str) -> bool:
    top = name.partition(".")[0]
    return name == "__main__" or any(finder.find_spec(top, None) for finder in sys.meta_path)


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())

"""Gives one test of a distributed run the machine to itself, so that it can time something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]


class Quiet:
    """Tests of several processes that take part, any number together or one alone.

    Parameters
    ----------
    folder
        Made for the locks, where the processes of one run, and no others, find it.
    """

    possible = fcntl is not None

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._door, self._room = (folder / name for name in ("door", "room"))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Take part; waits while a test of another process is alone, or waits to be."""
        with self._room.open("a") as self._place:
            with self._through_the_door():
                fcntl.flock(self._place, fcntl.LOCK_SH)
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within :meth:`together`: wait until no other process is in a test, and let none begin one."""
        # two that want to be alone would wait for each other if they kept their places
        fcntl.flock(self._place, fcntl.LOCK_UN)
        with self._through_the_door():
            fcntl.flock(self._place, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._place, fcntl.LOCK_SH)

    @contextmanager
    def _through_the_door(self) -> Iterator[None]:
        with self._door.open("a") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield

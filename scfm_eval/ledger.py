"""What a run has finished, appended to a file as it comes, so that a run that was killed can go on where it stopped.

One JSON object a line, ``{"sha256": …, "record": …}``: first what the run is, then finished tests and resumptions. A
line that is torn or was changed does not verify, and stands for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfm_eval.atomic import replacing
from scfm_eval.errors import InvalidInputError

if TYPE_CHECKING:
    from filelock import BaseFileLock


@dataclass(frozen=True)
class Kept:
    """What a ledger holds.

    Parameters
    ----------
    run
        What the run is, one entry for each thing that decides its numbers; ``None`` where the first line does not say.
    tests
        Last record of each finished test, by its id.
    resumed
        How many times the run was resumed.
    damaged
        How many lines are torn or were changed.
    """

    run: dict[str, Any] | None = None
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    resumed: int = 0
    damaged: int = 0


class Ledger:
    """The ledger of the run that writes a report.

    Parameters
    ----------
    report
        Path of the report; the ledger lies beside it and has its name.
    """

    def __init__(self, report: Path) -> None:
        self.path = report.absolute().with_name(f"{report.stem}.ledger.jsonl")
        self._lock: BaseFileLock | None = None

    def lock(self) -> None:
        """Keep other runs from this report until :meth:`unlock`, or until this process is dead.

        Raises
        ------
        InvalidInputError
            Another run has it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(f"{self.path}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InvalidInputError(
                asked=f"a run with the ledger {self.path}",
                found="another run that is writing it",
                remedy="wait for its end, or give each run a report of its own: --report PATH",
            ) from error
        except (OSError, NotImplementedError):
            # a file system without locks, or a lock of somebody else: no run ends for want of its ledger
            return
        self._lock = lock

    def unlock(self) -> None:
        """Let other runs have it."""
        if self._lock is not None:
            self._lock.release()

    def read(self) -> Kept:
        """Return what is whole in the ledger; nothing where there is none.

        Raises
        ------
        InvalidInputError
            It is there and cannot be read.
        """
        try:
            lines = [line for line in self.path.read_bytes().split(b"\n") if line]
        except FileNotFoundError:
            return Kept()
        except OSError as error:
            raise InvalidInputError(
                asked=f"to go on with the run of {self.path}",
                found=str(error),
                remedy="make it readable, or leave --resume out to begin anew",
            ) from error
        records = [_record(line) for line in lines]
        whole = [record for record in records if record is not None]
        return Kept(
            run=records[0].get("run") if records and records[0] else None,
            tests={record["test"]: record for record in whole if "test" in record},
            resumed=sum("resumed" in record for record in whole),
            damaged=len(records) - len(whole),
        )

    def begin(self, run: Mapping[str, Any]) -> None:
        """Take the place of an earlier ledger, with a first line that says what the run is.

        Raises
        ------
        OSError
            It cannot be written; the earlier one is then still there.
        """
        with replacing(self.path) as temporary:
            temporary.write_bytes(_line({"run": dict(run)}))

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record to the disk before returning.

        Raises
        ------
        OSError, TypeError, ValueError
            It cannot be written, or is no JSON; the records before it are still there.
        """
        line = _line(record)
        with self.path.open("ab+") as file:
            if file.tell() and not _ends_a_line(self.path):
                # a torn line before this one would take it along
                file.write(b"\n")
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def require_same_run(now: Mapping[str, Any], before: Mapping[str, Any], *, ledger: Path) -> None:
    """Refuse to go on with a run in which something else decided the numbers; ``None`` is not known, and no difference.

    Raises
    ------
    InvalidInputError
        The message names what differs, each with its value now and before.
    """
    differing = [
        name
        for name in sorted({*now, *before})
        if now.get(name) != before.get(name)
        and not (name in now and name in before and None in (now[name], before[name]))
    ]
    if differing:
        told = "; ".join(f"{name} is {_short(now, name)} and was {_short(before, name)}" for name in differing)
        raise InvalidInputError(
            asked=f"to go on with the run of {ledger}",
            found=f"another run: {told}",
            remedy="give what it was begun with, leave --resume out to begin anew, or give another --report PATH",
        )


def _short(run: Mapping[str, Any], name: str) -> str:
    text = re.sub("([0-9a-f]{8})[0-9a-f]{56}", r"\1…", str(run.get(name, "absent")))
    return text if len(text) <= 80 else f"{text[:80]}…"


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":"))
    return f'{{"sha256":"{_sha256(text)}","record":{text}}}\n'.encode()


def _record(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, if it verifies."""
    try:
        found = json.loads(line)
        record = found["record"]
        is_whole = found["sha256"] == _sha256(json.dumps(record, separators=(",", ":"))) and isinstance(record, dict)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if is_whole else None


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

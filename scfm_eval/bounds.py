"""What is read of a stranger's file: ordinary files only, and no more than there is room for."""

from __future__ import annotations

import gzip
import json
import re
import stat
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from scfm_eval.errors import InvalidInputError

FREELY = 2**28
"""Bytes that any file may unpack to."""

TIMES = 200
"""How many times its own size a file may unpack to beyond that."""

_JSON_GROWS = 24  # bytes in memory of a byte of JSON, at most: empty lists
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def ordinary(path: Path) -> Path:
    """Return the path of an ordinary file, or of a link to one.

    Raises
    ------
    InvalidInputError
        It is a folder, a pipe, a socket or a device, which might never end.
    OSError
        It is not there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise InvalidInputError(
            asked=f"the content of {path}",
            found=f"{kinds.get(stat.S_IFMT(mode), 'a device')}, and no ordinary file",
            remedy="give an ordinary file; what a pipe or a device gives has to be put into one first",
        )
    return path


def room() -> int:
    """Return how many bytes one file may take in memory: half of what is free."""
    import psutil

    return int(psutil.virtual_memory().available // 2)


def require_room(n_bytes: int, *, path: Path, packed: int | None = None) -> None:
    """Refuse what takes more memory than there is room for, or than a file of that size has a reason to take.

    Parameters
    ----------
    n_bytes
        What it takes, as far as the file declares it.
    path
        The file.
    packed
        Its size, where it is compressed.

    Raises
    ------
    InvalidInputError
        It takes more.
    """
    most = room() if packed is None else min(room(), max(FREELY, TIMES * packed))
    if not 0 <= n_bytes <= most:
        raise InvalidInputError(
            asked=f"the content of {path}",
            found=f"{n_bytes:,} bytes once unpacked, where {most:,} are allowed",
            remedy="use the file that was published, or a machine with more free memory if it is as large as that",
        )


def read_bytes(path: Path, *, grows: int = 1) -> bytes:
    """Return the content of an ordinary file.

    Parameters
    ----------
    path
        The file.
    grows
        Bytes in memory of a byte of the file.

    Raises
    ------
    InvalidInputError
        It is no ordinary file, or there is no room for it.
    OSError
        It is not there, or cannot be read.
    """
    size = ordinary(path).stat().st_size
    require_room(size * grows, path=path)
    with path.open("rb") as stream:
        return stream.read(size)


def read_text(path: Path, *, grows: int = 1, encoding: str = "utf-8") -> str:
    """Return the text in an ordinary file, each line ending in one character; raises like :func:`read_bytes`."""
    return read_bytes(path, grows=grows).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def inflated(content: bytes, *, path: Path) -> bytes:
    """Return what gzip compressed, up to the size that is allowed.

    Raises
    ------
    InvalidInputError
        It is more.
    OSError, EOFError, zlib.error
        It is damaged.
    """
    with gzip.GzipFile(fileobj=BytesIO(content)) as packed:
        made = packed.read(max(FREELY, TIMES * len(content)) + 1)
    require_room(len(made), path=path, packed=len(content))
    return made


def require_small_members(packed: ZipFile, *, path: Path) -> None:
    """Refuse a zip whose members together unpack to more than is allowed; raises like :func:`require_room`."""
    require_room(sum(member.file_size for member in packed.infolist()), path=path, packed=path.stat().st_size)


def read_json(path: Path) -> Any:
    """Return what is in a file of JSON, each name of an object once, all text such that it can be written again.

    Raises
    ------
    InvalidInputError
        It is no ordinary file, or there is no room for it.
    OSError
        It is not there, or cannot be read.
    ValueError
        It is no such JSON.
    """
    text = read_text(path, grows=_JSON_GROWS)
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("brackets that never end") from error
    except UnicodeEncodeError as error:
        raise ValueError("half of a letter, which no text has") from error
    return found


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return made

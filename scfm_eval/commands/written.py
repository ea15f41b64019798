"""Files that commands write: whole or not at all, and a path that cannot be written is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scfm_eval.atomic import replacing
from scfm_eval.errors import InvalidInputError


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing into a refusal.

    Raises
    ------
    InvalidInputError
        If what is done inside cannot write.
    """
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            asked=f"to write {path}", found=str(error), remedy="name a file in a folder that can be written to"
        ) from error


def written(path: Path, content: bytes | str) -> Path:
    """Write a file, and the folders above it; returns the path.

    Raises
    ------
    InvalidInputError
        If it cannot be written.
    """
    with refusing(path), replacing(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path

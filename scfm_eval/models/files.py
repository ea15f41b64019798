"""Files that are written whole or not at all, and what is said of one that cannot be read or written."""

from __future__ import annotations

import errno
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from scfm_eval.atomic import replacing
from scfm_eval.errors import InvalidInputError
from scfm_eval.trial import fault_of

_SAID = 200  # characters of what a library says
_NO_PLACE = (
    errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS,
)  # fmt: skip


@contextmanager
def refusing(*, asked: str, remedy: str, found: str = "") -> Iterator[None]:
    """Make one refusal of whatever the block raises: files that are damaged can raise nearly anything.

    Parameters
    ----------
    asked, remedy
        See :class:`~scfm_eval.errors.InvalidInputError`.
    found
        Comes before what the error says.

    Raises
    ------
    InvalidInputError
        The block raised an error; what it says is told shortly.
    """
    try:
        yield
    except InvalidInputError:
        raise
    except Exception as error:
        # torch recommends to load it all the same
        said = "it holds something else than tensors" if "weights_only" in str(error) else str(error)
        raise InvalidInputError(
            asked=asked,
            found=f"{found}{type(error).__name__}: {textwrap.shorten(said, _SAID)}; nothing of it was executed",
            remedy=remedy,
        ) from error


@contextmanager
def resumed(file: Path) -> Iterator[dict[str, Any]]:
    """Give the state in a training's checkpoint, for a block that takes it up.

    Raises
    ------
    InvalidInputError
        The file is damaged, would execute code, or does not fit what the block takes it for.
    """
    import torch

    remedy = f"delete {file.name} (and the model beside it, if there is one) to begin anew, or give another folder"
    with refusing(asked=f"the checkpoint {file} to go on from", found="a damaged or foreign file; ", remedy=remedy):
        fault = fault_of("torch", file)
        if fault:
            raise ValueError(fault)
        yield torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name to write a file under; once that is whole it takes the place of ``path``.

    Raises
    ------
    InvalidInputError
        The file could not be written, for want of disk space say; what was at ``path`` is still there as it was.
    """
    try:
        with replacing(path) as unfinished:
            yield unfinished
    except (OSError, RuntimeError, SafetensorError) as error:  # torch says RuntimeError when the disk is full
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: Exception) -> InvalidInputError:
    said = (error.strerror or str(error)) if isinstance(error, OSError) else "the writing broke off"
    kept = "; the earlier version of the file is unharmed" if path.is_file() else ""
    asked = f"to write {path}"
    if isinstance(error, OSError) and error.errno in _NO_PLACE:
        return InvalidInputError(asked=asked, found=said, remedy=f"give a folder that can be written to{kept}")
    return InvalidInputError(
        asked=asked,
        found=f"{said}; {shutil.disk_usage(path.parent).free:,} bytes are free on that disk",
        remedy=f"free some disk space, and give the same command again{kept}",
    )

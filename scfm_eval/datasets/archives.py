"""Named files out of an archive; nothing else of it is written, and nowhere else."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from scfm_eval.atomic import replacing
from scfm_eval.errors import InvalidInputError

_MOST_BYTES = 64 * 2**30
_AGAIN = "delete the archive to download it again"


@dataclass(frozen=True)
class _Member:
    """One ordinary file of an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def take_out(archive: Path, names: Sequence[str], *, folder: Path) -> None:
    """Write some files of an archive into a folder, each whole or not at all.

    Parameters
    ----------
    archive
        ``.zip`` or ``.tar``, compressed or not.
    names
        Where the files are put below ``folder``. Inside the archive they are found by the last part of their names,
        in whatever folders they lie there.
    folder
        Where they are put.

    Raises
    ------
    InvalidInputError
        The archive is damaged, lacks one of the files or has it twice, or one is larger than 64 GiB.
    """
    asked = f"{', '.join(names)} out of {archive}"
    try:
        with _members(archive) as members:
            for name in names:
                _write(_only(members, PurePosixPath(name).name, asked=asked), folder / name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InvalidInputError(asked=asked, found=f"{type(error).__name__}: {error}", remedy=_AGAIN) from error


def _only(members: Sequence[_Member], name: str, *, asked: str) -> _Member:
    found = [member for member in members if member.name == name]
    if len(found) != 1:
        raise InvalidInputError(asked=asked, found=f"{len(found)} files named {name}", remedy=_AGAIN)
    if found[0].size > _MOST_BYTES:
        raise InvalidInputError(
            asked=asked, found=f"{name} of {found[0].size} bytes", remedy="use the published archive"
        )
    return found[0]


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield [
                _Member(PurePosixPath(one.filename).name, one.file_size, partial(packed.open, one))
                for one in packed.infolist()
                if not one.is_dir()
            ]
        return
    with tarfile.open(archive) as bundled:
        yield [
            _Member(PurePosixPath(one.name).name, one.size, partial(_opened, bundled, one))
            for one in bundled
            if one.isfile()
        ]


def _opened(bundled: tarfile.TarFile, one: tarfile.TarInfo) -> IO[bytes]:
    file = bundled.extractfile(one)
    assert file is not None
    return file


def _write(member: _Member, path: Path) -> None:
    with member.open() as source, replacing(path) as temporary, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)

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
from scfm_eval.bounds import FREELY, TIMES, ordinary
from scfm_eval.errors import InvalidInputError

_MOST_BYTES, _MOST_MEMBERS = 64 * 2**30, 100_000
_AGAIN = "delete the archive to download it again"


@dataclass(frozen=True)
class _Member:
    """One ordinary file of an archive, and how many bytes it may take: it is unpacked to the disk."""

    name: str
    size: int
    most: int
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
        The archive is no ordinary file or damaged, lacks one of the files or has it twice, or one is larger than
        64 GiB, or than 256 MiB and 200 times the archive.
    """
    asked = f"{', '.join(names)} out of {archive}"
    try:
        with _members(archive) as members:
            for name in names:
                _write(_only(members, PurePosixPath(name).name, asked=asked), folder / name)
    except InvalidInputError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise InvalidInputError(asked=asked, found=f"{type(error).__name__}: {error}", remedy=_AGAIN) from error


def _only(members: Sequence[_Member], name: str, *, asked: str) -> _Member:
    found = [member for member in members if member.name == name]
    if len(found) != 1:
        raise InvalidInputError(asked=asked, found=f"{len(found)} files named {name}", remedy=_AGAIN)
    if found[0].size > found[0].most:
        raise InvalidInputError(
            asked=asked, found=f"{name} of {found[0].size} bytes", remedy="use the published archive"
        )
    return found[0]


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    most = min(_MOST_BYTES, max(FREELY, TIMES * ordinary(archive).stat().st_size))
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield [
                _Member(PurePosixPath(one.filename).name, one.file_size, most, partial(packed.open, one))
                for one in packed.infolist()
                if not one.is_dir()
            ]
        return
    with tarfile.open(archive) as bundled:
        yield [
            _Member(PurePosixPath(one.name).name, one.size, most, partial(_opened, bundled, one))
            for one in _listed(bundled, most=most)
            if one.isfile() and not one.issparse()
        ]


def _listed(bundled: tarfile.TarFile, *, most: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members; all is unpacked on the way, so that the first that lies too far in ends it."""
    for number, one in enumerate(bundled):
        if one.offset_data + one.size > 2 * most or number > _MOST_MEMBERS:
            raise tarfile.ReadError(f"more than {2 * most:,} bytes, or than {_MOST_MEMBERS:,} members")
        yield one


def _opened(bundled: tarfile.TarFile, one: tarfile.TarInfo) -> IO[bytes]:
    file = bundled.extractfile(one)
    assert file is not None
    return file


def _write(member: _Member, path: Path) -> None:
    with member.open() as source, replacing(path) as temporary, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)

"""Arrays in files of numpy, which are read only as far as the file is as large as they say; objects never are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from numpy.lib import format as npy
from numpy.typing import NDArray

from scfm_eval.bounds import ordinary, require_room, require_small_members

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array in an ``.npy`` file.

    Raises
    ------
    InvalidInputError
        It is no ordinary file, or there is no room for it.
    OSError, ValueError, EOFError
        It is not there, damaged, smaller than it says, or holds objects.
    """
    size = ordinary(path).stat().st_size
    require_room(size, path=path)
    with path.open("rb") as stream:
        return _read(stream, n_bytes=size)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays in an ``.npz`` file by name.

    Raises
    ------
    InvalidInputError
        It is no ordinary file, or there is no room for it.
    OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
        It is not there, damaged, an array is smaller than it says or holds objects, or a name stands twice.
    """
    with ZipFile(ordinary(path)) as packed:
        require_small_members(packed, path=path)
        made = {}
        for member in packed.infolist():
            name = member.filename.removesuffix(".npy")
            if name in made or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise ValueError(f"{name[:60]!r} twice, or compressed in a way that numpy does not know")
            with packed.open(member) as stream:
                made[name] = _read(stream, n_bytes=member.file_size)
    return made


def _read(stream: IO[bytes], *, n_bytes: int) -> NDArray[Any]:
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the form of arrays")
    shape, _, dtype = _HEADERS[version](stream)
    said = math.prod(shape) * max(dtype.itemsize, 1)
    if said > n_bytes and not dtype.hasobject:
        raise ValueError(f"an array of {said:,} bytes in {n_bytes:,}")
    stream.seek(0)
    made: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return made

"""What reads a file on trial: a program of its own, which knows nothing of the package and may be ended any time.

``python trial_child.py KIND FILE BYTES SECONDS``; it ends with 0 where the file can be read, and else says what is
wrong.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

_DEPTH = 100
_FREELY, _TIMES = 2**28, 200  # as in bounds.py
_BITS = 4096
_SAMPLED = 48  # chunks of a dataset that are unpacked
_CHUNK = 2**26
_BLOCK = 250  # texts that are read at once
_ZIPPED = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16, "UntypedStorage": 1,
}  # fmt: skip
_FILTERS = {1, 2, 3, 4, 5, 6, 32000, 32001, 32004, 32015}


class _UnfitError(Exception):
    """Why a file is refused."""


class _Stand:
    """Stands for whatever a pickle makes of a class or of a function."""

    def __new__(cls, *arguments: Any, **_: Any) -> _Stand:
        made = super().__new__(cls)
        made.parts = list(arguments)
        return made

    parts: list[Any]

    def __setstate__(self, state: Any) -> None:
        self.parts.append(state)

    def append(self, value: Any) -> None:
        """Keep a part."""
        self.parts.append(value)

    def __setitem__(self, key: Any, value: Any) -> None:
        hash(key)
        self.parts += [key, value]

    add = append


class _Reader(pickle.Unpickler):
    """Reads a pickle without any class, and keeps how large the storages are that it names."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, int] = {}

    def find_class(self, _module: str, name: str) -> Any:
        """Return a stand-in, whatever is named."""
        return type(name, (_Stand,), {})

    def persistent_load(self, pid: Any) -> Any:
        """Return a stand-in for a tensor's storage, whose size is kept."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and isinstance(pid[4], int) and isinstance(pid[2], str)):
            raise _UnfitError("a tensor without a storage")
        name = getattr(pid[1], "__name__", "")
        if name not in _STORAGES:
            raise _UnfitError(f"a storage of a kind that is not known: {name}")
        self.storages[pid[2]] = max(self.storages.get(pid[2], 0), pid[4] * _STORAGES[name])
        return _Stand()


class _Weighed:
    """Refuses content that is nested too deeply, holds itself, or takes too much once it is written out."""

    def __init__(self, content: Any, *, most: int) -> None:
        self._weights: dict[int, int] = {}
        self._most = most
        self._weight(content, 0)

    def _weight(self, one: Any, depth: int) -> int:
        if not isinstance(one, dict | list | tuple | set | frozenset | _Stand):
            return _leaf(one)
        if id(one) in self._weights:
            if self._weights[id(one)] < 0:
                raise _UnfitError("content that holds itself")
            return self._weights[id(one)]
        if depth > _DEPTH:
            raise _UnfitError("content that is nested too deeply")
        self._weights[id(one)] = -1
        total = 8 + sum(self._row(part, depth) for part in _inside(one))
        if total > self._most:
            raise _UnfitError("content that takes too much memory once it is written out")
        self._weights[id(one)] = total
        return total

    def _row(self, part: list[Any], depth: int) -> int:
        kinds = set(map(type, part))
        if kinds <= {float, bool, type(None)}:
            return 8 * len(part)
        if kinds == {str}:
            for text in set(part):
                _leaf(text)
            return sum(4 * len(text) + 8 for text in part)
        return sum(self._weight(one, depth + 1) for one in part)


def _inside(one: Any) -> list[list[Any]]:
    if isinstance(one, dict):
        return [list(one), list(one.values())]
    return [one.parts if isinstance(one, _Stand) else list(one)]


def _leaf(one: Any) -> int:
    if isinstance(one, str):
        if not one.isascii():
            one.encode()
        return 8 + 4 * len(one)
    if isinstance(one, int) and one.bit_length() > _BITS:
        raise _UnfitError("a number that is too large")
    return 8 + (len(one) if isinstance(one, bytes | bytearray) else 0)


def _try_pickle(path: str) -> None:
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        _Weighed(_Reader(stream).load(), most=max(_FREELY, _TIMES * size))


def _try_torch(path: str) -> None:
    with open(path, "rb") as stream:
        begins_zipped = stream.read(len(_ZIPPED)) == _ZIPPED
    if begins_zipped != zipfile.is_zipfile(path):
        # torch goes by the beginning, whatever stands at the end
        raise _UnfitError("two formats in one file")
    if begins_zipped:
        return _try_zipped(path)
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        if _Reader(stream).load() != _MAGIC:
            raise _UnfitError("no file of torch")
        readers = [_Reader(stream) for _ in range(4)]
        for reader in readers:
            _Weighed(reader.load(), most=max(_FREELY, _TIMES * size))
        if sum(readers[2].storages.values()) > size:
            raise _UnfitError("storages that are larger than the file")
    return None


def _try_zipped(path: str) -> None:
    with zipfile.ZipFile(path) as packed:
        members = {member.filename: member for member in packed.infolist()}
        if len(members) < len(packed.infolist()):
            raise _UnfitError("two members of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise _UnfitError("compressed members, which torch does not write")
        if sum(member.file_size for member in members.values()) > os.path.getsize(path):
            raise _UnfitError("members that are larger than the file")
        (name,) = (name for name in members if name.endswith("/data.pkl") or name == "data.pkl")
        with packed.open(name) as stream:
            reader = _Reader(stream)
            _Weighed(reader.load(), most=max(_FREELY, _TIMES * members[name].file_size))
        for key, n_bytes in reader.storages.items():
            member = members.get(name.removesuffix("data.pkl") + f"data/{key}")
            if member is None or not 0 <= n_bytes <= member.file_size:
                raise _UnfitError("a storage that is absent or smaller than is said")


def _try_parquet(path: str) -> None:
    import pandas as pd

    table = pd.read_parquet(path)
    if table.size > sys.maxsize:
        raise _UnfitError("a table without an end")


def _try_hdf5(path: str) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        total = 0
        for one in _objects(file):
            _require_plain_attributes(one)
            if isinstance(one, h5py.Dataset):
                total += _declared(one)
        _require_little(total, os.path.getsize(path))


def _objects(file: Any) -> Iterator[Any]:
    """Yield every group and dataset of a file once; a link that is no name of a part of this file is refused."""
    import h5py

    seen, waiting = set(), [(file, 0)]
    while waiting:
        group, depth = waiting.pop()
        yield group
        if not isinstance(group, h5py.Group):
            continue
        if depth > _DEPTH:
            raise _UnfitError("groups that are nested too deeply")
        for name in group:
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise _UnfitError(f"a link to another place: {name!a:.60}")
            one = group[name]
            if not isinstance(one, h5py.Group | h5py.Dataset):
                raise _UnfitError(f"something else than groups and arrays: {name!a:.60}")
            address = h5py.h5o.get_info(one.id).addr
            if address in seen and isinstance(one, h5py.Group):
                raise _UnfitError(f"a group with two names: {name!a:.60}")
            seen.add(address)
            waiting.append((one, depth + 1))


def _require_plain_attributes(one: Any) -> None:
    if sum(getattr(value, "nbytes", 0) or len(str(value)) for value in one.attrs.values()) > _CHUNK:
        raise _UnfitError("attributes that are too large")


def _declared(one: Any) -> int:
    """Return how many bytes an array takes once it is read; one that is elsewhere, or no plain data, is refused."""
    import h5py

    stated = one.id.get_create_plist()
    if one.is_virtual or stated.get_external_count():
        raise _UnfitError("an array that lies in other files")
    if one.shape is None:
        return 0
    text = h5py.check_string_dtype(one.dtype)
    varies = h5py.check_vlen_dtype(one.dtype)
    if (varies is not None or one.dtype.hasobject) and text is None and one.dtype.names is None:
        raise _UnfitError("an array of something else than numbers and text")
    size: int = one.size * _width(one)
    filters = [stated.get_filter(place)[0] for place in range(stated.get_nfilters())]
    if len(set(filters)) < len(filters) or not set(filters) <= _FILTERS:
        raise _UnfitError("an array that is compressed in a strange way")
    if one.chunks:
        _try_chunks(one, size=size, is_deflated=1 in filters)
    _require_little(size, os.path.getsize(one.file.filename))
    return size + (_texts(one) if text is not None and text.length is None else 0)


def _width(one: Any) -> int:
    """Return how many bytes of a file a value takes; text of any length is a reference of 16."""
    return 16 if one.dtype.hasobject else max(int(one.dtype.itemsize), 1)


def _try_chunks(one: Any, *, size: int, is_deflated: bool) -> None:
    """Refuse chunks that are far larger than their array, or, of a sample of them, than they say."""
    n_bytes = _width(one)
    for side in one.chunks:
        n_bytes *= side
    if n_bytes > max(2 * size, _CHUNK):
        raise _UnfitError("chunks that are larger than their array")
    if not is_deflated:
        return
    n_chunks = one.id.get_num_chunks()
    for place in range(n_chunks) if n_chunks <= _SAMPLED else random.sample(range(n_chunks), _SAMPLED):
        about = one.id.get_chunk_info(place)
        _, raw = one.id.read_direct_chunk(about.chunk_offset)
        made = zlib.decompressobj().decompress(raw, n_bytes + 2**10)
        if about.filter_mask == 0 and len(made) > n_bytes + 2**9:
            raise _UnfitError("chunks that unpack to more than they say")


def _texts(one: Any) -> int:
    """Return how many bytes the texts of an array take."""
    total, flat = 0, one.size if one.ndim == 1 else 0
    if one.ndim > 1:
        raise _UnfitError("texts in more than one dimension")
    if not one.ndim:
        made: int = len(one[()])
        return made
    for start in range(0, flat, _BLOCK):
        total += sum(map(len, one[start : start + _BLOCK]))
        _require_little(total, os.path.getsize(one.file.filename))
    return total


def _require_little(n_bytes: int, size: int) -> None:
    if n_bytes > max(_FREELY, _TIMES * size):
        raise _UnfitError(f"{n_bytes} bytes once it is read, in a file of {size}")


def _limit(n_bytes: int, seconds: int) -> None:
    """Take no more memory and time of the processor than that, where the system knows such limits."""
    with contextlib.suppress(ImportError):
        import resource

        wanted = {
            resource.RLIMIT_AS: (n_bytes, n_bytes),
            resource.RLIMIT_CORE: (0, 0),
            resource.RLIMIT_CPU: (seconds, seconds + 1),
        }
        for which, limits in wanted.items():
            # one that the system has set lower already stays
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(which, limits)


_READERS: dict[str, Callable[[str], None]] = {
    "pickle": _try_pickle,
    "torch": _try_torch,
    "hdf5": _try_hdf5,
    "parquet": _try_parquet,
}


def main(kind: str, path: str, n_bytes: str, seconds: str) -> int:
    """Return 0 where the file can be read, and else 1 once it is said why not."""
    _limit(int(n_bytes), int(seconds))
    try:
        _READERS[kind](path)
    except BaseException as error:
        said = str(error) if isinstance(error, _UnfitError) else f"{type(error).__name__}: {str(error)[:200]}"
        os.write(1, said.encode("ascii", "backslashreplace"))
        return 1
    return 0


if __name__ == "__main__":
    # what is left is not taken apart: only the answer counts
    sys.stdout.flush()
    os._exit(main(*sys.argv[1:]))

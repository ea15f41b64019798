"""Reads tensors out of a MindSpore ``.ckpt`` with numpy alone; nothing in the file is executed.

The file is one protobuf message (MindSpore's published ``checkpoint.proto``)::

    Checkpoint   value: repeated Value = 1
    Value        tag: string = 1        tensor: TensorProto = 2
    TensorProto  dims: repeated int64 = 1    tensor_type: string = 2    tensor_content: bytes = 3

A large tensor may be cut into several values of one tag, whose contents follow each other. Encrypted files and map
tensors are refused.
"""

import mmap

import numpy as np

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_TYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in (*_TYPES, "float16", "float32", "float64")}


def read_tensors(path, wanted=None):
    """Return name to array; ``wanted`` is a function of the name, and ``None`` takes all.

    Raises
    ------
    ValueError
        The file is cut short, encrypted, or no checkpoint of MindSpore.
    """
    found = {}
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number, value in _fields(content, 0, len(content)):
            if number != 1 or not isinstance(value, tuple):
                raise ValueError(f"it is no checkpoint of MindSpore: field {number}")
            name, dims, kind, spans = _value(content, *value)
            if wanted is None or wanted(name):
                parts = found.setdefault(name, (dims, kind, []))[2]
                parts.extend(content[start:stop] for start, stop in spans)
    return {name: _array(name, *parts) for name, parts in found.items()}


def _value(content, start, stop):
    """Return name, dimensions, type, and where the bytes of one value lie."""
    fields = list(_fields(content, start, stop))
    names = [content[slice(*span)].decode("utf-8") for number, span in fields if number == 1]
    tensors = [span for number, span in fields if number == 2]
    if len(names) != 1 or len(tensors) != 1:
        raise ValueError("a value without one name and one tensor: encrypted, a map, or no checkpoint of MindSpore")
    dims, kind, spans = [], "", []
    for number, value in _fields(content, *tensors[0]):
        if number == 1:
            dims += [value] if isinstance(value, int) else _packed(content, *value)
        elif number == 2:
            kind = content[slice(*value)].decode("utf-8")
        elif number == 3:
            spans.append(value)
    return names[0], dims, kind, spans


def _array(name, dims, kind, parts):
    raw = b"".join(parts)
    plain = kind.lower().rpartition(".")[2].rstrip("_")
    if plain == "bfloat16":
        # the upper half of a float32
        values = (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    elif plain in _DTYPES:
        values = np.frombuffer(raw, dtype=_DTYPES[plain])
    else:
        raise ValueError(f"{name} is of the type {kind!r}")
    if values.size != int(np.prod(dims, dtype=np.int64)):
        raise ValueError(f"{name} has {values.size} values for the shape {dims}")
    return values.reshape(dims)


def _fields(content, start, stop):
    """Yield number and value of each field: a whole number, or where its bytes lie."""
    while start < stop:
        key, start = _number(content, start, stop)
        kind = key & 7
        if kind == _VARINT:
            value, start = _number(content, start, stop)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, start = _number(content, start, stop)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}: it is encrypted, or no checkpoint of MindSpore")
        if start + length > stop:
            raise ValueError("it is cut short")
        yield key >> 3, (start, start + length)
        start += length


def _packed(content, start, stop):
    numbers = []
    while start < stop:
        number, start = _number(content, start, stop)
        numbers.append(number)
    return numbers


def _number(content, start, stop):
    """Return a whole number of seven bits a byte, and where the next thing begins."""
    number = 0
    for place in range(start, min(start + 10, stop)):
        number |= (content[place] & 0x7F) << (7 * (place - start))
        if content[place] < 0x80:
            return number, place + 1
    raise ValueError("it is cut short, or no checkpoint of MindSpore")

"""How files are damaged: at random, and with values that have harmed readers before."""

from __future__ import annotations

import random

# lengths and indices at the edges, opcodes of pickles, ends of strings, numbers and brackets
_STRANGE = (
    b"\xff" * 4, b"\x00" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"r\xff\xff\xff\x0f",
    b"\x8e" + b"\xff" * 7, b"NaN", b"1e999", b"-1", b"[" * 2000, b"{" * 2000, b'"\\ud800"', b"\x1b[2J", b"\x00",
    b"\t\t\n", b"../../", b"9" * 5000,
)  # fmt: skip


def damaged(content: bytes, generator: random.Random) -> bytes:
    """Return the content cut, turned, zeroed, repeated, moved, or with random or strange bytes in it, once or twice."""
    made = _once(content, generator)
    return _once(made, generator) if generator.random() < 0.3 else made


def _once(content: bytes, generator: random.Random) -> bytes:
    made, size = bytearray(content), len(content)
    start = generator.randrange(size + 1)
    stop = min(size, start + generator.choice([1, 2, 8, 64, 512]))
    kind = generator.choice(["cut", "turned", "turned", "zeroed", "repeated", "moved", "random", "strange", "strange"])
    if kind == "cut":
        return bytes(made[:start])
    if kind == "turned":
        for _ in range(generator.choice([1, 3, 20]) if size else 0):
            made[generator.randrange(size)] ^= 1 << generator.randrange(8)
        return bytes(made)
    strange = generator.choice(_STRANGE)
    if kind == "strange":
        stop = start + (len(strange) if generator.random() < 0.5 else 0)
    made[start:stop] = {
        "zeroed": bytes(stop - start),
        "repeated": content[start:stop] * 2,
        "moved": content[: stop - start],
        "random": generator.randbytes(stop - start),
        "strange": strange,
    }[kind]
    return bytes(made)

"""A damaged download is refused or read, never anything else: no traceback, no hang.

What was changed inside of the weights and still reads as weights is not seen here: that is what hashes are for.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from tests.conformance.test_golden_models import GOLDEN, OPTIONS, PARITY

SECONDS = 10


def _damaged(content: bytes, generator: random.Random) -> bytes:
    """Return the content cut, with bits turned, or with a part of it zeroed, repeated, moved or put in at random."""
    made, size = bytearray(content), len(content)
    start = generator.randrange(size)
    stop = min(size, start + generator.choice([1, 2, 8, 64, 512]))
    kind = generator.choice(["empty", "cut", "turned", "zeroed", "repeated", "moved", "random"])
    if kind in ("empty", "cut"):
        return bytes(made[: start if kind == "cut" else 0])
    if kind == "turned":
        for _ in range(generator.choice([1, 3, 20])):
            made[generator.randrange(size)] ^= 1 << generator.randrange(8)
        return bytes(made)
    parts = {
        "zeroed": bytes(stop - start),
        "repeated": content[start:stop] * 2,
        "moved": content[: stop - start],
        "random": generator.randbytes(stop - start),
    }
    made[start:stop] = parts[kind]
    return bytes(made)


def _is_refused_or_read(name: str, folder: Path) -> str:
    model = find_model(name)
    try:
        model.vocabulary(folder)
        model(weights=folder, **OPTIONS.get(name, {}))
    except InvalidInputError:
        return "refused"
    return "read"


def _outcomes(name: str, place: Path, *, n: int, seed: int) -> list[str]:
    source, generator = PARITY / GOLDEN[name], random.Random(f"{name} {seed}")
    files = find_model(name).sources(source)
    # what is imported for the first time takes its time
    assert _is_refused_or_read(name, source) == "read"
    told = []
    for number in range(n):
        folder = Path(shutil.copytree(source, place / str(number)))
        file = generator.choice(files).relative_to(source)
        (folder / file).write_bytes(_damaged((source / file).read_bytes(), generator))
        began = time.monotonic()
        told.append(_is_refused_or_read(name, folder))
        assert time.monotonic() - began < SECONDS, file
        shutil.rmtree(folder)
    return told


@pytest.mark.parametrize("name", GOLDEN)
def test_a_damaged_file_is_refused_or_read(name, tmp_path):
    assert "refused" in _outcomes(name, tmp_path, n=8, seed=0)


@pytest.mark.heavy
@pytest.mark.parametrize("name", GOLDEN)
def test_many_damaged_files_are_refused_or_read(name, tmp_path):
    assert "refused" in _outcomes(name, tmp_path, n=200, seed=1)

"""Whatever is in a file, it is read or refused: a few seconds of what ``python -m tests.fuzz`` does for long."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from tests.fuzz.damage import damaged
from tests.fuzz.readers import READERS
from tests.fuzz.watch import Told, watch

# those that start another process for each file take longer
_SLOW = ("pickle", "tokens", "pickled_vectors", "torch", "torch_inert", "parquet", "h5ad", "h5ad_embedding")
_FAST = [name for name in READERS if name not in _SLOW]
_BRIEFLY = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    made = {}

    def contents(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = (folder / f"input{READERS[name].suffix}", [p.read_bytes() for p in READERS[name].make(folder)])
        return made[name]

    return contents


def _is_read(name, path, content):
    path.write_bytes(content)
    try:
        READERS[name].read(path)
    except InvalidInputError:
        return False
    return True


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read_and_damaged_ones_only_refused(name, good):
    pytest.importorskip("rdata") if name == "rdata" else None
    path, contents = good(name)
    assert all(_is_read(name, path, content) for content in contents)
    generator = random.Random(name)
    for _ in range(3 if name in _SLOW else 15):
        _is_read(name, path, damaged(contents[0], generator))
    assert not _is_read(name, path, b"\xff\xfe\x00" * 20)


@pytest.mark.parametrize("name", _FAST)
def test_any_bytes_are_read_or_refused(name, good):
    pytest.importorskip("rdata") if name == "rdata" else None
    path, _ = good(name)

    @_BRIEFLY
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
    def check(content):
        _is_read(name, path, content)

    check()


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_a_device_a_folder_and_nothing_are_refused_at_once(name, tmp_path):
    pytest.importorskip("rdata") if name == "rdata" else None
    path = tmp_path / f"a{READERS[name].suffix}"
    os.mkfifo(path)
    (tmp_path / f"b{READERS[name].suffix}").symlink_to("/dev/zero")
    (tmp_path / f"c{READERS[name].suffix}").mkdir()
    for letter in "abcd":
        with pytest.raises(InvalidInputError):
            READERS[name].read(tmp_path / f"{letter}{READERS[name].suffix}")


@pytest.mark.heavy
def test_the_watch_counts_and_finds(tmp_path, monkeypatch):
    assert watch("gmt", seconds=20, seed=0, keep=tmp_path).executions > 10
    monkeypatch.setattr("tests.fuzz.watch.BYTES", 2**20)
    assert isinstance(told := watch("gmt", seconds=3, seed=0, keep=tmp_path), Told)
    assert any("more than" in fault for fault in told.faults)

"""The store makes an array once, verifies it on every read, and survives damage and races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scfm_eval.store import Store, key_of

KEY = key_of(model="toy")


@pytest.fixture
def calls():
    return []


@pytest.fixture
def make(calls):
    def made():
        calls.append(1)
        return [np.arange(6, dtype=np.float32).reshape(3, 2)], {"seconds": {"forward": 1.5}}

    return made


def test_makes_once_and_gives_back_the_same(tmp_path, make, calls):
    first, second = Store(tmp_path).get(KEY, make), Store(tmp_path).get(KEY, make)
    assert (first.was_there, second.was_there, len(calls)) == (False, True, 1)
    np.testing.assert_array_equal(first.arrays[0], second.arrays[0])
    assert second.facts == {"seconds": {"forward": 1.5}}


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"x" * 152])
def test_a_damaged_array_is_made_anew(tmp_path, make, calls, damage):
    Store(tmp_path).get(KEY, make)
    (stored,) = tmp_path.rglob("0.npy")
    stored.write_bytes(damage)
    assert not Store(tmp_path).get(KEY, make).was_there
    assert len(calls) == 2


def test_one_flipped_bit_is_noticed(tmp_path, make, calls):
    Store(tmp_path).get(KEY, make)
    (stored,) = tmp_path.rglob("0.npy")
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    np.testing.assert_array_equal(Store(tmp_path).get(KEY, make).arrays[0], np.arange(6).reshape(3, 2))
    assert len(calls) == 2


def test_a_failed_making_leaves_nothing(tmp_path, make):
    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).get(KEY, lambda: 1 / 0)
    assert not list(tmp_path.rglob("*.npy"))
    assert not Store(tmp_path).get(KEY, make).was_there


def test_a_full_disk_is_said_and_the_run_goes_on_in_memory(tmp_path, make, calls, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    store = Store(tmp_path)
    with pytest.warns(UserWarning, match="No space left"):
        first = store.get(KEY, make)
    again = store.get(KEY, make)
    assert (first.was_there, again.was_there, len(calls)) == (False, True, 1)
    np.testing.assert_array_equal(again.arrays[0], np.arange(6).reshape(3, 2))
    assert "could not be kept on disk: No space left" in first.facts["notes"][0]
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.undo()
    assert not Store(tmp_path).get(KEY, make).was_there


def test_one_of_many_at_once_makes_it(tmp_path, make, calls):
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda _: Store(tmp_path).get(KEY, make), range(8)))
    assert len(calls) == 1
    assert sum(not one.was_there for one in stored) == 1


def test_the_key_depends_on_every_part():
    assert len({key_of(a=1, b=2), key_of(a=1, b=3), key_of(a=1), key_of(b=1, a=1)}) == 4
    assert key_of(a=1, b=2) == key_of(b=2, a=1)


@pytest.mark.parametrize(
    "facts", ["{}", '{"sha256": [], "facts": {}}', "[", '{"sha256": ["0"], "facts": {"seconds": 1}}']
)
def test_damaged_facts_are_made_anew(tmp_path, make, calls, facts):
    Store(tmp_path).get(KEY, make)
    (stored,) = tmp_path.rglob("facts.json")
    stored.write_text(facts)
    assert Store(tmp_path).get(KEY, make).facts == {"seconds": {"forward": 1.5}}
    assert len(calls) == 2


def test_finding_makes_nothing_and_takes_only_keys(tmp_path, make, calls):
    store = Store(tmp_path)
    assert store.find(KEY) is None
    store.get(KEY, make)
    found = store.find(KEY)
    np.testing.assert_array_equal(found.arrays[0], np.arange(6).reshape(3, 2))
    assert (found.was_there, len(calls)) == (True, 1)
    (tmp_path / "elsewhere").mkdir()
    assert store.find("../elsewhere") is None

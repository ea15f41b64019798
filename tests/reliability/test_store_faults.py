"""The store under damage, killed writers, full and read-only disks, and many processes: never wrong, never stuck."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from scfm_eval import store as store_module
from scfm_eval.errors import FailedModelError
from scfm_eval.store import Store, key_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes and signals of POSIX")
FORK = multiprocessing.get_context("fork") if os.name == "posix" else None
KEY = key_of(model="toy")
FACTS = {"seconds": {"forward": 1.5}, "notes": []}
N_KILLS = 30


def arrays_of(number, *, n=6):
    return [np.arange(n, dtype=np.float32) + number, np.full((2, n), number, dtype=np.int64)]


def made(number=0, *, n=6):
    return lambda: (arrays_of(number, n=n), dict(FACTS))


def assert_right(stored, number=0, *, n=6):
    for found, expected in zip(stored.arrays, arrays_of(number, n=n), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert stored.facts["seconds"] == FACTS["seconds"]


def files_of(folder):
    return sorted(file for file in (folder / KEY[:2] / KEY).iterdir())


def ended(process, *, within=60):
    process.join(within)
    alive = process.is_alive()
    if alive:
        process.kill()
    assert not alive, "it hangs"
    return process.exitcode


def in_child(work):
    process = FORK.Process(target=work)
    process.start()
    return ended(process)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no disk may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("name", ["0.npy", "1.npy", "facts.json"])
def test_no_flipped_byte_is_ever_read(tmp_path, name):
    store, n_anew = Store(tmp_path), 0
    store.get(KEY, made())
    (file,) = (file for file in files_of(tmp_path) if file.name == name)
    whole = file.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        file.write_bytes(content)
        found = store.get(KEY, made())
        assert_right(found)
        n_anew += not found.was_there
        file.write_bytes(whole)
    assert n_anew == len(whole)


@pytest.mark.parametrize("name", ["0.npy", "1.npy", "facts.json"])
def test_no_truncated_file_is_ever_read(tmp_path, name):
    store = Store(tmp_path)
    store.get(KEY, made())
    (file,) = (file for file in files_of(tmp_path) if file.name == name)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        found = store.get(KEY, made())
        assert_right(found)
        assert not found.was_there


def lost(place):
    (place / "1.npy").unlink()


def emptied(place):
    shutil.rmtree(place)
    place.mkdir()


def made_a_file(place):
    shutil.rmtree(place)
    place.write_text("no folder")


def with_a_stranger(place):
    (place / "1.npy").unlink()
    (place / "1.npy").mkdir()


def of_objects(place):
    np.save(place / "0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def locked_by_a_folder(place):
    shutil.rmtree(place)
    Path(f"{place}.lock").unlink()
    (Path(f"{place}.lock") / "inside").mkdir(parents=True)


@pytest.mark.parametrize("fault", [lost, emptied, made_a_file, with_a_stranger, of_objects, locked_by_a_folder])
def test_what_is_broken_is_made_anew(tmp_path, fault):
    Store(tmp_path).get(KEY, made())
    fault(tmp_path / KEY[:2] / KEY)
    found = Store(tmp_path).get(KEY, made())
    assert_right(found)
    assert not found.was_there
    assert Store(tmp_path).get(KEY, made(1)).was_there


def test_arrays_under_the_key_of_others_are_not_taken_for_them(tmp_path):
    other = key_of(model="other")
    store = Store(tmp_path)
    store.get(KEY, made())
    shutil.copytree(tmp_path / KEY[:2] / KEY, tmp_path / other[:2] / other)
    assert_right(store.get(other, made(7)), 7)


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    ready = FORK.Event()

    def hold():
        def never():
            ready.set()
            time.sleep(1000)

        Store(tmp_path).get(KEY, never)

    holder = FORK.Process(target=hold)
    holder.start()
    assert ready.wait(30)
    holder.kill()
    holder.join()
    assert Path(f"{tmp_path / KEY[:2] / KEY}.lock").exists()
    assert in_child(lambda: assert_right(Store(tmp_path).get(KEY, made()))) == 0


def test_one_that_waits_for_another_process_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(store_module, "_PATIENCE", 0.1)
    ready = FORK.Event()

    def slow():
        ready.set()
        time.sleep(1)
        return arrays_of(0), dict(FACTS)

    holder = FORK.Process(target=lambda: Store(tmp_path).get(KEY, slow))
    holder.start()
    assert ready.wait(30)
    assert Store(tmp_path).get(KEY, made(1)).was_there
    assert "this one waits for it" in caplog.text
    assert ended(holder) == 0


def test_eight_workers_make_each_array_once(tmp_path):
    keys, log = [key_of(number=number) for number in range(12)], tmp_path / "log"

    def work(worker):
        order = np.random.default_rng(worker).permutation(len(keys))
        for number in order:

            def make(number=number):
                with log.open("a") as file:
                    file.write(f"{number}\n")
                time.sleep(0.02)
                return made(number)()

            assert_right(Store(tmp_path / "store").get(keys[number], make), number)

    workers = [FORK.Process(target=work, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    assert [ended(worker) for worker in workers] == [0] * 8
    assert sorted(map(int, log.read_text().split())) == list(range(12))


@pytest.mark.parametrize("step", ["mkdtemp", "save", "write_text", "rmtree", "replace"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_killed_at_any_step_leaves_what_is_right_or_nothing(tmp_path, step, when):
    owner = {
        "mkdtemp": store_module.tempfile, "save": np, "write_text": Path, "rmtree": shutil, "replace": os,
    }[step]  # fmt: skip
    do = getattr(owner, step)

    def fatal(*args, **kwargs):
        if when == "after":
            do(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    def write():
        setattr(owner, step, fatal)
        Store(tmp_path).get(KEY, made())

    assert in_child(write) == -signal.SIGKILL
    found = Store(tmp_path).get(KEY, made())
    assert_right(found)
    assert found.was_there == ((step, when) == ("replace", "after"))
    assert not list(tmp_path.glob("??/.*"))


def test_a_writer_killed_at_any_moment_leaves_what_is_right_or_nothing(tmp_path):
    rng, n, torn = np.random.default_rng(0), 200_000, 0

    def write():
        for number in range(1000):
            Store(tmp_path).get(key_of(number=number % 5), made(number % 5, n=n))
            shutil.rmtree(next(iter(tmp_path.glob("??/" + "[0-9a-f]" * 64))), ignore_errors=True)

    for _ in range(N_KILLS):
        writer = FORK.Process(target=write)
        writer.start()
        time.sleep(rng.uniform(0.01, 0.08))
        writer.kill()
        writer.join()
        torn += bool(list(tmp_path.glob("??/.*")))
        for number in range(5):
            found = Store(tmp_path).find(key_of(number=number))
            if found is not None:
                assert_right(found, number, n=n)
    assert torn, "no kill fell into a write"
    for number in range(5):
        assert_right(Store(tmp_path).get(key_of(number=number), made(number, n=n)), number, n=n)
    Store(tmp_path).get(KEY, made())
    assert not list(tmp_path.glob("??/.*"))


def test_what_a_dead_writer_of_another_key_has_begun_is_swept(tmp_path):
    def write():
        np.save = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        Store(tmp_path).get(KEY, made())

    assert in_child(write) == -signal.SIGKILL
    assert list(tmp_path.glob("??/.*"))
    Store(tmp_path).get(key_of(model="other"), made())
    assert not list(tmp_path.glob("??/.*"))


def test_what_a_living_writer_has_begun_is_not_swept(tmp_path):
    ready, go_on = FORK.Event(), FORK.Event()

    def write():
        save = np.save

        def slowly(*args, **kwargs):
            save(*args, **kwargs)
            ready.set()
            go_on.wait(30)

        np.save = slowly
        assert_right(Store(tmp_path).get(KEY, made()))

    writer = FORK.Process(target=write)
    writer.start()
    assert ready.wait(30)
    Store(tmp_path).get(key_of(model="other"), made())
    go_on.set()
    assert ended(writer) == 0
    assert Store(tmp_path).get(KEY, made(1)).was_there


def test_on_a_full_disk_the_run_goes_on_in_memory(small_disk):
    store, n = Store(small_disk), 20_000
    store.get(KEY, made())
    with pytest.warns(UserWarning, match="No space left|the disk took a part only"):
        found = [store.get(key_of(number=number), made(number, n=n)) for number in range(8)]
    kept = [one for one in found if not any("could not be kept" in note for note in one.facts["notes"])]
    assert 0 < len(kept) < 8
    for number in range(8):
        again = store.get(key_of(number=number), made(-1))
        assert_right(again, number, n=n)
        assert again.was_there
    assert not list(small_disk.glob("??/.*"))
    assert store.unfinished("training") is None
    assert Store(small_disk).get(KEY, made(1)).was_there


def test_files_that_may_not_grow_are_a_full_disk(tmp_path):
    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        store = Store(tmp_path)
        with pytest.warns(UserWarning, match="the run goes on in memory"):
            assert_right(store.get(KEY, made(n=5000)), n=5000)
        assert_right(store.get(KEY, made(1)), n=5000)

    assert in_child(write) == 0
    assert Store(tmp_path).find(KEY) is None


def test_a_read_only_disk_is_read_and_what_is_new_is_in_memory(small_disk):
    Store(small_disk).get(KEY, made())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store, other = Store(small_disk), key_of(model="other")
    assert store.get(KEY, made(1)).was_there
    with pytest.warns(UserWarning, match="Read-only"):
        assert_right(store.get(other, made(2)), 2)
    assert_right(store.get(other, made(3)), 2)
    assert store.unfinished("training") is None


def test_a_store_that_cannot_be_made_is_one_in_memory(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    with pytest.warns(UserWarning, match="Not a directory"):
        assert_right(store.get(KEY, made()))
    assert store.get(KEY, made(1)).was_there


def test_what_failed_is_not_tried_again_even_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "file").write_text("")
    store, tried = Store(tmp_path / "file"), []

    def fail():
        tried.append(1)
        raise FailedModelError(asked="a", found="torn", remedy="c")

    for _ in range(3):
        with pytest.raises(FailedModelError, match="torn"):
            store.get(KEY, fail)
    assert len(tried) == 1

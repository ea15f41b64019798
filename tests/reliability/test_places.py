"""Places that are not what a program hopes for: names, homes, folders of others, and a clock that jumps."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scfm_eval
from scfm_eval.cells import Cells
from scfm_eval.datasets import download
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset, find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate
from scfm_eval.report import read_report, write_report
from scfm_eval.store import Store, key_of
from scfm_eval.tasks.integration import BatchIntegration
from tests.made_reports import report
from tests.toys import toy_cells

NAMES = ["with  two blanks", "данные", "数据 📊", "é\u0301 'quoted' & [x]%20"]
MODEL = """import numpy as np

class Mine:
    def __init__(self, *, weights=None):
        self.weights = weights

    def embed(self, cells):
        return np.log1p(cells.X.toarray()) * float(self.weights.read_text())
"""


@pytest.fixture
def anywhere(monkeypatch):
    """Forget where the cache was, and every variable that says where it is."""
    names = ("SCFM_EVAL_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME")
    for name in names:
        # set first, so that what is set in between is taken back too
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    download._own_folder.cache_clear()
    yield
    download._own_folder.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_cache_data_weights_report_and_model_lie_anywhere(tmp_path, name, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"{name}.py").write_text(MODEL)
    (folder / f"{name}.txt").write_text("2.0")
    toy_cells().write_h5ad(folder / f"{name}.h5ad")
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(folder / "cache"))
    dataset = find_dataset(f"{folder / name}.h5ad:label=cell_type,batch=lane")
    adapter = find_model(f"{folder / name}.py:Mine")
    cells = Cells(dataset, dataset.load())
    known = {"weights": folder / f"{name}.txt", "resident": Resident()}
    found = [evaluate(BatchIntegration(), adapter, cells, store=Store(), **known) for _ in range(2)]
    assert [one.failure for one in found] == ["", ""]
    assert found[1].from_store
    assert list((folder / "cache").rglob("0.npy"))
    written = write_report(report(*found), folder / f"{name}.json")
    assert read_report(written).results[0].scores == found[0].scores


def test_a_cache_that_is_a_file_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InvalidInputError, match="name a folder"):
        Store()


def no_folder(tmp_path):
    return tmp_path / "gone"


def a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def of_the_kernel(_):
    return Path("/proc")


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("home", [no_folder, a_file, of_the_kernel])
def test_without_a_home_the_cache_is_a_folder_of_this_user(tmp_path, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home(tmp_path)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match="no cache in the home folder"):
        folder = download.cache_folder()
    assert folder == tmp_path / f"scfm_eval-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Store().get(key_of(a=1), lambda: ([__import__("numpy").ones(3)], {"seconds": {}})).facts == {"seconds": {}}
    assert str(folder) in download.without_home()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder / "numba")
    assert os.environ["HF_HOME"] == str(folder / "huggingface")
    assert download.cache_folder() == folder
    assert download.without_home() == ""
    assert not (tmp_path / "gone").exists()


@pytest.mark.usefixtures("anywhere")
def test_with_a_home_nothing_is_said_or_set(tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / ".cache" / "scfm_eval"
    assert download.without_home() == ""
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert not recwarn.list


def owned_by_another(place):
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)


def open_to_all(place):
    place.mkdir()
    place.chmod(0o777)


def a_link(place):
    (place.parent / "target").mkdir(mode=0o700)
    place.symlink_to(place.parent / "target")


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("trap", [owned_by_another, open_to_all, a_link])
def test_a_folder_that_another_could_have_laid_there_is_not_used(tmp_path, trap, monkeypatch):
    if trap is owned_by_another and os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    place = tmp_path / f"scfm_eval-{os.getuid()}"
    trap(place)
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match="no cache in the home folder"):
        folder = download.cache_folder()
    assert folder != place
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not any(place.iterdir())


HOMELESS = """
import os
from scfm_eval.datasets.download import cache_folder, without_home
print(without_home())
from scfm_eval.store import Store, key_of
import numpy as np
Store().get(key_of(a=1), lambda: ([np.ones(3)], {"seconds": {}}))
import matplotlib, numba
from huggingface_hub import constants
print(matplotlib.get_cachedir(), numba.config.CACHE_DIR, constants.HF_HOME)
print(cache_folder())
"""


@pytest.fixture
def unwritable(tmp_path):
    """A home folder in which its owner can only read."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    if os.getuid() != 0:
        yield home
        return
    # nothing but a read-only disk keeps root from writing
    command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(home)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("root can write everywhere, and no disk may be mounted here")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def test_where_the_home_cannot_be_written_all_caches_are_elsewhere(tmp_path, unwritable):
    hidden = ("SCFM_EVAL_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOMELESS],
        env=kept | {"HOME": str(unwritable), "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    own = tmp_path / f"scfm_eval-{os.getuid()}"
    told, *places = said.stdout.split("\n")
    assert str(own) in told
    assert " ".join(places).split() == [str(own / name) for name in ("matplotlib", "numba", "huggingface")] + [str(own)]
    assert list(own.rglob("0.npy"))


class Jumps:
    """A clock that goes back by an hour at every second look, and forth at every other."""

    def __init__(self):
        self.looks, self.start = 0, time.time()

    def __call__(self):
        self.looks += 1
        return self.start + (3600 if self.looks % 2 else -3600) * self.looks


def test_no_timing_or_lock_follows_a_clock_that_jumps(tmp_path, monkeypatch):
    class Plain:
        def embed(self, cells):
            return cells.X.toarray() + 1.0

    dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
    cells = Cells(dataset, dataset.load())
    monkeypatch.setattr(time, "time", Jumps())
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
    known = {"store": Store(tmp_path), "resident": Resident()}
    found = [evaluate(BatchIntegration(), Plain, cells, **known) for _ in range(2)]
    assert [one.from_store for one in found] == [False, True]
    assert all(0 <= seconds < 600 for one in found for seconds in one.seconds.values())
    for lock in tmp_path.rglob("*.lock"):
        os.utime(lock, (0, 2**33))
    assert evaluate(BatchIntegration(), Plain, cells, **known).from_store


def test_nothing_is_measured_by_the_time_of_day():
    package = Path(scfm_eval.__file__).parent
    measured = []
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                measured += [f"{file.name}: {node.attr}"] * ((node.value.id, node.attr) in CLOCKS)
    assert measured == []


CLOCKS = {("time", "time"), ("time", "time_ns"), ("time", "clock"), ("datetime", "utcnow")}

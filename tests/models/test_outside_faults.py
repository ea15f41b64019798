"""All the ways in which a model under another Python may fail, each by a child that really does."""

from __future__ import annotations

import time

import psutil
import pytest

from scfm_eval.errors import FailedModelError
from tests.models.outside_scripts import declared, few_cells, model_of


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cells():
    return few_cells()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("rows[0, 0] = np.nan\nreturn ids, rows", "NaN, infinity or more than float32 in the rows of 1 cells: cell0"),
        ("return ids, rows[:-1]", "12 names of cells with an array of shape"),
        ("return ids, rows[:, 0]", "12 names of cells with an array of shape"),
        ("return ids, rows.astype(int)", "type int64"),
        ("return ids[:-2], rows[:-2]", "no row for 2 of 12 cells: cell10, cell11"),
        ("return [*ids[:-1], 'cell99'], rows", "1 cells that it was not given: cell99"),
        ("return [*ids[:-1], ids[0]], rows", "1 cells more than once: cell0"),
        ("return ids, rows, rows", "2 arrays that do not fit embed"),
        ("os._exit(0)", "wrote nothing"),
        ("return None", "exit code 1.*TypeError"),
        ("return ids, np.array([object()])", "exit code 1.*Object arrays cannot be saved"),
        ("raise KeyError('no such gene')", "exit code 1.*no such gene"),
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("ctypes.string_at(0)", "ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL, perhaps for want of memory"),
    ],
)
def test_a_faulty_child_is_a_failure_that_says_what_is_wrong(tmp_path, cells, body, said):
    lines = "\n    ".join(["def embed(self, cells):", "ids, rows = cells.cell_ids, cells.dense()", *body.splitlines()])
    with pytest.raises(FailedModelError, match=f"(?s){said}"):
        model_of(declared(tmp_path, lines)).embed(cells)


def test_a_damaged_result_is_refused_and_nothing_of_it_is_executed(tmp_path, cells):
    body = """
    def embed(self, cells):
        os.mkdir("result")
        with open("result/result.json", "w") as file:
            file.write('{"ids": ["cell0"], "n_arrays": 1, "facts": {}}')
        with open("result/0.npy", "wb") as file:
            np.save(file, np.array([{"a": 1}]), allow_pickle=True)
        os._exit(0)
    """
    with pytest.raises(FailedModelError, match="cannot be read"):
        model_of(declared(tmp_path, body)).embed(cells)


def test_a_child_that_never_ends_is_ended_with_its_whole_family(tmp_path, cells):
    body = """
    def embed(self, cells):
        print("I am here")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with open(self.arguments["pids"], "w") as file:
            file.write("{} {} {}".format(os.getpid(), child.pid, away.pid))
        time.sleep(600)
    """
    pids = tmp_path / "pids"
    file = declared(tmp_path, body, python=f'timeout = 2\narguments = {{pids = "{pids}"}}')
    began = time.monotonic()
    with pytest.raises(FailedModelError, match=r"(?s)did not end within 2 s.*I am here"):
        model_of(file).embed(cells)
    assert time.monotonic() - began < 20
    _assert_gone(pids)


def test_a_child_that_ends_well_leaves_no_one_behind(tmp_path, cells):
    body = """
    def embed(self, cells):
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        left = [subprocess.Popen(sleeper, start_new_session=away) for away in (False, True)]
        with open(self.arguments["pids"], "w") as file:
            file.write(" ".join(str(one.pid) for one in left))
        return cells.cell_ids, cells.dense()
    """
    pids = tmp_path / "pids"
    assert model_of(declared(tmp_path, body, python=f'arguments = {{pids = "{pids}"}}')).embed(cells).shape == (12, 40)
    _assert_gone(pids)


def _assert_gone(pids):
    found = [int(pid) for pid in pids.read_text().split()]
    assert found
    gone, alive = psutil.wait_procs([psutil.Process(pid) for pid in found if psutil.pid_exists(pid)], timeout=5)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE], gone


def test_what_a_child_prints_is_kept_within_bounds(tmp_path, cells):
    body = """
    def embed(self, cells):
        line = ("0123456789" * 100 + chr(10)) * 1000
        for _ in range(300):
            sys.stdout.write(line)
        print("the last words")
        raise SystemExit(3)
    """
    with pytest.raises(FailedModelError, match=r"(?s)exit code 3.*the last words"):
        model_of(declared(tmp_path, body)).embed(cells)
    (log,) = (tmp_path / "cache" / "outside" / "mine").glob("*.log")
    assert 1_000_000 < log.stat().st_size < 1_200_000
    assert "bytes are left out" in log.read_text()
    assert log.read_text().rstrip().endswith("the last words")


def test_nothing_but_logs_is_left_in_the_cache_and_the_log_is_named(tmp_path, cells):
    model = model_of(declared(tmp_path, "def embed(self, cells):\n    raise OSError('torn')"))
    with pytest.raises(FailedModelError, match=r"outside/mine/.*-embed\.log"):
        model.embed(cells)
    for _ in range(2):
        with pytest.raises(FailedModelError):
            model.embed(cells)
    left = list((tmp_path / "cache" / "outside" / "mine").iterdir())
    assert len(left) == 3
    assert all("torn" in log.read_text() for log in left)

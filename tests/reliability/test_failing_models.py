"""A model that raises, breaks what it owes, hangs or kills its process has a reason, and all others have results."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import psutil
import pytest

from scfm_eval.answers import StoredAnswers
from scfm_eval.baselines.pca import PCA
from scfm_eval.blame import blamed_on
from scfm_eval.cells import Cells, model_view
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident, in_process
from scfm_eval.discovery import find_dataset, find_model
from scfm_eval.errors import FailedModelError, InvalidInputError
from scfm_eval.evaluate import clock, evaluate
from scfm_eval.isolated import isolated
from scfm_eval.models.card import card
from scfm_eval.models.geneformer import GeneformerMini
from scfm_eval.models.options import with_options
from scfm_eval.models.protocols import FineTuning
from scfm_eval.options import _seconds
from scfm_eval.report import read_report
from scfm_eval.score import UndecidedError
from scfm_eval.store import Store
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.integration import BatchIntegration
from scfm_eval.tasks.throughput import Throughput
from tests.reliability import fatal_models as fatal
from tests.toys import toy_cells

LIMIT = 4.0


@pytest.fixture
def cells():
    dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
    return Cells(dataset, dataset.load())


@pytest.fixture
def judge(cells, tmp_path):
    """Evaluate a model, and let go of it in the end."""
    residents = []

    def run(model, *, start=in_process, task=None, store=None, resident=None):
        residents.append(resident or Resident(start=start, device="cpu", offline=True))
        store = store or Store(tmp_path / "store")
        return evaluate(task or BatchIntegration(), model, cells, store=store, resident=residents[-1])

    yield run
    for resident in residents:
        resident.free()


def assert_failed(result, said):
    assert said in result.failure
    assert len(result.failure) < 400
    assert "\n" not in result.failure
    assert {(record.value, record.reason) for record in result.scores.values()} == {(None, result.failure)}
    with pytest.raises(UndecidedError):
        assert result["ilisi"] > 0.1
    with pytest.raises(UndecidedError):
        assert not result["ilisi"] > 0.1


RAISING = [
    (fatal.Raises, "KeyError: 'no such layer"),
    (fatal.Asserts, "AssertionError: shapes differ"),
    (fatal.Unloadable, "RuntimeError: the weights are torn"),
    (fatal.Wordless, "RecursionError"),
    (fatal.Strange, "Torn: one and two"),
    (fatal.Nans, "90 rows with NaN"),
    (fatal.Short, "shape (3, 2)"),
    (fatal.Nothing, "object"),
    (fatal.Unsendable, "object"),
    (fatal.Changes, "changed the cells"),
    (fatal.NoMemory, "MemoryError: not even for 1 cells"),
]


@pytest.mark.parametrize(("adapter", "said"), RAISING)
def test_what_a_model_raises_is_its_reason(judge, adapter, said):
    assert_failed(judge(adapter), said)


def test_the_others_have_their_results(judge):
    failed, found = judge(fatal.Raises), judge(fatal.Good)
    assert found.failure == ""
    assert found["ilisi"] > 0.1
    with pytest.raises(UndecidedError):
        assert found["ilisi"] > failed["ilisi"]


@pytest.mark.parametrize("method", ["__init__", "embed"])
def test_a_failed_model_is_not_tried_again(judge, tmp_path, method):
    tried = []

    def fail(*_, **__):
        tried.append(1)
        raise OSError("torn")

    adapter = type("Fails", (fatal.Good,), {method: fail})
    kept = {"store": Store(tmp_path), "resident": Resident()}
    results = [judge(adapter, task=task, **kept) for task in (BatchIntegration(), Annotation(), BatchIntegration())]
    assert all("OSError: torn" in result.failure for result in results)
    assert len(tried) == 1


def test_a_model_that_cannot_be_loaded_is_tried_once_for_all_answers():
    resident = Resident()
    for _ in range(3):
        with pytest.raises(FailedModelError, match="the weights are torn"):
            resident.load(fatal.Unloadable, name="mine")
    assert resident.loads == ["mine"]


def test_an_interrupt_is_no_failure(judge):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(type("Stopped", (fatal.Good,), {"embed": interrupted}))


def test_a_refusal_of_what_the_user_gave_stays_one(judge):
    def refuse(*_):
        raise InvalidInputError(asked="embedding", found="3 cells without any gene", remedy="drop them")

    with pytest.raises(InvalidInputError, match="3 cells without any gene") as told:
        judge(type("Refuses", (fatal.Good,), {"embed": refuse}))
    assert not isinstance(told.value, FailedModelError)


def test_the_cause_is_chained_and_in_the_log(caplog):
    caplog.set_level("DEBUG")
    with pytest.raises(FailedModelError) as told:
        Resident().load(fatal.Unloadable, name="mine")
    assert isinstance(told.value.__cause__, RuntimeError)
    assert "in __init__" in caplog.text


def test_a_model_that_cannot_be_timed_has_its_reason(cells):
    result, call = clock(Throughput(n_cells=8, n_rounds=2), fatal.Raises, cells, name="mine", resident=Resident())
    assert "KeyError" in result.failure
    assert call() is None
    with pytest.raises(UndecidedError):
        assert result["growth"] <= 3


def test_one_resident_process_serves_and_tells_all_that_a_model_in_this_one_does(judge, tmp_path):
    own, apart = Store(tmp_path / "own"), Store(tmp_path / "apart")
    first = judge(fatal.Seeded, store=own)
    again = judge(fatal.Seeded, store=apart, start=isolated)
    assert first.scores == again.scores
    assert first.model == again.model
    kept = [store.find(found.arrays["embed"]).arrays[0] for store, found in ((own, first), (apart, again))]
    assert kept[0].tobytes() == kept[1].tobytes()
    assert again.peak_memory_bytes["host"] > 0
    assert again.seconds["forward"] > 0
    assert all(seconds >= 0 for seconds in again.seconds.values())


DYING = [
    (fatal.Killed, "its process was ended by SIGKILL, probably out of memory"),
]
DYING_TOO = [
    (fatal.Exits, "SystemExit: 3"),
    (fatal.LeavesAtOnce, "its process ended with exit code 4"),
    (fatal.KilledWhileLoading, "its process was ended by SIGKILL"),
    (fatal.Segfaults, "its process was ended by SIGSEGV"),
    (fatal.Aborts, "its process was ended by SIGABRT"),
    (fatal.ClosesEverything, "its process closed the connection"),
]


@pytest.mark.parametrize(
    ("adapter", "said"), [*DYING, *(pytest.param(*one, marks=pytest.mark.heavy) for one in DYING_TOO)]
)
def test_a_process_that_dies_ends_nothing_else(judge, adapter, said):
    assert_failed(judge(adapter, start=isolated), said)


@pytest.mark.heavy
@pytest.mark.parametrize(("adapter", "said"), RAISING)
def test_what_is_raised_in_a_process_of_its_own_is_the_same_reason(judge, adapter, said):
    said = {"Unsendable": "pickle"}.get(adapter.__name__, said)
    assert_failed(judge(adapter, start=isolated), said)


@pytest.mark.heavy
def test_a_child_of_a_dead_process_neither_holds_the_run_up_nor_lives_on(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_TEST_PIDS", str(tmp_path / "pid"))
    assert_failed(judge(fatal.DiesBesideAChild, start=isolated), "its process was ended by SIGTERM")
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    "adapter",
    [fatal.HangsHard, *(pytest.param(m, marks=pytest.mark.heavy) for m in (fatal.Hangs, fatal.HangsWhileLoading))],
)
def test_a_model_that_hangs_is_ended_in_its_time(judge, adapter):
    start = time.monotonic()
    assert_failed(judge(adapter, start=partial(isolated, time_limit=LIMIT)), "longer than 4 s, the time limit")
    assert time.monotonic() - start < 120
    assert not psutil.Process().children(recursive=True)


def is_gone(pid, *, within=20.0):
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


ORPHAN = """
from tests.reliability import fatal_models as fatal
from tests.toys import toy_cells
from scfm_eval.device import Resident
from scfm_eval.isolated import isolated
resident = Resident(start=isolated)
resident.load(fatal.HangsHard, name="mine").embed(toy_cells())
"""


@pytest.mark.heavy
def test_nothing_lives_on_when_the_run_is_killed(tmp_path):
    file = tmp_path / "pid"
    run = subprocess.Popen([sys.executable, "-c", ORPHAN], env=os.environ | {"SCFM_TEST_PIDS": str(file)})
    until = time.monotonic() + 400
    while not (file.exists() and file.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    beside = psutil.Process(run.pid).children(recursive=True)
    assert int(file.read_text()) in {one.pid for one in beside}
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert all(is_gone(one.pid) for one in beside)


@pytest.mark.heavy
def test_classes_of_files_with_options_and_without_a_name_travel(judge, tmp_path):
    (tmp_path / "my model.py").write_text(
        "import numpy as np\n\nclass Mine:\n    def __init__(self, *, width: int = 2):\n        self.width = width\n"
        "    def embed(self, cells):\n        return np.log1p(cells.X.toarray())[:, : self.width]\n"
    )
    found = find_model(f"{tmp_path / 'my model.py'}:Mine")
    local = type("Local", (fatal.Good,), {"embed": lambda _, cells: np.log1p(cells.X.toarray())[:, :9]})
    for adapter in (found, with_options(found, {"width": "7"}), local, PCA):
        stores = Store(tmp_path / "own"), Store(tmp_path / "apart")
        own = judge(adapter, store=stores[0])
        apart = judge(adapter, store=stores[1], start=isolated)
        assert apart.failure == ""
        assert own.scores == apart.scores


@pytest.mark.heavy
def test_a_transformer_and_its_fine_tuning_are_the_same_to_the_last_bit(tmp_path):
    dataset = find_dataset("synthetic_batches")
    cells = Cells(dataset, dataset.load()[:60].copy())
    view, _ = model_view(GeneformerMini, card(GeneformerMini), cells, weights=GeneformerMini.locate())
    part, labels = np.arange(60) % 3, cells.adata.obs["label"].to_numpy().astype(str)
    parts = {"train": part == 0, "validation": part == 1, "test": part == 2}
    made = []
    for start in (in_process, isolated):
        resident, store = Resident(start=start, offline=True), Store(tmp_path / start.__name__)
        weights = GeneformerMini.locate()
        answers = StoredAnswers(GeneformerMini, card(GeneformerMini), cells, view, store, resident, weights)
        tuned = answers.fine_tune(labels=labels, **parts, how=FineTuning(epochs=1, batch_size=8), seed=0)
        made.append((answers.embed(seed=0).tobytes(), tuned.probabilities.tobytes(), tuned.history, answers.facts[-1]))
        resident.free()
    assert made[0][:3] == made[1][:3]
    assert {"load", "tokenise", "forward"} <= made[1][3]["seconds"].keys()
    assert made[0][3]["n_parameters"] == made[1][3]["n_parameters"]


@pytest.mark.heavy
def test_a_model_in_a_process_of_its_own_can_be_timed(cells):
    resident = Resident(start=isolated)
    result, call = clock(Throughput(n_cells=8, n_rounds=2), fatal.Good, cells, name="mine", resident=resident)
    assert result.failure == ""
    assert "process of its own" in result.notes[-1]
    assert call().shape[0] == 8
    resident.free()
    here, _ = clock(Throughput(n_cells=8, n_rounds=2), fatal.Good, cells, name="mine", resident=Resident())
    assert here.pairing != result.pairing


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_time_limit_that_is_no_time_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0"):
        _seconds(text)
    assert _seconds("2.5") == 2.5


FATAL = """
import os, signal
import numpy as np

class Good:
    def embed(self, cells):
        return np.log1p(cells.X.toarray())

class Killed(Good):
    def embed(self, cells):
        os.kill(os.getpid(), signal.SIGKILL)

class Hangs(Good):
    def embed(self, cells):
        signal.pause()
"""


@pytest.mark.heavy
def test_a_whole_run_has_every_other_result(tmp_path):
    (tmp_path / "models.py").write_text(FATAL)
    command = [sys.executable, "-m", "pytest", "benchmarks/test_batch_integration.py", "-q", "-p", "no:cacheprovider"]
    for name in ("Good", "Killed", "Hangs"):
        command += ["--model", f"{tmp_path / 'models.py'}:{name}"]
    command += ["--dataset", "synthetic_batches", "--time-limit", "20", "--report", str(tmp_path / "out.json")]
    run = subprocess.run(command, env=os.environ | {"SCFM_EVAL_CACHE": str(tmp_path)}, capture_output=True, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    failures = {result.model.name: result.failure for result in read_report(tmp_path / "out.json").results}
    assert {name for name, failure in failures.items() if not failure} >= {"good", "hvg", "pca", "harmony"}
    assert "SIGKILL" in failures["killed"]
    assert "longer than 20 s" in failures["hangs"]
    outcomes = {verdict.outcome for verdict in read_report(tmp_path / "out.json").verdicts if verdict.model != "good"}
    assert outcomes <= {"error", "skipped"}


def test_an_exit_in_this_process_is_a_reason_too():
    with pytest.raises(FailedModelError, match="SystemExit: 3"), blamed_on("mine", asked="an answer"):
        raise SystemExit(3)

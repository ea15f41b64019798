"""A stored, an in-process and an out-of-process model stand side by side in one report; one that fails says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest

from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset, find_model
from scfm_eval.evaluate import evaluate
from scfm_eval.html.page import write_page
from scfm_eval.report import read_report
from scfm_eval.score import UndecidedError
from scfm_eval.store import Store
from scfm_eval.tables import render
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.integration import BatchIntegration
from tests.models.outside_scripts import declared, minimal
from tests.toys import toy_cells

ROOT = Path(__file__).parents[1]
NAMES = ("stored-X_mine", "here", "minimal")

CRASHES = """
def embed(self, cells):
    with open(self.arguments["count"], "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGSEGV)
"""
IN_PROCESS = """
import numpy as np

class Here:
    def embed(self, cells):
        return np.log1p(cells.X.toarray()[:, :20])
"""


@pytest.fixture
def cells():
    dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
    return Cells(dataset, dataset.load())


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    return find_model(str(declared(tmp_path, CRASHES, python=f'arguments = {{count = "{tmp_path / "count"}"}}')))


def test_a_crash_is_a_result_with_a_reason_that_is_remembered_and_never_stored(crashing, cells, tmp_path):
    how = {"store": Store(tmp_path / "store"), "resident": Resident(device="cpu", offline=True)}
    first = evaluate(Annotation(), crashing, cells, layouts=True, **how)
    assert first.failure.startswith("mine gave no answer: it was ended by SIGSEGV")
    assert set(first.scores) == set(Annotation.headline)
    assert all(record.value is None and record.reason == first.failure for record in first.scores.values())
    assert not first.from_store
    with pytest.raises(UndecidedError, match="SIGSEGV"):
        assert first["macro_f1"] > 0.5
    with pytest.raises(UndecidedError, match="SIGSEGV"):
        assert first["any_other_score"] > 0.5
    other_task = evaluate(BatchIntegration(), crashing, cells, **how)
    assert other_task.failure == first.failure
    assert (tmp_path / "count").read_text() == "x"
    again = evaluate(Annotation(), crashing, cells, store=Store(tmp_path / "store"), resident=how["resident"])
    assert again.failure
    assert (tmp_path / "count").read_text() == "xx"
    assert not list((tmp_path / "store").rglob("*.npy"))


def test_memory_and_versions_of_the_other_python_are_in_the_result(cells, tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    model = find_model(str(minimal(tmp_path)))
    how = {"store": Store(tmp_path / "store"), "resident": Resident(device="cpu", offline=True)}
    found = evaluate(BatchIntegration(), model, cells, **how)
    assert 10_000_000 < found.peak_memory_bytes["host"] < 200_000_000
    assert found.notes[0] == f"minimal ran under Python {sys.version.split()[0]} with numpy {np.__version__}"
    assert found.seconds["load"] > 0
    assert found.seconds["forward"] > 0
    assert evaluate(BatchIntegration(), model, cells, **how).from_store


def test_three_ways_to_bring_a_model_stand_side_by_side_and_a_failing_one_stops_none(tmp_path):
    cells = find_dataset("pbmc68k_reduced").load(offline=True)
    mine = np.log1p(cells.X[:, :20].toarray())
    anndata.AnnData(obs=cells.obs[[]], obsm={"X_mine": mine}).write_h5ad(tmp_path / "stored.h5ad")
    (tmp_path / "here.py").write_text(IN_PROCESS)
    crashing = declared(tmp_path, CRASHES, python=f'arguments = {{count = "{tmp_path / "count"}"}}', name="crashes")
    small = minimal(tmp_path)
    small.write_text(small.read_text().replace("width = 64", "width = 20"))
    asked = [f"{tmp_path}/stored.h5ad:X_mine", f"{tmp_path}/here.py:Here", str(small), str(crashing)]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pytest", "benchmarks/test_annotation.py", "-k", "knows_more_than_chance"]
    how = ["-p", "no:cacheprovider", "--dataset", "pbmc68k_reduced", "--report", str(report), "--offline"]
    done = subprocess.run(
        [*command, *how, *(word for spec in asked for word in ("--model", spec))],
        cwd=ROOT,
        env=os.environ | {"SCFM_EVAL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    made = read_report(report)
    assert {result.model.name for result in made.results} == {*NAMES, "crashes"}
    outcomes = {(v.claim.rpartition("::")[2], v.model): v for v in made.verdicts}
    for name in NAMES:
        assert outcomes["test_knows_more_than_chance", name].outcome == "passed"
    lost = outcomes["test_knows_more_than_chance", "crashes"]
    assert lost.outcome == "error"
    assert "SIGSEGV" in lost.reason
    assert (tmp_path / "count").read_text() == "x"
    table = render(made, width=100)
    assert all(name in table for name in (*NAMES, "crashes", "no answer"))
    assert table.startswith("NO ANSWER, neither a win nor a loss: crashes gave no answer")
    page = write_page([made], tmp_path / "page.html").read_text()
    assert "SIGSEGV" in page

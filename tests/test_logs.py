"""Loggers: one run per model, undefined is never a number, what was logged reads back."""

from __future__ import annotations

import math
import os
import sys
from types import SimpleNamespace

import pytest

from scfm_eval.__main__ import main
from scfm_eval.errors import InvalidInputError
from scfm_eval.logs import model_runs, to_mlflow, to_wandb
from scfm_eval.report import read_report, write_report
from scfm_eval.results import ScoreRecord
from tests.export.made import EMPTY, ERRORS, NASTY, UNDEFINED, report, result

SCORES = {"macro_f1": ScoreRecord(value=0.5, low=0.4, high=0.6), "ari": UNDEFINED, "speed": ScoreRecord(value=0.0)}
MADE = report(result("mine", scores=SCORES), result("pca", role="baseline"), result("mine", task="ontology"))


@pytest.fixture
def path(tmp_path):
    return write_report(MADE, tmp_path / "run.json")


def test_each_model_is_one_run_over_all_tasks():
    mine, pca = model_runs(MADE)
    assert (mine.name, pca.name) == ("mine", "pca")
    assert mine.metrics == {
        "annotation/cells/macro_f1": 0.5,
        "annotation/cells/macro_f1.low": 0.4,
        "annotation/cells/macro_f1.high": 0.6,
        "annotation/cells/speed": 0.0,
        "ontology/cells/macro_f1": 0.5,
        "ontology/cells/macro_f1.low": 0.4,
        "ontology/cells/macro_f1.high": 0.6,
    }
    assert mine.undefined == {"annotation/cells/ari": "one batch only"}
    assert mine.params["commit"] == "abc"
    assert mine.params["dataset/cells"] == "0"
    assert mine.params["version/numpy"] == "2.0.0"
    assert pca.params["role"] == "baseline"
    assert "weights_sha256" not in mine.params


def test_names_are_what_mlflow_takes_and_stay_apart():
    scores = {"f+1": ScoreRecord(value=0.1), "f*1": ScoreRecord(value=0.2), "..": ScoreRecord(value=0.3)}
    (run,) = model_runs(report(result(task="a/b", dataset="x->y", scores=scores)))
    assert run.metrics == {"a_b/x-_y/f_1": 0.1, "a_b/x-_y/f_1-2": 0.2, "a_b/x-_y/_": 0.3}


def test_reports_without_results_make_no_run():
    assert model_runs(EMPTY) == model_runs(ERRORS) == []


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return pytest.importorskip("mlflow")


def test_mlflow_gives_back_what_it_was_told(path, tmp_path, mlflow):
    uri = f"file:{tmp_path / 'mlruns'}"
    told = to_mlflow(path, experiment="bench", uri=uri)
    assert len(to_mlflow(path, experiment="bench", uri=uri)) == 2
    client = mlflow.MlflowClient(tracking_uri=uri)
    mine, pca = (client.get_run(run) for run in told)
    assert (mine.info.run_name, pca.info.run_name) == ("mine", "pca")
    assert mine.info.status == "FINISHED"
    assert mine.data.metrics == model_runs(MADE)[0].metrics
    assert mine.data.params == model_runs(MADE)[0].params
    assert mine.data.tags["undefined/annotation/cells/ari"] == "one batch only"
    kept = client.download_artifacts(told[0], "run.json", str(tmp_path))
    assert read_report(kept) == MADE
    assert client.get_experiment_by_name("bench").experiment_id == mine.info.experiment_id


def test_mlflow_takes_many_scores_and_strange_names(tmp_path, mlflow):
    many = {f"s{i}": ScoreRecord(value=float(i)) for i in range(1100)} | {f"u{i}": UNDEFINED for i in range(120)}
    many |= {NASTY: ScoreRecord(value=1.0), "../..": ScoreRecord(value=2.0), "long" * 100: ScoreRecord(value=3.0)}
    path = write_report(report(result(NASTY, dataset=NASTY, scores=many)), tmp_path / "run.json")
    uri = f"file:{tmp_path / 'mlruns'}"
    (told,) = to_mlflow(path, experiment="bench", uri=uri)
    data = mlflow.MlflowClient(tracking_uri=uri).get_run(told).data
    assert len(data.metrics) == 1103
    assert sum(name.startswith("undefined/") for name in data.tags) == 120


@pytest.mark.usefixtures("mlflow")
def test_the_plain_command_writes_to_a_folder_and_says_which(path, tmp_path, monkeypatch, capsys):
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["log", str(path), "--to", "mlflow"]) == 0
    assert "2 runs in scfm-eval at mlruns: " in capsys.readouterr().out
    assert len([*tmp_path.glob("mlruns/*/*/artifacts/run.json")]) == 2
    assert main(["log", str(path), "--to", "mlflow", "--uri", "./other"]) == 0
    assert "at ./other: " in capsys.readouterr().out
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ


def test_an_address_that_mlflow_refuses_is_refused(path, mlflow):
    with pytest.raises(InvalidInputError, match="--uri"):
        to_mlflow(path, experiment="bench", uri="gopher://nowhere")
    assert mlflow.active_run() is None


def test_wandb_keeps_a_run_offline(path, tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert main(["log", str(path), "--to", "wandb", "--project", "bench"]) == 0
    told = capsys.readouterr().out.strip().rpartition(": ")[2].split(", ")
    kept = [file.stem.removeprefix("run-") for file in tmp_path.glob("wandb/offline-run-*/*.wandb")]
    assert sorted(kept) == sorted(told)
    assert len(kept) == 2


class FakeWandb:
    """Remembers what it is told."""

    class Error(Exception):
        """As in wandb."""

    def __init__(self, *, refuses=False):
        self.runs, self.refuses = [], refuses

    def init(self, **known):
        if self.refuses:
            raise self.Error("no API key")
        run = SimpleNamespace(id=f"id{len(self.runs)}", known=known, summary={}, files=[], finished=False)
        run.log_artifact = lambda artefact: run.files.extend(artefact.files)
        run.finish = lambda: setattr(run, "finished", True)
        self.runs.append(run)
        return run

    def Artifact(self, name, *, type):  # noqa: A002, N802
        artefact = SimpleNamespace(name=name, type=type, files=[])
        artefact.add_file = artefact.files.append
        return artefact

    def Settings(self, **known):  # noqa: N802
        return known


def test_wandb_is_told_scores_reasons_and_the_report(path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert to_wandb(path, project="bench", uri="https://wandb.example") == ["id0", "id1"]
    mine = fake.runs[0]
    assert mine.known["project"] == "bench"
    assert mine.known["settings"] == {"base_url": "https://wandb.example"}
    assert mine.known["config"]["model"] == "mine"
    assert mine.summary["annotation/cells/macro_f1"] == 0.5
    assert mine.summary["undefined/annotation/cells/ari"] == "one batch only"
    assert "annotation/cells/ari" not in mine.summary
    assert mine.files == [str(path)]
    assert mine.finished
    assert not any(isinstance(value, float) and math.isnan(value) for value in mine.summary.values())


def test_what_wandb_refuses_is_refused(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(refuses=True))
    with pytest.raises(InvalidInputError, match="WANDB_MODE=offline"):
        to_wandb(path, project="bench")


@pytest.mark.parametrize("service", ["mlflow", "wandb"])
def test_a_service_that_is_not_installed_names_its_extra(path, monkeypatch, capsys, service):
    monkeypatch.setitem(sys.modules, service, None)
    assert main(["log", str(path), "--to", service]) == 2
    assert f"pip install 'scfm-eval[{service}]'" in capsys.readouterr().err

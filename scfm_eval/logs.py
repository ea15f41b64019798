"""Reports in MLflow and Weights & Biases: one run for each model of a report."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from scfm_eval.errors import InvalidInputError
from scfm_eval.report import Report, read_report
from scfm_eval.results import Result

_STRANGE = re.compile(r"[^A-Za-z0-9_.\- ]")
_LONGEST_NAME, _LONGEST_TEXT = 250, 500
_FOLDERS = "MLFLOW_ALLOW_FILE_STORE"
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}


@dataclass(frozen=True)
class ModelRun:
    """What a tracking service is told of one model of a report.

    Parameters
    ----------
    name
        Name of the model.
    params
        What was run: model, weights, datasets, versions, commit.
    metrics
        ``TASK/DATASET/SCORE`` and, where there is an interval, the same with ``.low`` and ``.high``.
    undefined
        For each score without a value, why. It is no metric: a zero would be taken for a result.
    """

    name: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)


def model_runs(report: Report) -> list[ModelRun]:
    """Return one run for each model of the report, in the order of their names.

    Names of metrics are letters, digits, ``_ - . /`` and spaces, which is what MLflow takes; any other character is
    ``_``, and a name that is then taken gets a number.
    """
    names = sorted({result.model.name for result in report.results})
    return [_run(name, [result for result in report.results if result.model.name == name], report) for name in names]


def to_mlflow(path: Path, *, experiment: str, uri: str | None = None) -> list[str]:
    """Log a report to MLflow, the file as artefact of each run.

    Parameters
    ----------
    path
        The report.
    experiment
        Name of the experiment; made if it is not there.
    uri
        Tracking server or store; see :func:`mlflow_address`. A folder is taken too, also where MLflow wants
        ``MLFLOW_ALLOW_FILE_STORE`` set for that: here it is, while the runs are written.

    Returns
    -------
    The ids of the runs.

    Raises
    ------
    InvalidInputError
        If MLflow is not installed, or refuses the address or what it is told.
    """
    mlflow, address = _imported("mlflow", extra="mlflow"), mlflow_address(uri)
    runs = model_runs(read_report(path))
    try:
        with _folders_allowed():
            client = mlflow.MlflowClient(tracking_uri=address)
            known = client.get_experiment_by_name(experiment)
            place = known.experiment_id if known else client.create_experiment(experiment)
            return [_log(mlflow, client, run, path, place=place) for run in runs]
    except mlflow.exceptions.MlflowException as error:
        raise InvalidInputError(
            asked=f"to log {path} to MLflow at {address}",
            found=str(error),
            remedy="give an address that takes it: --uri",
        ) from error


def mlflow_address(uri: str | None = None) -> str:
    """Return where MLflow is told: the address if given, else ``$MLFLOW_TRACKING_URI``, else the folder ``mlruns``."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"


def to_wandb(path: Path, *, project: str, uri: str | None = None) -> list[str]:
    """Log a report to Weights & Biases, the file as artefact of each run; scores are in the summary of the run.

    Parameters
    ----------
    path
        The report.
    project
        Name of the project.
    uri
        Address of the server; default that of the package's own settings, ``WANDB_MODE=offline`` included.

    Returns
    -------
    The ids of the runs.

    Raises
    ------
    InvalidInputError
        If wandb is not installed, or cannot begin a run.
    """
    wandb = _imported("wandb", extra="wandb")
    try:
        return [_log_to_wandb(wandb, run, path, project=project, uri=uri) for run in model_runs(read_report(path))]
    except wandb.Error as error:
        raise InvalidInputError(
            asked=f"to log {path} to Weights & Biases",
            found=str(error),
            remedy="run `wandb login`, or set WANDB_MODE=offline",
        ) from error


@contextmanager
def _folders_allowed() -> Iterator[None]:
    """Let MLflow write to a folder, unless the environment says otherwise; its other stores need more packages."""
    if _FOLDERS in os.environ:
        yield
        return
    os.environ[_FOLDERS] = "true"
    try:
        yield
    finally:
        del os.environ[_FOLDERS]


def _imported(name: str, *, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InvalidInputError(
            asked=f"to log to {name}",
            found=f"it is not installed ({error})",
            remedy=f"pip install 'scfm-eval[{extra}]'",
        ) from error


def _run(name: str, results: list[Result], report: Report) -> ModelRun:
    run = ModelRun(name, params=_params(results, report))
    for result in results:
        for score, record in result.scores.items():
            known = {*run.metrics, *run.undefined}
            metric = _free("/".join(_part(part) for part in (result.task, result.dataset.name, score)), taken=known)
            if record.value is None:
                run.undefined[metric] = record.reason or "no reason given"
                continue
            run.metrics[metric] = record.value
            ends = {f"{metric}.low": record.low, f"{metric}.high": record.high}
            run.metrics.update({end: value for end, value in ends.items() if value is not None})
    return run


def _params(results: list[Result], report: Report) -> dict[str, str]:
    about, environment = results[0].model, report.environment
    facts = {
        "model": about.name,
        "role": about.role,
        "revision": about.revision,
        "weights_sha256": about.weights_sha256,
        "adapter_sha256": about.adapter_sha256,
        "n_parameters": about.n_parameters,
        "created": report.created,
        "commit": (environment.get("git") or {}).get("commit"),
        "machine": (environment.get("machine") or {}).get("kind"),
        "python": environment.get("python"),
        **{f"dataset/{_part(result.dataset.name)}": result.dataset.sha256 for result in results},
        **{f"version/{_part(name)}": version for name, version in (environment.get("packages") or {}).items()},
    }
    return {name: str(value)[:_LONGEST_TEXT] for name, value in facts.items() if value not in (None, "")}


def _part(text: str) -> str:
    """Return a name as one part of a path that is neither empty nor a step upwards."""
    part = _STRANGE.sub("_", text).strip()
    return part if part.strip(".") else "_"


def _free(wanted: str, *, taken: set[str]) -> str:
    wanted, number = wanted[: _LONGEST_NAME - 10], 2
    free = wanted
    while free in taken:
        free, number = f"{wanted}-{number}", number + 1
    return free


def _log(mlflow: Any, client: Any, run: ModelRun, path: Path, *, place: str) -> str:
    entities = mlflow.entities
    begun = client.create_run(place, run_name=run.name)
    told = begun.info.run_id
    things = {
        "metrics": [entities.Metric(name, value, begun.info.start_time, 0) for name, value in run.metrics.items()],
        "params": [entities.Param(name, value) for name, value in run.params.items()],
        "tags": [
            entities.RunTag(f"undefined/{name}"[:_LONGEST_NAME], why[:_LONGEST_TEXT])
            for name, why in run.undefined.items()
        ],
    }
    for kind, rows in things.items():
        for batch in _batches(rows, size=_BATCH[kind]):
            client.log_batch(told, **{kind: batch})
    client.log_artifact(told, str(path))
    client.set_terminated(told)
    return str(told)


def _batches(rows: list[Any], *, size: int) -> Iterator[list[Any]]:
    left = iter(rows)
    while batch := list(islice(left, size)):
        yield batch


def _log_to_wandb(wandb: Any, run: ModelRun, path: Path, *, project: str, uri: str | None) -> str:
    settings = wandb.Settings(base_url=uri) if uri else None
    begun = wandb.init(project=project, name=run.name, config=run.params, settings=settings)
    begun.summary.update(run.metrics | {f"undefined/{name}": why for name, why in run.undefined.items()})
    artefact = wandb.Artifact("report", type="report")
    artefact.add_file(str(path))
    begun.log_artifact(artefact)
    begun.finish()
    return str(begun.id)

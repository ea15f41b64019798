"""``scfm-eval log``: reports in MLflow or Weights & Biases."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scfm_eval.logs import mlflow_address, to_mlflow, to_wandb
from scfm_eval.wording import counted


def add_to(commands: Any) -> None:
    """Declare the command."""
    log = commands.add_parser("log", help="log reports to MLflow or Weights & Biases, one run for each model")
    log.add_argument("report", type=Path, nargs="+")
    log.add_argument("--to", choices=("mlflow", "wandb"), required=True)
    log.add_argument("--project", "--experiment", default="scfm-eval", metavar="NAME", help="default %(default)s")
    log.add_argument(
        "--uri",
        help="address of the server or store (mlflow: or a folder); default what the service's own settings say, "
        "for mlflow else the folder mlruns",
    )
    log.set_defaults(act=_log)


def _log(asked: argparse.Namespace) -> None:
    place = asked.project + (f" at {mlflow_address(asked.uri)}" if asked.to == "mlflow" else "")
    for path in asked.report:
        if asked.to == "mlflow":
            made = to_mlflow(path, experiment=asked.project, uri=asked.uri)
        else:
            made = to_wandb(path, project=asked.project, uri=asked.uri)
        print(f"{path}: {counted(len(made), 'run')} in {place}: {', '.join(made) or 'nothing was measured'}")

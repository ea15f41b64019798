"""No guard of the protocol refuses what is right on data sets as they are, and what is told is true of them."""

from __future__ import annotations

import os

import pytest

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.pca import PCA
from scfm_eval.baselines.perturbation import TrainingMean
from scfm_eval.cells import Cells
from scfm_eval.datasets import catalogue
from scfm_eval.device import Resident
from scfm_eval.evaluate import evaluate
from scfm_eval.power import powerless_scores
from scfm_eval.store import Store
from scfm_eval.tasks.few_shot import FewShot
from scfm_eval.tasks.perturbation import Perturbation
from scfm_eval.tasks.transfer import Transfer

ONE_DRAW = FewShot(n_folds=3, n_draws=1)
FOUND = {
    "heart": {"donors"},
    "synthetic_transfer": {"test_cells"},
}
"""What is told of a data set: heart has one donor, and an embedding that learned from the source has seen its cells."""


def asked(name, folder):
    """Return the results of a few models, each of which would be refused for a fault."""
    dataset = getattr(catalogue, name)
    cells, jobs = Cells(dataset, dataset.load()), [(ONE_DRAW, model) for model in (PCA, Random, Oracle)]
    if "transfer" in name:
        jobs += [(Transfer(n_folds=2), model) for model in (PCA, Random, Oracle)]
    if "perturb" in name:
        jobs = [(Perturbation(n_folds=2, max_cells=20), TrainingMean)]
    resident = Resident(device="cpu", precision="float32", offline=True)
    return [evaluate(task, model, cells, store=Store(folder), resident=resident) for task, model in jobs]


def require_no_alarm(name, folder):
    results = asked(name, folder)
    told = {finding.guard for result in results for finding in result.findings} - {"pretraining", "row_number"}
    of_means = {"chance"} if "perturb" in name else set()
    assert told == FOUND.get(name, set()) | of_means
    assert not any(result.failure for result in results)
    assert powerless_scores(results) == []


@pytest.mark.parametrize("name", ["synthetic_batches", "synthetic_transfer"])
def test_embedded_data_raise_no_alarm(name, tmp_path):
    require_no_alarm(name, tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["pbmc68k_reduced", "synthetic_perturbations"])
def test_other_embedded_data_raise_no_alarm(name, tmp_path):
    require_no_alarm(name, tmp_path)


@pytest.mark.heavy
@pytest.mark.skipif("SCFM_EVAL_DATA" not in os.environ, reason="$SCFM_EVAL_DATA names no folder of data")
@pytest.mark.parametrize("name", ["pbmc3k", "hao_pbmc", "pancreas", "heart", "perturbseq_norman_mcfaline"])
def test_real_data_raise_no_alarm(name, tmp_path):
    require_no_alarm(name, tmp_path)

"""cell-eval, pertpy and scgraph-eval as second implementations, from what they gave in environments of their own.

They ask for other versions than this suite does: ``second/write_*.py`` says how each file in ``second/`` was made.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from scfm_eval.metrics import perturbation
from scfm_eval.metrics.differential import Differential, de_overlap, de_precision
from scfm_eval.metrics.discrimination import pds_l1
from scfm_eval.metrics.distributions import energy_distance, squared_mmd
from scfm_eval.metrics.responses import Responses
from scfm_eval.metrics.scgraph import batch_distances, scgraph, scgraph_published
from tests.metrics.second.inputs import CONTROL, N_GENES, PERTURBATIONS, WIDTH, differential, perturbed, typed

FOLDER = Path(__file__).parent / "second"
CONDITIONS = np.array(PERTURBATIONS)


def second(package):
    """Return what another package gave."""
    return json.loads((FOLDER / f"{package}.json").read_text())["values"]


@pytest.fixture(scope="module")
def responses():
    real, predicted = ({name: cells.mean(axis=0) for name, cells in side.items()} for side in perturbed())
    shape = (len(PERTURBATIONS), N_GENES)
    return Responses(
        conditions=CONDITIONS,
        truth=np.array([real[name] for name in PERTURBATIONS]),
        predicted=np.array([predicted[name] for name in PERTURBATIONS]),
        control=np.tile(real[CONTROL], (len(PERTURBATIONS), 1)),
        centroid=np.zeros(shape),
        scored=np.ones(shape, dtype=bool),
        groups=np.zeros(len(PERTURBATIONS)).astype(str),
        answered=np.ones(len(PERTURBATIONS), dtype=bool),
    )


def by_condition(statistic):
    """Return the value of each condition alone."""
    return statistic.of_weights(np.eye(len(PERTURBATIONS)))


def ordered(values):
    return [values[name] for name in PERTURBATIONS]


@pytest.mark.parametrize(
    "metric", [perturbation.pearson_delta, perturbation.mae, perturbation.mse, pds_l1], ids=lambda metric: metric.name
)
def test_errors_and_ranks_are_those_of_cell_eval(metric, responses):
    wanted = ordered(second("cell_eval")[metric.name])
    np.testing.assert_allclose(by_condition(metric.statistic(responses)), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", [de_overlap, de_precision], ids=lambda metric: metric.name)
def test_differential_genes_are_those_of_cell_eval(metric):
    changes, rates = differential()
    true, guessed = (Differential(change, rate < 0.05) for change, rate in zip(changes, rates, strict=True))
    found = metric.statistic(true, predicted=guessed, conditions=CONDITIONS, ranked_by="fold change")
    np.testing.assert_allclose(by_condition(found), ordered(second("cell_eval")[metric.name]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [(perturbation.mae, "mean_absolute"), (perturbation.mse, "mse"), (perturbation.l2_top1000, "euclidean")],
    ids=["mae", "mse", "l2_top1000"],
)
def test_errors_are_those_of_pertpy(metric, kind, responses):
    wanted = ordered(second("pertpy")[kind])
    np.testing.assert_allclose(by_condition(metric.statistic(responses)), wanted, rtol=0, atol=1e-12)


def test_the_energy_distance_is_that_of_pertpy_without_the_cells_themselves():
    real, predicted = perturbed()
    values = second("pertpy")
    for name in PERTURBATIONS:
        n, m = len(real[name]), len(predicted[name])
        within = [values[f"mean_pairwise_within_{side}"][name] for side in ("real", "predicted")]
        # pertpy counts the distance 0 of each cell to itself
        published = 2 * values["mean_pairwise"][name] - sum(within)
        assert values["edistance"][name] == pytest.approx(published, abs=1e-12)
        unbiased = 2 * values["mean_pairwise"][name] - within[0] * n / (n - 1) - within[1] * m / (m - 1)
        assert energy_distance(real[name], predicted[name]) == pytest.approx(unbiased, abs=1e-12)


def test_the_mean_discrepancy_is_that_of_pertpy_with_the_cells_themselves():
    real, predicted = perturbed()
    for name, wanted in second("pertpy")["mmd"].items():
        cells = [real[name], predicted[name]]
        between = squared_mmd(*cells, width=WIDTH)
        for one in cells:
            # two cells far from all and from each other leave the mean over pairs of the other side
            far = 1e6 * np.eye(2, N_GENES)
            pairs, n = squared_mmd(one, far, width=WIDTH), len(one)
            between += (1 - pairs) / n
        assert between == pytest.approx(wanted, abs=1e-12), name


def test_type_distances_are_those_of_scgraph_eval():
    expression, embeddings, kind, batch = typed()
    own = np.zeros((len(kind), 10))
    for name in np.unique(batch):
        own[batch == name] = PCA(10, svd_solver="full").fit_transform(expression[batch == name])
    for name, values in second("scgraph").items():
        found = batch_distances(embeddings[name], own_space=own, labels=kind, batch=batch)
        # its components are in float32
        assert scgraph(found) == pytest.approx(values["Corr-Weighted"], abs=1e-6)
        assert scgraph_published(found) == pytest.approx(values["Corr-PCA"], abs=1e-6)

"""Batch integration: known embeddings get the scores that they must get."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval.tasks.integration import BATCH, BIO, BatchIntegration
from tests.tasks.given import Given

N = 240
RNG = np.random.default_rng(0)
LABELS = np.array(["t", "b", "nk"])[np.arange(N) % 3]
BATCHES = np.where(RNG.random(N) < 0.5, "x", "y")


@pytest.fixture(scope="module")
def cells():
    rate = np.full((N, 60), 1.0)
    for i, label in enumerate(("t", "b", "nk")):
        rate[label == LABELS, 10 * i : 10 * i + 10] = 6.0
    rate[BATCHES == "y", 30:45] = 4.0
    obs = pd.DataFrame(
        {"label": pd.Categorical(LABELS), "batch": pd.Categorical(BATCHES)}, index=[f"c{i}" for i in range(N)]
    )
    return AnnData(sparse.csr_matrix(RNG.poisson(rate).astype(np.float32)), obs=obs)


def scores(cells, embedding):
    return BatchIntegration(n_components=10).score(Given(embedding), cells, seeds=[0]).scores


@pytest.fixture(scope="module")
def by_kind(cells):
    types = np.eye(3)[np.unique(LABELS, return_inverse=True)[1]] * 10
    batches = (BATCHES == "x")[:, None] * 10.0
    noise = np.random.default_rng(1).normal(size=(N, 3))
    return {
        "oracle": scores(cells, types + 0.1 * noise),
        "noise": scores(cells, noise),
        "batchy": scores(cells, np.hstack([types + 0.1 * noise, batches])),
    }


def test_types_apart_and_batches_mixed_is_best(by_kind):
    oracle = by_kind["oracle"]
    assert oracle["clisi"].value > 0.99
    assert oracle["nmi"].value == pytest.approx(1)
    assert oracle["ari"].value == pytest.approx(1)
    assert oracle["graph_connectivity"].value == pytest.approx(1, abs=0.05)
    assert oracle["total"].value > by_kind["noise"]["total"].value + 0.2
    assert oracle["total"].value > by_kind["batchy"]["total"].value + 0.2


def test_noise_is_mixed_and_knows_no_type(by_kind):
    noise = by_kind["noise"]
    assert noise["ilisi"].value > 0.8
    assert noise["ari"].value == pytest.approx(noise["ari"].chance, abs=0.03)
    assert noise["bio"].value == pytest.approx(noise["bio"].chance, abs=0.05)


def test_a_batch_axis_is_seen_by_the_batch_side_only(by_kind):
    assert by_kind["batchy"]["ilisi"].value < 0.1
    assert by_kind["batchy"]["pcr_batch"].value > by_kind["oracle"]["pcr_batch"].value + 0.2
    assert by_kind["batchy"]["clisi"].value > 0.99


def test_total_is_the_weighted_mean_of_its_members(by_kind):
    found = by_kind["batchy"]
    bio = np.mean([found[name].value for name in BIO])
    batch = np.mean([found[name].value for name in BATCH])
    assert found["total"].value == pytest.approx(0.6 * bio + 0.4 * batch)


def test_values_lie_in_their_intervals(by_kind):
    for found in by_kind.values():
        for name, record in found.items():
            if record.low is not None:
                assert record.low <= record.value <= record.high, name


def test_swapping_label_and_batch_is_noticed(cells, by_kind):
    swapped = cells.copy()
    swapped.obs = swapped.obs.rename(columns={"label": "batch", "batch": "label"})
    types = np.eye(3)[np.unique(LABELS, return_inverse=True)[1]] * 10
    found = scores(swapped, types + 0.1 * np.random.default_rng(1).normal(size=(N, 3)))
    assert found["clisi"].value < 0.5 < by_kind["oracle"]["clisi"].value


def test_the_published_total_comes_from_the_published_members(golden_benchmarker):
    from scfm_eval.results import ScoreRecord
    from scfm_eval.tasks.integration import _totals

    names = ["Isolated labels", "KMeans NMI", "KMeans ARI", "Silhouette label", "cLISI"]
    names += ["BRAS", "iLISI", "KBET", "Graph connectivity", "PCR comparison"]
    import base64

    constant = base64.b64encode(np.zeros(4, dtype="<f4").tobytes()).decode()
    records = {
        ours: ScoreRecord(value=golden_benchmarker[theirs], replicates=constant)
        for ours, theirs in zip((*BIO, *BATCH), names, strict=True)
    }
    assert _totals(records)["total"].value == pytest.approx(golden_benchmarker["Total"], abs=1e-6)


@pytest.fixture
def golden_benchmarker():
    import json
    from pathlib import Path

    folder = Path(__file__).parents[1] / "golden_metrics" / "integration"
    return json.loads((folder / "expected.json").read_text())["benchmarker"]["own_pynndescent_neighbours"]

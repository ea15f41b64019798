"""Landscape: types apart are smooth, noise is as rough as chance, and roughness is compared with annotation errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from scfm_eval.results import Result
from scfm_eval.tasks.landscape import Landscape, half_samples, landscape_correlation
from tests.tasks.given import Given, blobs, cells_with

N = 240
LABELS = np.array(["B", "NK", "T"])[np.arange(N) % 3]
QUICK = Landscape(n_halves=60)


def score(embedding, *, task=QUICK, **keys):
    return task.score(Given(embedding), cells_with(**({"label": LABELS} | keys)), seeds=[0])


def result(task, model, dataset="pbmc", role="model", **scores):
    about = {"name": dataset, "sha256": "", "n_cells": 1, "n_genes": 1, "n_unlabelled": 0}
    empty = {"parameters": {}, "headline": [], "seeds": [0], "pairing": "", "seconds": {}, "from_store": False}
    readable = {"genes": 1.0, "counts": 1.0, "n_genes": 1}
    records = {name: {"value": value} for name, value in scores.items()}
    card = {"name": model, "role": role, "trained_here": False}
    return Result(task=task, dataset=about, model=card, readable=readable, scores=records, **empty)


def results(roughness, f1, **about):
    rough = [result("landscape", f"m{i}", rogi_xd=value, **about) for i, value in enumerate(roughness)]
    return rough + [result("annotation", f"m{i}", macro_f1=value, **about) for i, value in enumerate(f1)]


def test_types_themselves_are_smoothest_and_noise_is_at_chance():
    oracle = score(blobs(LABELS, noise=0.02)).scores
    noise = score(np.random.default_rng(1).normal(size=(N, 6))).scores
    mixed = score(blobs(LABELS, noise=0.3)).scores
    assert oracle["rogi_xd"].value < mixed["rogi_xd"].value < noise["rogi_xd"].value
    assert oracle["rogi_xd"].high < noise["rogi_xd"].low
    for name in Landscape.headline:
        assert noise[name].value == pytest.approx(noise[name].chance, abs=0.03), name
        assert noise[name].low < noise[name].value < noise[name].high, name
        assert not noise[name].higher_is_better


def test_the_spread_of_halves_is_that_of_new_cells():
    task, few = Landscape(n_halves=40), LABELS[:120]
    found = [score(blobs(few, noise=0.4, seed=i), label=few, task=task).scores["rogi_xd"] for i in range(20)]
    spread = np.std([record.value for record in found], ddof=1)
    width = np.mean([record.high - record.low for record in found]) / (2 * 1.96)
    assert 0.7 < width / spread < 2


def test_halves_are_drawn_without_replacement_within_strata():
    strata = np.repeat(["a", "b"], [10, 7])
    halves = half_samples(units=np.arange(17), strata=strata, n_samples=200, seed=0)
    assert set(halves[:, :10].sum(axis=1)) == {5}
    assert set(halves[:, 10:].sum(axis=1)) == {3, 4}
    np.testing.assert_allclose(halves.mean(axis=0), 0.5, atol=0.12)
    donors = half_samples(units=np.repeat(["x", "y"], 5), strata=np.zeros(10), n_samples=9, seed=0)
    assert {tuple(row) for row in donors} == {(1,) * 5 + (0,) * 5, (0,) * 5 + (1,) * 5}


def test_donors_are_halved_where_there_are_several():
    X = blobs(LABELS, noise=0.3)
    donors = np.array([f"d{i}" for i in range(6)])[np.arange(N) // 40]
    assert score(X, donor=donors).details["halves_of"] == "donors"
    assert score(X, donor=["d"] * N).details["halves_of"] == score(X).details["halves_of"] == "cells"


def test_many_cells_are_sampled_by_type():
    labels = np.where(np.arange(N) < 4, "rare", LABELS)
    task = Landscape(max_cells=60, n_halves=20)
    found = score(blobs(labels, noise=0.02), label=labels, task=task)
    assert found.details == {"cells_per_sample": 60, "n_samples": 5, "halves_of": "cells"}
    assert found.notes == ["each sample holds 60 of 240 cells, of each label its share"]
    assert len(found.scores["rogi_xd"].per_seed) == 5
    assert found.scores["rogi_xd"].how["n_types"] == 4
    assert found.scores["rogi_xd"].low is not None


def test_cells_without_a_label_are_left_out():
    labels = LABELS.astype(object)
    labels[:30] = None
    X = blobs(LABELS, noise=0.1)
    found = score(X, label=labels)
    assert found.notes == ["30 unlabelled cells were left out"]
    assert found.scores["rogi_xd"].value == score(X[30:], label=LABELS[30:]).scores["rogi_xd"].value


def test_roughness_that_goes_with_errors_is_found():
    (found,) = landscape_correlation(results([0.1, 0.2, 0.3, 0.4, 0.5], [0.9, 0.8, 0.7, 0.6, 0.5]))
    assert (found.dataset, found.n, found.rho) == ("pbmc", 5, pytest.approx(1))
    assert found.p == pytest.approx(1 / 120)
    (against,) = landscape_correlation(results([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9]))
    assert (against.rho, against.p) == (pytest.approx(-1), 1)


@pytest.mark.parametrize("n", [6, 12])
def test_rho_is_that_of_spearman_with_ties_and_p_about_its(n):
    rng = np.random.default_rng(n)
    rough, f1 = rng.normal(size=n).round(1), rng.normal(size=n).round(1)
    (found,) = landscape_correlation(results(rough, f1))
    expected = spearmanr(rough, 1 - f1, alternative="greater")
    assert found.rho == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.06)


def test_few_models_level_models_and_controls_say_nothing():
    (few,) = landscape_correlation(results([0.1, 0.2, 0.3], [0.9, 0.8, 0.7, 0.6]))
    assert (few.rho, few.models) == (None, ("m0", "m1", "m2"))
    assert "3 models have both results" in few.reason
    (level,) = landscape_correlation(results([0.1] * 5, [0.9, 0.8, 0.7, 0.6, 0.5]))
    assert level.reason == "all models are level"
    known = [result.model_copy(deep=True) for result in results([0.1], [1.0])]
    for result in known:
        result.model.name = "oracle"
    assert landscape_correlation([*results([0.1, 0.2, 0.3], [0.9, 0.8, 0.7]), *known])[0].n == 3
    assert landscape_correlation(results([0.1] * 5, [], dataset="a") + results([], [0.2] * 5, dataset="b")) == []

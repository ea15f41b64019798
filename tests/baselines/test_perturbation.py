"""Baselines of perturbation: golden predictions, answers where there are some, and nothing learned from elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval.baselines.perturbation import Additive, LinearMap, NoChange, RidgeOneHot, TrainingMean
from scfm_eval.datasets.synthetic import simulate_perturbations
from scfm_eval.models.card import card
from scfm_eval.models.protocols import PerturbationPredictor, missing_methods
from tests.perturbation_golden import expected, golden

BASELINES = [NoChange, TrainingMean, Additive, LinearMap, RidgeOneHot]


@pytest.fixture
def golden_train(monkeypatch):
    """Golden training cells, whose expression is on the log scale already."""
    monkeypatch.setattr("scfm_eval.datasets.perturbation_conditions.log_normalised", sparse.csr_matrix)
    cells = golden().real[(golden().real.obs["split"] == "train").to_numpy()].copy()
    cells.X = cells.X.astype(float)
    return cells


def fitted(baseline, cells):
    baseline.fit_perturbations(cells)
    return baseline


def lines(n_cells=40):
    """Two lines with the same perturbations; only the second one has B. A lifts the first ten genes, B lowers them."""
    rng = np.random.default_rng(0)
    names = [("one", "control"), ("one", "A"), ("two", "control"), ("two", "A"), ("two", "B")]
    rate = np.full((len(names), 30), 5.0)
    rate[[1, 3], :10] = 20.0
    rate[4, :10] = 1.0
    rate[2:, 20:] = 30.0
    which = np.repeat(np.arange(len(names)), n_cells)
    obs = pd.DataFrame(np.array(names)[which], columns=["context", "perturbation"]).astype("category")
    obs.index = obs.index.astype(str)
    var = pd.DataFrame(index=[*"ABC", *(f"g{i}" for i in range(27))])
    return AnnData(sparse.csr_matrix(rng.poisson(rate[which]).astype(np.float32)), obs=obs, var=var)


@pytest.mark.parametrize("setting", ["dim3_lambda0.1", "dim5_lambda0.1", "dim5_lambda1.0", "dim10_lambda0.1"])
def test_linear_map_reaches_the_golden_predictions(golden_train, setting):
    known = expected("linear_baseline")["reference"]["values"][setting]
    width, penalty = setting.removeprefix("dim").split("_lambda")
    model = fitted(LinearMap(n_components=int(width), penalty=float(penalty)), golden_train)
    for condition, first in known["prediction"].items():
        (found,) = model.predict_perturbations([condition.removesuffix("+ctrl")])
        np.testing.assert_allclose(found[:12], first, rtol=1e-5)
        distance = np.linalg.norm(found - golden().mean[condition.removesuffix("+ctrl")])
        assert distance == pytest.approx(known["scores"][condition]["l2"], rel=1e-5)
    assert np.isnan(model.predict_perturbations(known["no_prediction_for"])).all()


def test_additive_reaches_the_golden_predictions_and_uses_training_singles_only(golden_train):
    known = expected("additive_baseline")
    model = fitted(Additive(), golden_train)
    for condition, first in known["reference"]["prediction"].items():
        (found,) = model.predict_perturbations([condition])
        if condition in known["corrected"]["doubles_without_prediction"]:
            assert np.isnan(found).all()
        else:
            np.testing.assert_allclose(found[:12], first, atol=1e-6)
    assert np.isnan(model.predict_perturbations(["G001"])).all()


@pytest.mark.parametrize(("baseline", "name"), [(NoChange, "no_change"), (TrainingMean, "train_mean")])
def test_constant_answers_reach_the_golden_distances(golden_train, baseline, name):
    known = expected("additive_baseline")["other_baselines"][name]
    found = fitted(baseline(), golden_train).predict_perturbations(list(known))
    distances = np.linalg.norm(found - np.array([golden().mean[condition] for condition in known]), axis=1)
    np.testing.assert_allclose(distances, [scores["l2"] for scores in known.values()], atol=1e-6)
    assert (found == found[0]).all()


def test_ridge_adds_up_what_it_has_seen_and_knows_nothing_of_an_unseen_gene():
    cells, truth = simulate_perturbations(seed=0)
    single, double = truth.perturbations[0], truth.perturbations[12]
    train = cells[(cells.obs["perturbation"] != double).to_numpy()].copy()
    model, sums = fitted(RidgeOneHot(), train), fitted(Additive(), train)
    (control,) = fitted(NoChange(), train).predict_perturbations([double])
    (known,), (added,) = model.predict_perturbations([double]), sums.predict_perturbations([double])
    assert np.corrcoef(known - control, added - control)[0, 1] > 0.95
    neither, unseen, seen = model.predict_perturbations(["NEITHER", "UNSEEN", single])
    np.testing.assert_array_equal(neither, unseen)
    assert not np.allclose(seen, unseen, atol=0.1)


def test_changes_are_those_of_the_context_and_of_the_others_where_it_has_none():
    cells = lines()
    log = np.log1p(cells.X.toarray() / cells.X.toarray().sum(axis=1, keepdims=True) * 1e4)
    line, name = (cells.obs[key].to_numpy().astype(str) for key in ("context", "perturbation"))
    mean = {(c, p): log[(line == c) & (name == p)].mean(axis=0) for c, p in set(zip(line, name, strict=True))}
    own = fitted(TrainingMean(), cells).predict_perturbations(["one|B", "two|C"])
    np.testing.assert_allclose(own[0], mean["one", "A"], rtol=1e-5)
    np.testing.assert_allclose(own[1], (mean["two", "A"] + mean["two", "B"]) / 2, rtol=1e-5)
    unseen = cells[~((line == "one") & (name == "A"))].copy()
    transferred = fitted(TrainingMean(), unseen).predict_perturbations(["one|A"])
    change = (mean["two", "A"] + mean["two", "B"]) / 2 - mean["two", "control"]
    np.testing.assert_allclose(transferred[0], mean["one", "control"] + change, rtol=1e-5)
    assert not np.isnan(fitted(Additive(), cells).predict_perturbations(["two|A+B"])).any()
    assert np.isnan(fitted(Additive(), cells).predict_perturbations(["one|A+B"])).all()


def test_linear_map_without_a_measured_single_has_no_answer():
    cells = lines()
    cells.var_names = [f"h{i}" for i in range(30)]
    assert np.isnan(fitted(LinearMap(), cells).predict_perturbations(["one|A", "two|B"])).all()


@pytest.mark.parametrize("baseline", BASELINES)
def test_keeps_the_contract(baseline):
    assert not missing_methods(baseline, PerturbationPredictor)
    about = card(baseline)
    assert about.role == "baseline"
    assert about.trained_here
    assert about.gene_ids is None
    cells = lines()
    before = cells.X.copy()
    model = fitted(baseline(), cells)
    asked = ["two|A+B", "one|A", "two|C"]
    found = model.predict_perturbations(asked)
    assert found.dtype == np.float32
    assert found.shape == (3, 30)
    finite = np.isfinite(found)
    assert (finite.all(axis=1) | ~finite.any(axis=1)).all()
    assert (before != cells.X).nnz == 0
    alone = np.vstack([model.predict_perturbations([name]) for name in asked])
    np.testing.assert_allclose(alone, found, rtol=1e-6)
    shuffled = fitted(baseline(), cells[np.random.default_rng(0).permutation(cells.n_obs)].copy())
    np.testing.assert_allclose(shuffled.predict_perturbations(asked), found, rtol=1e-4, atol=1e-5)

"""What every baseline and control owes the harness."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from anndata import AnnData

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.harmony import Harmony
from scfm_eval.baselines.hvg import HVG
from scfm_eval.baselines.pca import PCA
from scfm_eval.baselines.scanorama import Scanorama
from scfm_eval.baselines.scvi import SCANVI, SCVI
from scfm_eval.datasets.expression import highly_variable
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Embedder, missing_methods

CLASSES = [HVG, PCA, Harmony, SCVI, SCANVI, Scanorama, Random, Oracle]
INDUCTIVE = [model for model in CLASSES if model is not Scanorama]
WIDTHS = {HVG: 2000, PCA: 50, Harmony: 50, SCVI: 10, SCANVI: 10, Scanorama: 100, Random: 50, Oracle: 64}


def global_random_states():
    return str(np.random.get_state()), random.getstate(), torch.random.get_rng_state().tolist()  # noqa: NPY002


def made(method, cells, labels, *, fitted=slice(None)):
    arguments = {SCVI: {"max_epochs": 5}, SCANVI: {"max_epochs": 5}}.get(method, {})
    instance = method(**arguments)
    if hasattr(instance, "fit"):
        instance.fit(cells[fitted])
    if hasattr(instance, "fit_with_labels"):
        instance.fit_with_labels(cells[fitted], labels=labels[fitted])
    return instance


@pytest.fixture
def cells(cells, labels, request):
    method = request.getfixturevalue("method")
    if method is Oracle:
        cells.obs["label"] = labels
    if method is Scanorama:
        pytest.importorskip("scanorama")
    return cells


@pytest.mark.parametrize("method", CLASSES)
def test_one_finite_float32_row_per_cell(method, cells, labels):
    embedding = made(method, cells, labels).embed(cells)
    expressed = int((cells.X.sum(axis=0) > 0).sum())
    assert embedding.shape == (cells.n_obs, min(WIDTHS[method], expressed))
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize("method", CLASSES)
def test_rows_follow_the_order_of_the_cells(method, cells, labels):
    instance = made(method, cells, labels)
    order = np.random.default_rng(0).permutation(cells.n_obs)
    np.testing.assert_allclose(instance.embed(cells[order]), instance.embed(cells)[order], atol=1e-4)


@pytest.mark.parametrize("method", INDUCTIVE)
def test_a_row_does_not_depend_on_the_other_cells(method, cells, labels):
    instance = made(method, cells, labels, fitted=slice(0, 150))
    np.testing.assert_allclose(instance.embed(cells[140:170]), instance.embed(cells)[140:170], atol=1e-4)


@pytest.mark.parametrize("method", CLASSES)
def test_same_seed_same_result_and_no_global_random_state_is_touched(method, cells, labels):
    before = global_random_states()
    first = made(method, cells, labels).embed(cells)
    after = global_random_states()
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    second = made(method, cells, labels).embed(cells)
    np.testing.assert_array_equal(first, second)
    assert before == after


@pytest.mark.parametrize("method", CLASSES)
def test_cells_are_not_changed(method, cells, labels):
    before = cells.copy()
    made(method, cells, labels).embed(cells)
    assert (cells.X != before.X).nnz == 0
    assert list(cells.obs) == list(before.obs)
    assert not cells.uns
    assert not cells.obsm
    assert not list(cells.var)
    assert cells.obs["batch"].equals(before.obs["batch"])


@pytest.mark.parametrize("method", CLASSES)
def test_card_is_complete(method):
    stated = card(method)
    assert not missing_methods(method, Embedder)
    assert stated.role in {"baseline", "control"}
    assert stated.revision
    assert stated.licence != "not stated"
    assert stated.citation or stated.role == "control"
    assert stated.gene_ids is None


@pytest.mark.parametrize("method", [HVG, PCA, Harmony, SCVI])
def test_genes_are_chosen_on_the_fitted_cells_only(method, cells, labels, monkeypatch):
    monkeypatch.setattr(f"{method.__module__}.highly_variable", partial(highly_variable, n_top=50))
    poisoned = cells.X.toarray()
    poisoned[150::2, poisoned[:150].var(axis=0).argmin()] = 5000
    poisoned = AnnData(type(cells.X)(poisoned), obs=cells.obs.copy(), var=cells.var.copy())
    chosen = made(method, cells, labels, fitted=slice(0, 150))._genes
    assert list(made(method, poisoned, labels, fitted=slice(0, 150))._genes) == list(chosen)
    assert list(made(method, poisoned, labels)._genes) != list(chosen)

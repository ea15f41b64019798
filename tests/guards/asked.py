"""Asking models of the tests directly, and the datasets and models that no guard may refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from anndata import AnnData

from scfm_eval import guards
from scfm_eval.answers import StoredAnswers
from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.hvg import HVG
from scfm_eval.baselines.pca import PCA
from scfm_eval.cells import Cells, model_view
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset
from scfm_eval.models.card import card
from scfm_eval.models.geneformer import GeneformerMini
from scfm_eval.models.scgpt import ScGPTMini
from scfm_eval.provenance import weights_folder
from scfm_eval.store import Store
from tests.toys import toy_cells

TOY = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
EMBEDDED = ("pbmc68k_reduced", "synthetic_batches", "synthetic_perturbations")
REAL = ("pbmc3k", "hao_pbmc", "pancreas", "heart", "perturbseq_norman_mcfaline")
QUICK, MINIS = (PCA, HVG, Random, Oracle), (GeneformerMini, ScGPTMini)


def toy():
    """Return the cells of the toy dataset."""
    return Cells(TOY, TOY.load())


def some_of(name, *, n_cells):
    """Return every so-manieth cell of a dataset, in their order."""
    dataset = find_dataset(name)
    loaded = dataset.load(offline=True)
    rows = np.unique(np.linspace(0, loaded.n_obs - 1, min(n_cells, loaded.n_obs)).astype(int))
    return Cells(replace(dataset), AnnData.copy(loaded[rows]))


def answers_of(model, cells, folder):
    """Return the answers of one model, from a store of its own."""
    resident, about = Resident(device="cpu", offline=True), card(model)
    weights = weights_folder(model, None, offline=True)
    seen, _ = model_view(model, about, cells, weights=weights)
    return StoredAnswers(model, about, cells, seen, Store(folder), resident, weights)


def told_of(model, cells, folder):
    """Return what guards tell while a model embeds."""
    with guards.listening() as told:
        answers_of(model, cells, folder).embed(seed=0)
    return told

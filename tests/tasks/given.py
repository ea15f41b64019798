"""Labelled cells and the answers of a model whose embedding is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scfm_eval.fits import Rows


class Given:
    """Answers with one embedding, and remembers which cells could be learned from, and by which seeds."""

    fits = ()

    def __init__(self, embedding):
        self.embedding = np.asarray(embedding, dtype=np.float32)
        self.trained_on, self.seeds = [], []

    def members(self):
        return [self]

    def embed(self, *, seed, train=None):
        return self.embed_rows(seed=seed, train=train).values

    def embed_rows(self, *, seed, train=None):
        self.trained_on.append(train)
        self.seeds.append(seed)
        return Rows(self.embedding, np.arange(len(self.embedding)), fits=self.fits)


def sides(X, labels, *, n_train):
    """Return the first rows with their labels to learn from, and the others without to be predicted."""
    rows = Rows(np.asarray(X), np.arange(len(X)), labels=np.asarray(labels))
    return rows[:n_train], rows[n_train:].labelled(None)


def cells_with(**keys):
    """Return cells with one count each and the canonical keys that are given."""
    n_cells = len(next(iter(keys.values())))
    obs = pd.DataFrame(
        {key: pd.Categorical(values) for key, values in keys.items()}, index=[f"c{i}" for i in range(n_cells)]
    )
    return AnnData(sparse.csr_matrix(np.ones((n_cells, 2), dtype=np.float32)), obs=obs)


def blobs(labels, *, noise, seed=0, width=6):
    """Return one corner per label, in the order of their names, with normal noise around it."""
    names, codes = np.unique(labels, return_inverse=True)
    return np.eye(len(names), width)[codes] + np.random.default_rng(seed).normal(scale=noise, size=(len(labels), width))

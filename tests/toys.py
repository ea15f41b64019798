"""Small cells and models for the tests of the suite itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

N_GENES = 40


def toy_cells(*, n_cells=90, seed=0):
    """Return counts of three cell types in two batches; each type has genes of its own."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n_cells) % 3
    rate = np.full((n_cells, N_GENES), 2.0)
    for k in range(3):
        rate[kind == k, 10 * k : 10 * k + 10] = 9.0
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(["a", "b", "c"])[kind]),
            "lane": pd.Categorical(rng.choice(["x", "y"], n_cells)),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs, var=var)


MODELS = """
import numpy as np
import pandas as pd

class Good:
    def embed(self, cells):
        return np.log1p(cells.X.toarray())

class Blind:
    def embed(self, cells):
        return np.stack([np.random.default_rng([ord(c) for c in name]).normal(size=3) for name in cells.obs_names])

class Broken:
    def __init__(self):
        raise RuntimeError("the weights are torn")

    def embed(self, cells):
        return None

class Reconstructs:
    def reconstruct(self, cells):
        return cells.X

class Counted:
    def __init__(self):
        with open("loads.txt", "a") as file:
            file.write("load\\n")

    def embed(self, cells):
        with open("embeds.txt", "a") as file:
            file.write("embed\\n")
        # a table is not asked for again
        return pd.DataFrame(np.log1p(cells.X.toarray()), index=cells.obs_names)
"""

CLAIMS = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scfm_eval.metrics.classification import accuracy
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import measure
from scfm_eval.tasks.task import Scored, lacks, resampling_weights


@dataclass(frozen=True)
class Toy:
    name: ClassVar[str] = "NAME"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple] = ("label",)
    headline: ClassVar[tuple] = ("accuracy",)

    def refuses(self, model):
        return lacks(model, Embedder)

    def check(self, cells, *, dataset):
        pass

    def score(self, answers, cells, *, seeds):
        X = answers.embed(seed=0, train=np.ones(cells.n_obs, dtype=bool))
        labels = cells.obs["label"].to_numpy().astype(str)
        classes = np.unique(labels)
        centroids = np.stack([X[labels == c].mean(axis=0) for c in classes])
        found = classes[((X[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)]
        weights = resampling_weights(donors=None, strata=np.zeros(len(labels)))
        made = accuracy.statistic(labels, found, classes=classes)
        return Scored({"accuracy": measure(accuracy, lambda: [made], weights=weights, chance=lambda: 1 / 3)})


task = Toy()


def test_beats_chance(result):
    assert result["accuracy"] > result["accuracy"].chance


def test_beats_pca(result, pca):
    assert result["accuracy"] > pca["accuracy"]


def test_needs_batches(result, harmony):
    assert result["accuracy"] >= harmony["accuracy"] - 1


def test_has_not_regressed(result, reference):
    assert result["accuracy"].has_not_regressed_from(reference["accuracy"])
"""

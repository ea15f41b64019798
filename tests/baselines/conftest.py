"""A small simulated experiment: three cell types in two batches."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

N_CELLS, N_GENES = 210, 300


@pytest.fixture(scope="session")
def labels():
    return np.random.default_rng(1).permutation(np.repeat(["B", "NK", "T"], N_CELLS // 3))


@pytest.fixture(scope="session")
def _counts(labels):
    rng = np.random.default_rng(2)
    batch = rng.choice(["one", "two"], N_CELLS)
    rates = rng.gamma(0.5, 1.0, N_GENES)
    of_type = {name: np.exp(1.5 * rng.normal(size=N_GENES) * (rng.random(N_GENES) < 0.2)) for name in ("B", "NK", "T")}
    of_batch = {name: np.exp(0.4 * rng.normal(size=N_GENES) * (rng.random(N_GENES) < 0.5)) for name in ("one", "two")}
    mean = np.stack([rates * of_type[y] * of_batch[b] for y, b in zip(labels, batch, strict=True)])
    X = rng.poisson(2.0 * mean).astype(np.float32)
    return X, batch


@pytest.fixture
def cells(_counts):
    """View as the harness hands it over; its arrays are read-only, so that writing to them fails."""
    X, batch = _counts
    view = ad.AnnData(
        sparse.csr_matrix(X),
        obs=pd.DataFrame({"batch": pd.Categorical(batch)}, index=[f"cell{i}" for i in range(N_CELLS)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)]),
    )
    for array in (view.X.data, view.X.indices, view.X.indptr):
        array.flags.writeable = False
    return view


@pytest.fixture(scope="session")
def separation():
    """Share of variance between groups, over all dimensions."""

    def between(X, groups):
        X = np.asarray(X, dtype=float)
        means = {g: X[groups == g].mean(axis=0) for g in np.unique(groups)}
        fitted = np.stack([means[g] for g in groups])
        return fitted.var(axis=0).sum() / X.var(axis=0).sum()

    return between

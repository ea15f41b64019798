"""Seeded inputs that this suite and packages in other environments are given alike; needs numpy only."""

from __future__ import annotations

import numpy as np

N_GENES, N_CELLS = 40, 30
PERTURBATIONS = tuple(f"p{i}" for i in range(8))
CONTROL = "non-targeting"
WIDTH = 90.0
"""Of the kernel of the mean discrepancy."""


def perturbed():
    """Return true and predicted cells by condition, ``(n_cells, n_genes)`` each; control cells are the same."""
    rng = np.random.default_rng(11)
    baseline = rng.exponential(size=N_GENES)
    control = baseline + rng.exponential(size=(2 * N_CELLS, N_GENES))
    real, predicted = {CONTROL: control}, {CONTROL: control}
    for name in PERTURBATIONS:
        effect = rng.normal(size=N_GENES) * (rng.random(N_GENES) < 0.3)
        real[name] = baseline + effect + rng.exponential(size=(N_CELLS, N_GENES))
        guessed = 0.6 * effect + 0.3 * rng.normal(size=N_GENES)
        predicted[name] = baseline + guessed + rng.exponential(size=(N_CELLS + 5, N_GENES))
    return real, predicted


def differential():
    """Return log2 fold changes and false discovery rates, ``(2, n_perturbations, n_genes)``: true and predicted."""
    rng = np.random.default_rng(12)
    shape = (len(PERTURBATIONS), N_GENES)
    true = rng.normal(size=shape)
    changes = np.stack([true, true + 0.7 * rng.normal(size=shape)])
    return changes, rng.random((2, *shape)) ** 3


def typed():
    """Return expression ``(n_cells, n_genes)``, two embeddings, the type and the batch of each cell."""
    rng = np.random.default_rng(13)
    kind, batch = rng.integers(6, size=700), rng.integers(3, size=700)
    expression = 2 * rng.normal(size=(6, 50))[kind] + rng.normal(size=(3, 50))[batch] + rng.normal(size=(700, 50))
    expression -= expression.min()
    near = expression @ rng.normal(size=(50, 12)) + 5 * rng.normal(size=(700, 12))
    return expression, {"near": near, "noise": rng.normal(size=(700, 12))}, kind.astype(str), batch.astype(str)

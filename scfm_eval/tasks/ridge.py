"""Ridge regression from an embedding to expression, its penalty chosen by inner folds without refitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PENALTIES = 10.0 ** np.arange(-3, 6.5, 0.5)
"""Penalties where the mean variance of an input is 1; the best one hardly depends on the number of cells."""
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted linear map; :func:`fit_ridge` makes it.

    Parameters
    ----------
    weights
        ``(d, n_outputs)``.
    offset
        ``(n_outputs,)``.
    penalty
        The chosen one of :data:`PENALTIES`.
    """

    weights: NDArray[np.float32]
    offset: NDArray[np.float32]
    penalty: float

    def predict(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs ``(n_cells, n_outputs)`` for the rows of ``X`` ``(n_cells, d)``."""
        return np.asarray(X, dtype=np.float32) @ self.weights + self.offset


def fit_ridge(X: NDArray[Any], Y: NDArray[Any], *, fold: NDArray[Any]) -> Ridge:
    """Fit ridge regression, with one penalty for all outputs.

    Inputs are centred and scaled by one number, so that a rotation of ``X`` changes nothing; outputs are standardised.
    The penalty is the one of the least squared error over the inner folds, each output counted the same. One
    eigendecomposition per fold serves all penalties.

    Parameters
    ----------
    X
        Inputs ``(n_cells, d)``.
    Y
        Outputs ``(n_cells, n_outputs)``.
    fold
        Inner fold of each cell ``(n_cells,)``, at least two; cells of one donor in the same one.
    """
    given, wanted = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    centre, spread = given.mean(axis=0), float(np.sqrt(given.var(axis=0).mean()))
    mean, scale = wanted.mean(axis=0), wanted.std(axis=0)
    # what does not vary beyond rounding says nothing, and dividing by its spread would make it say much
    spread = spread if spread > _LEAST_SPREAD * np.abs(given).max(initial=0.0) else np.inf
    inputs, outputs = (given - centre) / spread, (wanted - mean) / np.where(scale > _LEAST_SPREAD, scale, np.inf)
    losses = np.sum([_losses(inputs, outputs, held=fold == one) for one in np.unique(fold)], axis=0)
    penalty = float(PENALTIES[np.argmin(losses)])
    values, vectors = _spectrum(inputs)
    projected = vectors.T @ (inputs.T @ outputs)
    weights = (vectors @ (projected / (values + penalty)[:, None])) / spread * scale
    return Ridge(weights.astype(np.float32), (mean - centre @ weights).astype(np.float32), penalty)


def _losses(
    inputs: NDArray[np.float64], outputs: NDArray[np.float64], *, held: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the squared error on the cells held out for each penalty, less what is the same for all of them."""
    x_mean, y_mean = inputs[~held].mean(axis=0), outputs[~held].mean(axis=0)
    seen = inputs[~held] - x_mean
    values, vectors = _spectrum(seen)
    projected = vectors.T @ (seen.T @ (outputs[~held] - y_mean))  # (d, n_outputs)
    unseen = (inputs[held] - x_mean) @ vectors
    crossed = np.einsum("kg,kg->k", projected, unseen.T @ (outputs[held] - y_mean))
    squared = (unseen.T @ unseen) * (projected @ projected.T)
    shrunk = 1 / (values + PENALTIES[:, None])  # (n_penalties, d)
    losses: NDArray[np.float64] = ((shrunk @ squared) * shrunk).sum(axis=1) - 2 * shrunk @ crossed
    return losses


def _spectrum(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(X.T @ X)
    return np.maximum(values, 0.0), vectors

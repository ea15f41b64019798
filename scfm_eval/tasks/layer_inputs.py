"""What a probe is given: each layer, several layers in one, and references of the same width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.tasks.ridge import fit_ridge

Layers = Sequence[NDArray[np.float32]]
Mask = NDArray[np.bool_]

_N_TARGETS = 50
_ROUNDS = 3
_N_BY_CELL = 3


def combined(
    layers: Layers, *, train: Mask, expression: NDArray[np.float32], fold: NDArray[Any]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]:
    """Return the layers joined in three ways, each as wide as one of them, and the learned weight of each layer.

    Before that, each layer is centred and scaled to the same total variance on the training cells: else the layer of
    the largest numbers would be the only one that counts.

    Parameters
    ----------
    layers
        One ``(n_cells, d)`` per layer.
    train
        Training cells ``(n_cells,)``; nothing is learned from others.
    expression
        Log-expression of the training cells ``(n_train, n_genes)``.
    fold
        Inner fold of each training cell ``(n_train,)``.

    Returns
    -------
    combinations
        ``mean_layers``, ``weighted_layers`` and ``concatenated_layers`` (its first principal components).
    weights
        ``(n_layers,)``, not negative, of sum 1.
    """
    scaled = [_scaled(layer, train) for layer in layers]
    weights = layer_weights([layer[train] for layer in scaled], expression, fold=fold)
    joined: dict[str, NDArray[np.float32]] = {
        "mean_layers": np.stack(scaled).mean(axis=0),
        "weighted_layers": np.tensordot(weights.astype(np.float32), np.stack(scaled), axes=1),
        "concatenated_layers": principal(np.concatenate(scaled, axis=1), train=train, width=layers[0].shape[1]),
    }
    return joined, weights


def layer_weights(layers: Layers, expression: NDArray[np.float32], *, fold: NDArray[Any]) -> NDArray[np.float64]:
    """Learn how much each layer counts in a weighted sum from which expression is predicted.

    A ridge regression from the weighted sum and the weights of the layers are fitted in turns, the weights on the first
    fold and the regression on the others; the target is the first 50 principal components of expression.

    Parameters
    ----------
    layers
        Layers of the training cells ``(n_train, d)``, all on one scale.
    expression
        Their log-expression ``(n_train, n_genes)``.
    fold
        Inner fold of each cell ``(n_train,)``, at least two; cells of one donor in the same one. The penalty of the
        regression is chosen by the others too, or by cell where they are one only.

    Returns
    -------
    ``(n_layers,)``, not negative, of sum 1.
    """
    from scipy.optimize import nnls

    held, inner = fold == fold.min(), fold[fold != fold.min()]
    inner = inner if len(np.unique(inner)) > 1 else np.arange(len(inner)) % _N_BY_CELL
    everywhere = np.ones(len(expression), dtype=bool)
    target = principal(expression, train=everywhere, width=_N_TARGETS)
    weights = np.full(len(layers), 1 / len(layers))
    for _ in range(_ROUNDS):
        mixed = np.tensordot(weights.astype(np.float32), np.stack(layers), axes=1)[~held]
        fitted = fit_ridge(mixed, target[~held], fold=inner)
        answers = np.column_stack([(layer[held] @ fitted.weights).ravel() for layer in layers])
        found, _ = nnls(answers.astype(np.float64), (target[held] - fitted.offset).ravel().astype(np.float64))
        if not found.any():
            break
        weights = found / found.sum()
    return weights


def principal(X: NDArray[np.float32], *, train: Mask, width: int) -> NDArray[np.float32]:
    """Return the coordinates of all rows of ``X`` on the first principal components of the training rows.

    Fewer than ``width`` components are made where training cells or columns are fewer.
    """
    return np.asarray(_components(X[train], width=width).transform(X), dtype=np.float32)


def principal_reconstruction(X: NDArray[np.float32], *, train: Mask, width: int) -> NDArray[np.float32]:
    """Return ``X`` after it went through the first principal components of the training rows and back.

    Of all linear maps to ``width`` dimensions and back, this one has the least squared error on the training cells.
    """
    fitted = _components(X[train], width=width)
    return np.asarray(fitted.inverse_transform(fitted.transform(X)), dtype=np.float32)


def random_projection(expression: NDArray[np.float32], *, width: int, seed: int) -> NDArray[np.float32]:
    """Return ``expression`` ``(n_cells, n_genes)`` on ``width`` random Gaussian directions."""
    directions = np.random.default_rng(seed).standard_normal((expression.shape[1], width), dtype=np.float32)
    return expression @ directions


def _components(X: NDArray[np.float32], *, width: int) -> Any:
    from sklearn.decomposition import PCA

    n_components = min(width, len(X) - 1, X.shape[1])
    solver = "full" if min(X.shape) <= 2 * n_components else "randomized"
    return PCA(n_components=n_components, svd_solver=solver, random_state=0).fit(X)


def _scaled(layer: NDArray[np.float32], train: Mask) -> NDArray[np.float32]:
    centred = layer - layer[train].mean(axis=0)
    size = float(np.sqrt(np.square(centred[train]).mean()))
    return np.asarray(centred / (size if size > 0 else 1.0), dtype=np.float32)

"""What a probe is given: each layer, several layers in one, and references of the same width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.fits import Fitted, Rows, fitted, together
from scfm_eval.tasks.ridge import fit_ridge

Layers = Sequence[NDArray[np.float32]]
Mask = NDArray[np.bool_]

_N_TARGETS = 50
_ROUNDS = 3
_N_BY_CELL = 3


def combined(
    layers: Sequence[Rows], *, train: Mask, expression: NDArray[np.float32], fold: NDArray[Any]
) -> tuple[dict[str, Rows], NDArray[np.float64]]:
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
    every = _stacked(scaled)
    learned = fitted(
        "the weights of the layers",
        every[train],
        lambda rows: layer_weights([*np.stack([*np.moveaxis(rows.values, 1, 0)])], expression, fold=fold),
    )
    shares = learned.made.astype(np.float32)
    wide = replace(every, values=every.values.reshape(len(every), -1))
    joined = {
        "mean_layers": replace(every, values=np.stack([layer.values for layer in scaled]).mean(axis=0)),
        "weighted_layers": learned.on(
            every, lambda _: np.tensordot(shares, np.stack([layer.values for layer in scaled]), axes=1)
        ),
        "concatenated_layers": principal(wide, train=train, width=layers[0].values.shape[1]),
    }
    return joined, learned.made


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
    target = np.asarray(_components(expression, width=_N_TARGETS).transform(expression), dtype=np.float32)
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


def principal(X: Rows, *, train: Mask, width: int) -> Rows:
    """Return the coordinates of all rows of ``X`` on the first principal components of the training rows.

    Fewer than ``width`` components are made where training cells or columns are fewer.
    """
    components = _fitted_components(X[train], width=width)
    return components.on(X, lambda values: np.asarray(components.made.transform(values), dtype=np.float32))


def principal_reconstruction(X: Rows, *, train: Mask, width: int) -> Rows:
    """Return ``X`` after it went through the first principal components of the training rows and back.

    Of all linear maps to ``width`` dimensions and back, this one has the least squared error on the training cells.
    """
    components = _fitted_components(X[train], width=width)

    def back(values: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(components.made.inverse_transform(components.made.transform(values)), dtype=np.float32)

    return components.on(X, back)


def random_projection(expression: NDArray[np.float32], *, width: int, seed: int) -> NDArray[np.float32]:
    """Return ``expression`` ``(n_cells, n_genes)`` on ``width`` random Gaussian directions."""
    directions = np.random.default_rng(seed).standard_normal((expression.shape[1], width), dtype=np.float32)
    return expression @ directions


def _fitted_components(X: Rows, *, width: int) -> Fitted[Any]:
    return fitted("principal components", X, lambda rows: _components(rows.values, width=width))


def _components(X: NDArray[np.float32], *, width: int) -> Any:
    from sklearn.decomposition import PCA

    n_components = min(width, len(X) - 1, X.shape[1])
    solver = "full" if min(X.shape) <= 2 * n_components else "randomized"
    return PCA(n_components=n_components, svd_solver=solver, random_state=0).fit(X)


def _scaled(layer: Rows, train: Mask) -> Rows:
    def scale(rows: Rows) -> tuple[NDArray[np.float32], float]:
        mean = rows.values.mean(axis=0)
        size = float(np.sqrt(np.square(rows.values - mean).mean()))
        return mean, size if size > 0 else 1.0

    found = fitted("the scaling of a layer", layer[train], scale)
    mean, size = found.made
    return found.on(layer, lambda values: np.asarray((values - mean) / size, dtype=np.float32))


def _stacked(layers: Sequence[Rows]) -> Rows:
    """Return cells with the values of all layers ``(n_cells, n_layers, d)``."""
    values = np.stack([layer.values for layer in layers], axis=1)
    return replace(layers[0], values=values, fits=together(*(layer.fits for layer in layers)))

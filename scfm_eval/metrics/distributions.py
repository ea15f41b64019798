"""Distances between two sets of cells that see more than their means."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.inputs import finite_matrix
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.responses import mean_over_conditions
from scfm_eval.metrics.weighted import Floats

Pair = tuple[ArrayLike, ArrayLike]
"""True and predicted cells of a condition, ``(n, d)`` and ``(m, d)``."""


def energy_distance(X: ArrayLike, Y: ArrayLike) -> float:
    """Return ``2 mean d(X, Y) − mean d(X, X) − mean d(Y, Y)`` with Euclidean d, over pairs of different cells.

    Parameters
    ----------
    X, Y
        Two sets of cells ``(n, d)`` and ``(m, d)``.

    Returns
    -------
    0 on average for two samples of the same cells, and then below 0 about as often as above.

    Raises
    ------
    InvalidInputError
        The widths differ, or a value is not finite.
    UndefinedMetricError
        A set has one cell only.
    """
    between, within_x, within_y = (np.sqrt(squares) for squares in _squared_distances(X, Y))
    return float(2 * between.mean() - _mean_of_pairs(within_x) - _mean_of_pairs(within_y))


def squared_mmd(X: ArrayLike, Y: ArrayLike, *, width: float | None = None) -> float:
    """Return the squared maximum mean discrepancy with the kernel ``exp(−‖x − y‖² / width)``, as a U-statistic.

    Parameters, errors and the value of equal samples are those of :func:`energy_distance`, and also:

    Parameters
    ----------
    width
        Of the kernel, above 0; ``None`` takes :func:`kernel_width` of both sets, which then depends on either.
    """
    squares = _squared_distances(X, Y)
    scale = _median(squares) if width is None else width
    between, within_x, within_y = (np.exp(-part / scale) for part in squares)
    return float(_mean_of_pairs(within_x) + _mean_of_pairs(within_y) - 2 * between.mean())


def kernel_width(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the median of all squared distances between different cells of both sets.

    Parameters are those of :func:`energy_distance`, and so are the errors; the median must be above 0, too.
    """
    return _median(_squared_distances(X, Y))


@metric(best=-np.inf, worst=np.inf, source="10.1038/s41592-023-02144-y")
def e_distance(pairs: Iterable[Pair], *, conditions: NDArray[np.str_], predicted_cells: str) -> Statistic:
    """Unbiased energy distance of true and predicted cells, mean over conditions; lower is better.

    Parameters
    ----------
    pairs
        True and predicted cells of each condition.
    conditions
        Names ``(n_conditions,)``.
    predicted_cells
        Where predicted cells come from, in words.

    Returns
    -------
    0 for the true distribution, on average: without bias it falls below 0 by chance.
    """
    values = np.array([energy_distance(true, predicted) for true, predicted in pairs])
    how = {"distance": "Euclidean, unbiased", "predicted_cells": predicted_cells}
    return mean_over_conditions(values, conditions, how=how)


@metric(best=-np.inf, worst=np.inf, source="10.5555/2188385.2188410")
def mmd(
    pairs: Iterable[Pair], *, conditions: NDArray[np.str_], predicted_cells: str, widths: Iterable[float]
) -> Statistic:
    """Unbiased squared maximum mean discrepancy of true and predicted cells, mean over conditions; lower is better.

    Other parameters, and the value of the true distribution, as :data:`e_distance`.

    Parameters
    ----------
    widths
        Width of the kernel for each condition, above 0. It should not depend on the prediction: else each model is
        judged under a kernel of its own.
    """
    values = np.array([squared_mmd(*pair, width=width) for pair, width in zip(pairs, widths, strict=True)])
    how = {"kernel": "rbf of a width given for each condition, U-statistic", "predicted_cells": predicted_cells}
    return mean_over_conditions(values, conditions, how=how)


def _squared_distances(X: ArrayLike, Y: ArrayLike) -> tuple[Floats, Floats, Floats]:
    first, second = finite_matrix(X, name="X"), finite_matrix(Y, name="Y")
    if first.shape[1] != second.shape[1]:
        raise InvalidInputError(
            asked="two sets of cells with the same genes",
            found=f"{first.shape[1]} and {second.shape[1]} columns",
            remedy="give both sets in the same space",
        )
    if min(len(first), len(second)) < 2:
        raise UndefinedMetricError(f"{len(first)} and {len(second)} cells: a set needs two for a distance within")
    middle = first.mean(axis=0)
    first, second = first - middle, second - middle
    return _between(first, second), _between(first, first), _between(second, second)


def _between(X: Floats, Y: Floats) -> Floats:
    lengths = (X**2).sum(axis=1)[:, None] + (Y**2).sum(axis=1)[None, :]
    return np.asarray(np.maximum(lengths - 2 * (X @ Y.T), 0.0))


def _mean_of_pairs(within: Floats) -> float:
    n = len(within)
    return float((within.sum() - np.trace(within)) / (n * (n - 1)))


def _median(squares: tuple[Floats, Floats, Floats]) -> float:
    between, *within = squares
    pairs = [part[np.triu_indices(len(part), 1)] for part in within]
    median = float(np.median(np.concatenate([between.ravel(), *pairs])))
    if median == 0.0:
        raise UndefinedMetricError("more than half of the cells are equal: the kernel has no width")
    return median

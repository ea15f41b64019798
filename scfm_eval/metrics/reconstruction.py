"""How well expression is given back: by a model's own head within each cell, or by a probe across genes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import finite_matrix
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, ratio, weighted_mean

NATIVE_SOURCE = "10.1038/s41592-024-02201-0"
_LEAST_VARIANCE = 1e-12


@metric(best=0.0, worst=np.inf, source=NATIVE_SOURCE)
def cell_mse(target: ArrayLike, predicted: ArrayLike, *, cell: ArrayLike) -> Statistic:
    """Mean over cells of the mean squared error over the expressed genes of the cell.

    Parameters
    ----------
    target
        True values ``(n_values,)`` of the genes that each cell expresses.
    predicted
        Predicted values ``(n_values,)``.
    cell
        Row of the cell of each value ``(n_values,)``, 0 to n_cells − 1, each with a value at least.

    Returns
    -------
    At least 0, in squared units of the target; every cell counts the same, however many genes it expresses.

    Raises
    ------
    InvalidInputError
        The arrays differ in length, hold NaN or infinity, or a cell has no value.
    """
    true, given, rows = _values(target, predicted, cell)
    return _mean_over_cells(cell_means((true - given) ** 2, cell=rows))


@metric(best=0.0, worst=np.inf, source=NATIVE_SOURCE)
def cell_mae(target: ArrayLike, predicted: ArrayLike, *, cell: ArrayLike) -> Statistic:
    """Mean over cells of the mean absolute error over expressed genes; parameters and errors as :data:`cell_mse`.

    Returns
    -------
    At least 0, in units of the target.
    """
    true, given, rows = _values(target, predicted, cell)
    return _mean_over_cells(cell_means(np.abs(true - given), cell=rows))


@metric(best=1.0, worst=-np.inf, chance=0.0, source=NATIVE_SOURCE)
def cell_r2(target: ArrayLike, predicted: ArrayLike, *, cell: ArrayLike) -> Statistic:
    """Share of the variance of values within cells that is explained; parameters as :data:`cell_mse`.

    Returns
    -------
    ``1 − cell_mse / cell_mse of the mean of the cell``, at most 1; that mean gives 0. It has no units, so that models
    whose heads give different quantities can be laid side by side.

    Raises
    ------
    InvalidInputError
        As :data:`cell_mse`.
    UndefinedMetricError
        The values of no cell vary.
    """
    true, given, rows = _values(target, predicted, cell)
    error = cell_means((true - given) ** 2, cell=rows)
    variance = cell_means((true - cell_means(true, cell=rows)[rows]) ** 2, cell=rows)
    if variance.max() <= _LEAST_VARIANCE:
        raise UndefinedMetricError("in no cell do the true values vary")

    def of_weights(weights: Floats) -> Floats:
        return 1 - ratio(weights @ error, weights @ variance)

    return Statistic(of_weights, n_cells=len(error), how=made_with())


@metric(best=1.0, worst=-1.0, chance=0.0, source=NATIVE_SOURCE)
def cell_pearson(target: ArrayLike, predicted: ArrayLike, *, cell: ArrayLike) -> Statistic:
    """Mean over cells of the Pearson correlation over the expressed genes; parameters as :data:`cell_mse`.

    Returns
    -------
    In [−1, 1]. A cell whose true values do not vary is left out, for every model; one whose predicted values do not
    vary counts 0, since a model would gain if it were left out. ``how`` states how many there are of both.

    Raises
    ------
    InvalidInputError
        As :data:`cell_mse`.
    UndefinedMetricError
        In no cell do the true values vary, or in none of the others the predicted ones.
    """
    true, given, rows = _values(target, predicted, cell)
    true, given = (values - cell_means(values, cell=rows)[rows] for values in (true, given))
    shared, left, right = (cell_means(product, cell=rows) for product in (true * given, true**2, given**2))
    return _mean_correlation(shared, true=left, given=right)


@metric(best=1.0, worst=-np.inf, chance=0.0, source="scikit-learn r2_score, median over genes")
def gene_r2(target: ArrayLike, predicted: ArrayLike) -> Statistic:
    """Median over genes of the coefficient of determination over cells.

    Parameters
    ----------
    target, predicted
        True and predicted expression ``(n_cells, n_genes)``.

    Returns
    -------
    At most 1; a gene's own mean over these cells gives 0. A gene that does not vary over them has none and is left out;
    ``how`` states how many there are.

    Raises
    ------
    InvalidInputError
        The shapes differ, or a value is not finite.
    UndefinedMetricError
        No gene varies.
    """
    true, given = _tables(target, predicted)
    error, true = (true - given) ** 2, true - true.mean(axis=0)
    varies = true.var(axis=0) > _LEAST_VARIANCE
    if not varies.any():
        raise UndefinedMetricError("no gene varies over these cells")
    true, squares, error = true[:, varies], true[:, varies] ** 2, error[:, varies]

    def of_weights(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        around_mean = weights @ squares - ratio((weights @ true) ** 2, total)
        defined = around_mean > _LEAST_VARIANCE * total
        values = 1 - ratio(weights @ error, np.where(defined, around_mean, 0.0))
        return _nan_median(values)

    return Statistic(
        of_weights, n_cells=len(true), how=made_with(n_genes=int(varies.sum()), undefined=int(sum(~varies)))
    )


@metric(best=1.0, worst=-1.0, chance=0.0, source="10.1038/s41587-025-02777-8")
def centred_pearson(target: ArrayLike, predicted: ArrayLike, *, mean: ArrayLike) -> Statistic:
    """Mean over cells of the Pearson correlation over genes after the mean profile of training cells was taken off.

    Without that, the mean profile alone reaches about 0.9.

    Parameters
    ----------
    target, predicted
        True and predicted expression ``(n_cells, n_genes)``.
    mean
        Mean expression of the training cells ``(n_genes,)``.

    Returns
    -------
    As :data:`cell_pearson`.

    Raises
    ------
    InvalidInputError
        The shapes differ, or a value is not finite.
    UndefinedMetricError
        As :data:`cell_pearson`; so it is when the mean profile itself is the prediction.
    """
    true, given = (table - np.asarray(mean, dtype=np.float64) for table in _tables(target, predicted))
    true, given = (table - table.mean(axis=1, keepdims=True) for table in (true, given))
    shared, left, right = (np.einsum("cg,cg->c", *pair) for pair in ((true, given), (true, true), (given, given)))
    n_genes = true.shape[1]
    return _mean_correlation(shared / n_genes, true=left / n_genes, given=right / n_genes)


def cell_means(values: NDArray[Any], *, cell: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the values ``(n_values,)`` of each cell, ``(n_cells,)``; ``cell`` as in :data:`cell_mse`."""
    sums = np.asarray(np.bincount(cell, weights=np.asarray(values, dtype=np.float64)), dtype=np.float64)
    return ratio(sums, np.bincount(cell).astype(np.float64))


def _values(
    target: ArrayLike, predicted: ArrayLike, cell: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    true, given, rows = np.asarray(target, np.float64), np.asarray(predicted, np.float64), np.asarray(cell, np.int64)
    problem = ""
    if not true.shape == given.shape == rows.shape or true.ndim != 1 or not true.size:
        problem = f"shapes {true.shape}, {given.shape} and {rows.shape}"
    elif not (np.isfinite(true).all() and np.isfinite(given).all()):
        problem = "values with NaN or infinity"
    elif (np.bincount(rows) == 0).any():
        problem = f"{(np.bincount(rows) == 0).sum()} cells without a value"
    if problem:
        raise InvalidInputError(
            asked="true and predicted values of the genes that each cell expresses",
            found=problem,
            remedy="pass finite arrays of one length, and number the cells without gaps",
        )
    return true, given, rows


def _tables(target: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    true, given = finite_matrix(target, name="target"), finite_matrix(predicted, name="predicted")
    if true.shape != given.shape:
        raise InvalidInputError(
            asked="true and predicted expression of the same cells and genes",
            found=f"shapes {true.shape} and {given.shape}",
            remedy="pass two arrays (n_cells, n_genes)",
        )
    return true, given


def _mean_over_cells(values: NDArray[np.float64]) -> Statistic:
    return Statistic(lambda weights: weighted_mean(weights, values), n_cells=len(values), how=made_with())


def _mean_correlation(shared: Floats, *, true: Floats, given: Floats) -> Statistic:
    defined = true > _LEAST_VARIANCE
    varies = defined & (given > _LEAST_VARIANCE)
    if not varies.any():
        side = "predicted" if defined.any() else "true"
        raise UndefinedMetricError(f"in no cell that could be scored do the {side} values vary")
    values = np.zeros(len(shared))
    values[varies] = np.clip(shared[varies] / np.sqrt(true[varies] * given[varies]), -1, 1)
    how = made_with(undefined=int((~defined).sum()), flat_predictions=int((defined & ~varies).sum()))

    def of_weights(weights: Floats) -> Floats:
        return ratio(weights @ values, weights @ defined.astype(np.float64))

    return Statistic(of_weights, n_cells=len(values), how=how)


def _nan_median(values: Floats) -> Floats:
    """Return the median over the columns that are not nan, nan for a row without any."""
    ordered = np.sort(values, axis=1)  # nan last
    n = (~np.isnan(values)).sum(axis=1)
    rows = np.arange(len(values))
    lower, upper = np.maximum(n - 1, 0) // 2, n // 2
    middle = (ordered[rows, lower] + ordered[rows, np.minimum(upper, values.shape[1] - 1)]) / 2
    return np.where(n > 0, middle, np.nan)

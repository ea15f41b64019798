"""Means, sums and medians of cells that count more than once, for many weightings at a time.

Weights are ``(n_resamples, n_cells)``, not negative. Integer weights give exactly the value on the repeated array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scfm_eval.metrics.metric import Statistic

Floats = NDArray[np.float64]


def group_sums(
    weights: Floats, codes: NDArray[np.int64], *, n_groups: int, values: NDArray[Any] | None = None
) -> Floats:
    """Sum weights, or weights times values, by group.

    Parameters
    ----------
    weights
        ``(n_resamples, n_cells)``.
    codes
        Group of each cell ``(n_cells,)`` in ``0 … n_groups − 1``; cells with ``−1`` belong to none.
    n_groups
        Number of groups.
    values
        ``(n_cells,)``; ones where not given.

    Returns
    -------
    ``(n_resamples, n_groups)``.
    """
    (cells,) = np.nonzero(codes >= 0)
    data = np.ones(len(cells)) if values is None else np.asarray(values, dtype=np.float64)[cells]
    members = csr_array((data, (codes[cells], cells)), shape=(n_groups, len(codes)))
    return np.asarray((members @ weights.T).T)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide elementwise; nan where the denominator is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator != 0, numerator / denominator, np.nan)


def mean_defined(values: Floats) -> Floats:
    """Average ``(n_resamples, n_groups)`` over the groups that are not nan; nan where none is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


def weighted_mean(weights: Floats, values: NDArray[Any]) -> Floats:
    """Return the mean over cells of ``values`` ``(n_cells,)`` for each resample; nan without any weight."""
    return ratio(weights @ np.asarray(values, dtype=np.float64), weights.sum(axis=1))


def mean_of_group_means(weights: Floats, values: NDArray[Any], *, codes: NDArray[np.int64], n_groups: int) -> Floats:
    """Return the plain mean over groups of the weighted mean within the group.

    A group whose cells are all absent from a resample leaves the mean of that resample; nan when all are.
    """
    sums = group_sums(weights, codes, n_groups=n_groups, values=values)
    return mean_defined(ratio(sums, group_sums(weights, codes, n_groups=n_groups)))


def weighted_median(weights: Floats, values: NDArray[Any]) -> Floats:
    """Return the median of ``values`` ``(n_cells,)`` for each resample; nan without any weight.

    With integer weights this is the median of the repeated values: the mean of the two middle ones for an even total.
    """
    order = np.argsort(values, kind="stable")
    ranked = np.asarray(values, dtype=np.float64)[order]
    reached = np.cumsum(weights[:, order], axis=1)
    half = reached[:, -1:] / 2
    last = len(ranked) - 1
    lower = np.minimum((reached < half).sum(axis=1), last)
    upper = np.minimum((reached <= half).sum(axis=1), last)
    return np.where(half[:, 0] > 0, (ranked[lower] + ranked[upper]) / 2, np.nan)


def group_mean_statistic(
    values: NDArray[Any], *, codes: NDArray[np.int64], n_groups: int, how: dict[str, Any], spread: float = 1.0
) -> Statistic:
    """Return the mean over groups of the mean of per-cell ``values`` as a function of weights.

    ``spread`` is as for :class:`~scfm_eval.metrics.metric.Statistic`.
    """

    def of_weights(weights: Floats) -> Floats:
        return mean_of_group_means(weights, values, codes=codes, n_groups=n_groups)

    return Statistic(of_weights, n_cells=len(codes), how=how, spread=spread)

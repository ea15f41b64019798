"""Principal component regression: how much of the variance is between batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, as_matrix, require_several
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, ratio

SOURCE = "10.1038/s41592-018-0254-1"


@metric(best=0.0, worst=1.0, source=SOURCE)
def pcr_batch(X: ArrayLike, *, batch: ArrayLike) -> Statistic:
    """Share of the variance of ``X`` that batches explain, over all principal components.

    Principal components weighted by their variance, each regressed on batch indicators, give the between-batch share of
    the total variance; it is computed directly.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    batch
        Batch of each cell ``(n_cells,)``; always a category, never a number.

    Returns
    -------
    In [0, 1], lower is better; ``(B − 1) / (n_cells − 1)`` is expected of B batches that explain nothing. Resampling
    adds about as much once more: near that level an interval over cells lies above the value.

    Raises
    ------
    UndefinedMetricError
        There is one batch only, or ``X`` does not vary.
    """
    return _share_statistic(X, batch, name="X")


@metric(best=1.0, worst=0.0, source=SOURCE)
def pcr_comparison(X: ArrayLike, *, before: ArrayLike, batch: ArrayLike) -> Statistic:
    """Relative loss of between-batch variance, 0 where it grew: see :data:`pcr_comparison_unclipped`.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    before
        The same cells before integration ``(n_cells, d')``, e.g. their PCA.
    batch
        Batch of each cell ``(n_cells,)``.

    Returns
    -------
    ``max(0, (pre − post) / pre)`` in [0, 1].

    Raises
    ------
    UndefinedMetricError
        There is one batch only, or batches explain nothing before integration.
    """
    unclipped = pcr_comparison_unclipped.statistic(X, before=before, batch=batch)

    def of_weights(weights: Floats) -> Floats:
        return np.maximum(unclipped.of_weights(weights), 0.0)

    return Statistic(of_weights, n_cells=unclipped.n_cells, how=unclipped.how)


@metric(best=1.0, worst=-np.inf, source=SOURCE)
def pcr_comparison_unclipped(X: ArrayLike, *, before: ArrayLike, batch: ArrayLike) -> Statistic:
    """Relative loss of between-batch variance, negative where it grew.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    before
        The same cells before integration ``(n_cells, d')``, e.g. their PCA.
    batch
        Batch of each cell ``(n_cells,)``.

    Returns
    -------
    ``(pre − post) / pre``, where both are :data:`pcr_batch`; at most 1.

    Raises
    ------
    UndefinedMetricError
        There is one batch only, ``X`` or ``before`` does not vary, or batches explain nothing before integration.
    """
    post = _share_statistic(X, batch, name="X")
    pre = _share_statistic(before, batch, name="before")
    if pre.value() == 0:
        raise UndefinedMetricError("batches explain nothing before integration")

    def of_weights(weights: Floats) -> Floats:
        explained = pre.of_weights(weights)
        return ratio(explained - post.of_weights(weights), explained)

    how = made_with(n_components=post.how["n_components"], n_components_before=pre.how["n_components"])
    return Statistic(of_weights, n_cells=post.n_cells, how=how)


def _share_statistic(X: ArrayLike, batch: ArrayLike, *, name: str) -> Statistic:
    matrix = as_matrix(X, name=name)
    codes, names = as_categories(batch, n_cells=len(matrix), name="batch")
    require_several(names, name="batch")
    if np.abs(matrix).max() == 0:
        raise UndefinedMetricError(f"{name} is the same for all cells")

    def of_weights(weights: Floats) -> Floats:
        return _between_share(weights, matrix, codes=codes, n_batches=len(names))

    return Statistic(of_weights, n_cells=len(codes), how=made_with(n_components=matrix.shape[1]))


def _between_share(weights: Floats, matrix: Floats, *, codes: NDArray[np.int64], n_batches: int) -> Floats:
    total = weights.sum(axis=1)
    grand = weights @ matrix
    # batches are done one at a time: all their sums at once would be n_resamples x n_batches x d
    between = -ratio((grand**2).sum(axis=1), total)
    for code in range(n_batches):
        (cells,) = np.nonzero(codes == code)
        within = weights[:, cells]
        size = within.sum(axis=1)
        between += np.where(size > 0, ((within @ matrix[cells]) ** 2).sum(axis=1) / np.maximum(size, 1e-300), 0.0)
    around_mean = weights @ np.einsum("cd,cd->c", matrix, matrix) - ratio((grand**2).sum(axis=1), total)
    return np.clip(ratio(between, around_mean), 0.0, 1.0)

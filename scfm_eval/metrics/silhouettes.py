"""Silhouettes: how much nearer a cell is to its own group than to others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics.pairwise import euclidean_distances

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, as_matrix, finite_matrix, require_several
from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, group_mean_statistic, weighted_mean

BLOCK_BYTES = 64 * 2**20


def silhouettes(X: ArrayLike, *, labels: ArrayLike, cells: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Return Euclidean silhouettes ``(b − a) / max(a, b)``; 0 for a cell that is alone in its label.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    labels
        Cell type of each cell ``(n_cells,)``.
    cells
        Positions of the cells that are asked for; all where not given.

    Returns
    -------
    One value in [−1, 1] per asked cell. Distances are made in blocks of 64 MB.
    """
    matrix = as_matrix(X)
    codes, names = as_categories(labels, n_cells=len(matrix), name="labels")
    require_several(names, name="label")
    cells = np.arange(len(matrix)) if cells is None else cells
    by_label = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ordered = matrix[by_label]

    out = np.empty(len(cells))
    step = max(1, BLOCK_BYTES // (8 * len(matrix)))
    for begin in range(0, len(cells), step):
        block = cells[begin : begin + step]
        sums = np.add.reduceat(euclidean_distances(matrix[block], ordered), starts, axis=1)
        out[begin : begin + step] = silhouettes_of_sums(sums, own=codes[block], sizes=sizes)
    return out


def silhouettes_of_sums(sums: Floats, *, own: NDArray[np.int64], sizes: NDArray[np.int64]) -> Floats:
    """Return the silhouette of each cell ``(n_cells,)``, in [−1, 1]; 0 for a cell that is alone in its group.

    Parameters
    ----------
    sums
        Sum of the distances of each cell to the cells of each group, ``(n_cells, n_groups)``.
    own
        Group of each cell, ``(n_cells,)``.
    sizes
        Cells of each group, ``(n_groups,)``.
    """
    rows = np.arange(len(sums))
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    others = sums / sizes
    others[rows, own] = np.inf
    silhouette = _relative_difference(nearest=others.min(axis=1), within=within)
    return np.where(sizes[own] > 1, silhouette, 0.0)


def _relative_difference(*, nearest: Floats, within: Floats) -> Floats:
    larger = np.maximum(nearest, within)
    return np.where(larger > 0, (nearest - within) / np.where(larger > 0, larger, 1.0), 0.0)


@metric(best=1.0, worst=0.0, source="10.1038/s41592-021-01336-8")
def silhouette_label(X: ArrayLike, *, labels: ArrayLike) -> Statistic:
    """Average silhouette width of cell types, rescaled.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    labels
        Cell type of each cell ``(n_cells,)``.

    Returns
    -------
    ``(mean silhouette + 1) / 2`` in [0, 1]; 0.5 is no separation.

    Raises
    ------
    UndefinedMetricError
        There is one label only.
    """
    rescaled = (silhouettes(X, labels=labels) + 1) / 2

    def of_weights(weights: Floats) -> Floats:
        return weighted_mean(weights, rescaled)

    how = made_with("scikit-learn", distance="euclidean")
    return Statistic(of_weights, n_cells=len(rescaled), how=how, spread=AMONG_CELLS)


@metric(best=1.0, worst=0.0, source="10.1038/s41592-021-01336-8")
def isolated_labels(X: ArrayLike, *, labels: ArrayLike, batch: ArrayLike) -> Statistic:
    """Silhouette of the labels that occur in the fewest batches, rescaled; the labels named in ``how``.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    labels
        Cell type of each cell ``(n_cells,)``.
    batch
        Batch of each cell ``(n_cells,)``.

    Returns
    -------
    Mean over isolated labels of ``(mean silhouette + 1) / 2``, in [0, 1]. When all labels occur in equally many batches
    all are isolated.

    Raises
    ------
    UndefinedMetricError
        There is one label or one batch only.
    """
    n_cells = len(np.asarray(labels))
    codes, names = as_categories(labels, n_cells=n_cells, name="labels")
    batch_codes, batch_names = as_categories(batch, n_cells=n_cells, name="batch")
    require_several(batch_names, name="batch")
    occurs = np.zeros((len(names), len(batch_names)), dtype=bool)
    occurs[codes, batch_codes] = True
    n_batches = occurs.sum(axis=1)
    isolated = n_batches == n_batches.min()

    (cells,) = np.nonzero(isolated[codes])
    values = np.zeros(n_cells)
    values[cells] = (silhouettes(X, labels=labels, cells=cells) + 1) / 2
    how = made_with("scikit-learn", distance="euclidean", isolated=names[isolated].tolist())
    kept = np.where(isolated[codes], codes, -1)
    return group_mean_statistic(values, codes=kept, n_groups=len(names), how=how, spread=AMONG_CELLS)


@metric(best=1.0, worst=0.0, source="10.1038/s41587-025-02743-4")
def bras(X: ArrayLike, *, labels: ArrayLike, batch: ArrayLike) -> Statistic:
    """Batch removal adapted silhouette: inside a label, cells should be as near to other batches as to their own.

    Per cell ``1 − |s|``, where ``s`` is a silhouette with cosine distances and the mean distance to all cells of other
    batches in place of the nearest batch.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    labels
        Cell type of each cell ``(n_cells,)``.
    batch
        Batch of each cell ``(n_cells,)``.

    Returns
    -------
    Mean over labels of the mean over cells, in [0, 1]. A label of a single batch, or where every cell is a batch of its
    own, says nothing and is named in ``how``. A cell that is alone in its batch has ``s = 0``.

    Raises
    ------
    UndefinedMetricError
        There is one batch only, or no label has two.
    """
    matrix = finite_matrix(X)
    codes, names = as_categories(labels, n_cells=len(matrix), name="labels")
    batch_codes, batch_names = as_categories(batch, n_cells=len(matrix), name="batch")
    require_several(batch_names, name="batch")
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix /= np.where(norms > 0, norms, 1.0)

    values, kept, left_out = np.zeros(len(matrix)), codes.copy(), []
    for label, name in enumerate(names):
        (cells,) = np.nonzero(codes == label)
        present, own = np.unique(batch_codes[cells], return_inverse=True)
        if len(present) in (1, len(cells)):
            left_out.append(str(name))
            kept[cells] = -1
            continue
        values[cells] = 1 - np.abs(_cosine_silhouettes(matrix[cells], own=own))
    if len(left_out) == len(names):
        raise UndefinedMetricError("no label has cells of two batches")
    how = made_with(distance="cosine", labels_left_out=left_out)
    return group_mean_statistic(values, codes=kept, n_groups=len(names), how=how, spread=AMONG_CELLS)


def _cosine_silhouettes(unit: Floats, *, own: NDArray[np.int64]) -> Floats:
    """Silhouettes against all other batches together, from unit vectors ``(n_cells, d)``.

    The sum of cosine distances to a set is its size minus one scalar product with its sum: no pairs are needed.
    """
    sizes = np.bincount(own)
    totals = np.zeros((len(sizes), unit.shape[1]))
    np.add.at(totals, own, unit)
    to_own = sizes[own] - np.einsum("cd,cd->c", unit, totals[own])
    to_others = len(unit) - unit @ totals.sum(axis=0) - to_own
    to_itself = 1 - np.einsum("cd,cd->c", unit, unit)
    within = np.maximum(to_own - to_itself, 0.0) / np.maximum(sizes[own] - 1, 1)
    others = np.maximum(to_others, 0.0) / (len(unit) - sizes[own])
    return np.where(sizes[own] > 1, _relative_difference(nearest=others, within=within), 0.0)

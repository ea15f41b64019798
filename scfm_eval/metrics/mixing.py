"""Neighbourhoods: which labels and batches meet there, and whether a label hangs together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, require_several
from scfm_eval.metrics.kernels import perplexity_kernel
from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.neighbors import Neighbors
from scfm_eval.metrics.weighted import Floats, group_mean_statistic, weighted_median

LISI_NEIGHBORS = 90
CONNECTIVITY_NEIGHBORS = 15
BLOCK_CELLS = 10_000


def lisi(neighbors: Neighbors, *, codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the inverse Simpson index of each cell's neighbourhood.

    Neighbours are weighted by distance at perplexity ``k // 3``; the cell itself counts in ``k`` but has no weight.

    Parameters
    ----------
    neighbors
        The neighbours that count.
    codes
        Category of each cell ``(n_cells,)``.

    Returns
    -------
    Effective number of categories around each cell ``(n_cells,)``, at least 1.
    """
    perplexity, n_categories = neighbors.n_neighbors // 3, int(codes.max()) + 1
    out = np.empty(neighbors.n_cells)
    for start in range(0, neighbors.n_cells, BLOCK_CELLS):
        block = slice(start, start + BLOCK_CELLS)
        weights = perplexity_kernel(neighbors.distances[block, 1:], perplexity=perplexity)
        n_rows = len(weights)
        bins = np.arange(n_rows)[:, None] * n_categories + codes[neighbors.indices[block, 1:]]
        shares = np.bincount(bins.ravel(), weights=weights.ravel(), minlength=n_rows * n_categories)
        out[block] = 1 / np.sum(shares.reshape(n_rows, n_categories) ** 2, axis=1)
    return out


@metric(best=1.0, worst=0.0, source="10.1038/s41592-019-0619-0")
def clisi(neighbors: Neighbors, *, labels: ArrayLike) -> Statistic:
    """Local inverse Simpson index of labels, scaled so that pure neighbourhoods have 1.

    Parameters
    ----------
    neighbors
        At least 90 neighbours of each cell, or all cells where there are fewer; ``how`` says how many were used.
    labels
        Cell type of each cell ``(n_cells,)``.

    Returns
    -------
    ``(C − median LISI) / (C − 1)`` for C labels, in [0, 1].

    Raises
    ------
    UndefinedMetricError
        There is one label only, or fewer than 9 cells.
    """
    nearest, codes, n_labels = _lisi_inputs(neighbors, labels, name="label")
    return _median_statistic((n_labels - lisi(nearest, codes=codes)) / (n_labels - 1), nearest)


@metric(best=1.0, worst=0.0, source="10.1038/s41592-019-0619-0")
def ilisi(neighbors: Neighbors, *, batch: ArrayLike) -> Statistic:
    """Local inverse Simpson index of batches, scaled so that fully mixed neighbourhoods have 1.

    Parameters
    ----------
    neighbors
        At least 90 neighbours of each cell, or all cells where there are fewer; ``how`` says how many were used.
    batch
        Batch of each cell ``(n_cells,)``.

    Returns
    -------
    ``(median LISI − 1) / (B − 1)`` for B batches, in [0, 1]; 1 needs batches of equal size.

    Raises
    ------
    UndefinedMetricError
        There is one batch only, or fewer than 9 cells.
    """
    nearest, codes, n_batches = _lisi_inputs(neighbors, batch, name="batch")
    return _median_statistic((lisi(nearest, codes=codes) - 1) / (n_batches - 1), nearest)


def _lisi_inputs(neighbors: Neighbors, categories: ArrayLike, *, name: str) -> tuple[Neighbors, NDArray[np.int64], int]:
    codes, names = as_categories(categories, n_cells=neighbors.n_cells, name=name)
    require_several(names, name=name)
    nearest = neighbors.first(LISI_NEIGHBORS)
    if nearest.n_neighbors < 9:
        raise UndefinedMetricError(f"{neighbors.n_cells} cells are too few for a neighbourhood")
    return nearest, codes, len(names)


def _median_statistic(values: Floats, neighbors: Neighbors) -> Statistic:
    def of_weights(weights: Floats) -> Floats:
        return weighted_median(weights, values)

    k = neighbors.n_neighbors
    how = made_with("scipy", n_neighbors=k, perplexity=k // 3, neighbors=neighbors.how)
    return Statistic(of_weights, n_cells=neighbors.n_cells, how=how, spread=AMONG_CELLS)


@metric(best=1.0, worst=0.0, source="10.1038/s41592-021-01336-8")
def graph_connectivity(neighbors: Neighbors, *, labels: ArrayLike) -> Statistic:
    """Share of a label's cells in its largest strongly connected piece of the directed neighbour graph.

    Parameters
    ----------
    neighbors
        At least 15 neighbours of each cell, or all cells where there are fewer.
    labels
        Cell type of each cell ``(n_cells,)``.

    Returns
    -------
    Mean over labels, in (0, 1]. Of equally large pieces that of the first cell counts.

    Raises
    ------
    UndefinedMetricError
        There is one label only.
    """
    codes, names = as_categories(labels, n_cells=neighbors.n_cells, name="labels")
    require_several(names, name="label")
    nearest = neighbors.first(CONNECTIVITY_NEIGHBORS)
    n_cells, k = nearest.indices.shape
    edges = (np.ones(n_cells * k), nearest.indices.ravel(), np.arange(0, n_cells * k + 1, k))
    graph = csr_array(edges, shape=(n_cells, n_cells))
    in_largest = np.zeros(n_cells)
    for label in range(len(names)):
        (cells,) = np.nonzero(codes == label)
        _, pieces = connected_components(graph[cells][:, cells], connection="strong")
        sizes = np.bincount(pieces)[pieces]
        in_largest[cells] = pieces == pieces[np.argmax(sizes)]
    how = made_with("scipy", n_neighbors=k, components="strong", neighbors=neighbors.how)
    return group_mean_statistic(in_largest, codes=codes, n_groups=len(names), how=how, spread=AMONG_CELLS)

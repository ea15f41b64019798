"""kBET: whether the neighbours of a cell come from the batches as its whole label does."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import chdtrc

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, require_several
from scfm_eval.metrics.kernels import diffusion_map, fuzzy_connectivities
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.neighbors import Neighbors, nearest_neighbors
from scfm_eval.metrics.weighted import group_mean_statistic

GRAPH_NEIGHBORS = 50
N_COMPONENTS = 100
ALPHA = 0.05
FEWEST_CELLS = 10
_SPREAD = 3.0
"""Diffusion lets each cell count for its whole label, not for its neighbours only."""


@metric(best=1.0, worst=0.0, source="10.1038/s41592-018-0254-1")
def kbet(neighbors: Neighbors, *, labels: ArrayLike, batch: ArrayLike) -> Statistic:
    """Share of cells whose neighbourhood is accepted by a χ² test against the batch shares of their label.

    Each label by itself: the graph of its cells is embedded by diffusion (100 components, float64), and each cell with
    its ``min(70, max(10, mean cells per batch / 4))`` nearest there is tested at 0.05. Of a label in pieces only pieces
    of at least three neighbourhoods are used; when these hold less than 75 % of its cells, all its cells are rejected.

    Parameters
    ----------
    neighbors
        At least 50 neighbours of each cell, or all cells where there are fewer.
    labels
        Cell type of each cell ``(n_cells,)``.
    batch
        Batch of each cell ``(n_cells,)``.

    Returns
    -------
    Mean over labels of the acceptance rate, in [0, 1]. Labels of one batch or of fewer than 10 cells cannot be tested
    and are named in ``how``.

    Raises
    ------
    UndefinedMetricError
        There is one batch only, or no label can be tested.
    """
    codes, names = as_categories(labels, n_cells=neighbors.n_cells, name="labels")
    batch_codes, batch_names = as_categories(batch, n_cells=neighbors.n_cells, name="batch")
    require_several(batch_names, name="batch")
    graph = fuzzy_connectivities(neighbors.first(GRAPH_NEIGHBORS))

    accepted = np.full(neighbors.n_cells, np.nan)
    for label in range(len(names)):
        (cells,) = np.nonzero(codes == label)
        accepted[cells] = _accepted(graph[cells][:, cells], batch_codes[cells])
    tested = ~np.isnan(accepted)
    left_out = np.setdiff1d(np.arange(len(names)), codes[tested])
    if len(left_out) == len(names):
        raise UndefinedMetricError(f"no label has {FEWEST_CELLS} cells of two batches that hang together")
    how = made_with(
        "scipy",
        n_neighbors=min(GRAPH_NEIGHBORS, neighbors.n_cells),
        n_components=N_COMPONENTS,
        alpha=ALPHA,
        labels_left_out=names[left_out].tolist(),
        neighbors=neighbors.how,
    )
    kept = np.where(tested, codes, -1)
    return group_mean_statistic(accepted, codes=kept, n_groups=len(names), how=how, spread=_SPREAD)


def _accepted(graph: csr_array, batch: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 (accepted), 0 (rejected) or nan (not tested) for each cell of one label."""
    outcome = np.full(len(batch), np.nan)
    n_batches = len(np.unique(batch))
    if len(batch) < FEWEST_CELLS or n_batches == 1:
        return outcome
    k = min(70, max(10, len(batch) // (4 * n_batches)))
    n_pieces, pieces = connected_components(graph, directed=False)
    sizes = np.bincount(pieces)
    (cells,) = np.nonzero((sizes[pieces] >= 3 * k) | (n_pieces == 1))
    if len(cells) < 0.75 * len(batch):
        return np.zeros(len(batch))
    present, codes = np.unique(batch[cells], return_inverse=True)
    if len(present) > 1:
        space = diffusion_map(graph[cells][:, cells], n_components=N_COMPONENTS)
        outcome[cells] = _chi_squared_p(codes[nearest_neighbors(space, k=k + 1).indices], codes) >= ALPHA
    return outcome


def _chi_squared_p(neighbor_batch: NDArray[np.int64], batch: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return p-values of the batches of neighbours ``(n_cells, k)`` against the shares of batches of all cells."""
    n_cells, k = neighbor_batch.shape
    n_batches = int(batch.max()) + 1
    expected = np.bincount(batch) / n_cells * k
    bins = np.arange(n_cells)[:, None] * n_batches + neighbor_batch
    observed = np.bincount(bins.ravel(), minlength=n_cells * n_batches).reshape(n_cells, n_batches)
    statistic = np.sum((observed - expected) ** 2 / expected, axis=1)
    return np.asarray(chdtrc(n_batches - 1, statistic))

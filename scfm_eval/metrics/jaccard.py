"""Structure inside a batch and a type: how many neighbours in the batch's own space are still neighbours in X."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, finite_matrix
from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.neighbors import nearest_neighbors
from scfm_eval.metrics.weighted import Floats, group_sums, mean_defined, ratio

SOURCE = "10.1186/s13059-025-03869-z"


@dataclass(frozen=True, eq=False)
class _Degrees:
    """Edges at each cell in its own space, in X and in both, and the number of edges that it could have."""

    own: Floats
    embedded: Floats
    both: Floats
    possible: Floats


@metric(best=1.0, worst=-np.inf, chance=0.0, source=SOURCE)
def intra_type_jaccard(
    X: ArrayLike,
    *,
    own_space: ArrayLike,
    labels: ArrayLike,
    batch: ArrayLike,
    n_neighbors: int = 15,
    min_cells: int = 100,
) -> Statistic:
    """Jaccard index of the neighbour graphs inside each (batch, type) group, above its chance level.

    Neighbours are searched inside the group, edges hold in both directions, J = edges in both / edges in either, and
    chance c follows from the edge densities of the two graphs; the value of a group is ``(J − c) / (1 − c)``.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    own_space
        The same cells, each in the principal components of its own batch ``(n_cells, d')``.
    labels
        Cell type of each cell ``(n_cells,)``.
    batch
        Batch of each cell ``(n_cells,)``.
    n_neighbors
        Neighbours of a cell, itself not counted.
    min_cells
        Smaller groups are left out; ``how`` says how many cells are in groups that count.

    Returns
    -------
    Mean over groups; 1 when all neighbours are kept, 0 at chance; a little below it (above −0.22 with the defaults) at
    worst.

    Raises
    ------
    UndefinedMetricError
        No (batch, type) group is large enough.
    """
    embedding, own = _two_spaces(X, own_space)
    n_cells = len(embedding)
    label_codes, label_names = as_categories(labels, n_cells=n_cells, name="labels")
    batch_codes, _ = as_categories(batch, n_cells=n_cells, name="batch")
    groups = _large_groups(batch_codes * len(label_names) + label_codes, min_cells=max(min_cells, n_neighbors + 2))
    if groups.max() < 0:
        raise UndefinedMetricError(f"no cell type has {min_cells} cells in one batch")
    degrees = _degrees(embedding, own, groups=groups, n_neighbors=n_neighbors)
    n_groups = int(groups.max()) + 1

    def of_weights(weights: Floats) -> Floats:
        return mean_defined(_adjusted(weights, degrees, groups=groups, n_groups=n_groups))

    how = made_with(
        "scikit-learn",
        n_neighbors=n_neighbors,
        min_cells=min_cells,
        n_groups=n_groups,
        n_cells_in_groups=int((groups >= 0).sum()),
    )
    return Statistic(of_weights, n_cells=n_cells, how=how, spread=AMONG_CELLS)


@metric(best=1.0, worst=0.0, source=SOURCE)
def jaccard_published(X: ArrayLike, *, own_space: ArrayLike, batch: ArrayLike, n_neighbors: int = 15) -> Statistic:
    """Jaccard index of the neighbour graphs of each batch, as published: types together, chance not taken off.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    own_space
        The same cells, each in the principal components of its own batch ``(n_cells, d')``.
    batch
        Batch of each cell ``(n_cells,)``.
    n_neighbors
        Neighbours of a cell, itself counted, so that one fewer are used.

    Returns
    -------
    Mean over batches, in [0, 1]; its chance level falls with the size of the batch.

    Raises
    ------
    UndefinedMetricError
        A batch has too few cells.
    """
    embedding, own = _two_spaces(X, own_space)
    n_cells = len(embedding)
    groups, names = as_categories(batch, n_cells=n_cells, name="batch")
    sizes = np.bincount(groups)
    if sizes.min() < n_neighbors:
        raise UndefinedMetricError(f"batch {names[sizes.argmin()]} has {sizes.min()} cells, fewer than {n_neighbors}")
    degrees = _degrees(embedding, own, groups=groups, n_neighbors=n_neighbors - 1)

    def of_weights(weights: Floats) -> Floats:
        return mean_defined(_jaccard(weights, degrees, groups=groups, n_groups=len(names)))

    how = made_with("scikit-learn", n_neighbors=n_neighbors)
    return Statistic(of_weights, n_cells=n_cells, how=how, spread=AMONG_CELLS)


def _large_groups(groups: NDArray[np.int64], *, min_cells: int) -> NDArray[np.int64]:
    """Renumber the groups of at least ``min_cells`` cells from 0; the cells of others get −1."""
    sizes = np.bincount(groups)
    large = sizes >= min_cells
    return np.where(large[groups], (np.cumsum(large) - 1)[groups], -1)


def _two_spaces(X: ArrayLike, own_space: ArrayLike) -> tuple[Floats, Floats]:
    embedding, own = finite_matrix(X), finite_matrix(own_space, name="own_space")
    if len(embedding) != len(own):
        raise InvalidInputError(
            asked=f"own_space of {len(embedding)} cells", found=f"{len(own)} cells", remedy="pass the same cells"
        )
    return embedding, own


def _degrees(embedding: Floats, own: Floats, *, groups: NDArray[np.int64], n_neighbors: int) -> _Degrees:
    counts = np.zeros((4, len(groups)))
    for group in range(int(groups.max()) + 1):
        (cells,) = np.nonzero(groups == group)
        graphs = [_edges(space[cells], n_neighbors=n_neighbors) for space in (own, embedding)]
        kept = graphs[0].multiply(graphs[1])
        counts[:3, cells] = [np.asarray(graph.sum(axis=1)) for graph in (*graphs, kept)]
        counts[3, cells] = len(cells) - 1
    return _Degrees(*counts)


def _edges(space: Floats, *, n_neighbors: int) -> csr_array:
    """Return the symmetric 0/1 graph in which two cells meet when either is near the other."""
    indices = nearest_neighbors(space, k=n_neighbors + 1).indices[:, 1:]
    n_cells, k = indices.shape
    edges = (np.ones(n_cells * k), indices.ravel(), np.arange(0, n_cells * k + 1, k))
    directed = csr_array(edges, shape=(n_cells, n_cells))
    return directed.maximum(directed.T.tocsr())


def _jaccard(weights: Floats, degrees: _Degrees, *, groups: NDArray[np.int64], n_groups: int) -> Floats:
    both = group_sums(weights, groups, n_groups=n_groups, values=degrees.both)
    either = group_sums(weights, groups, n_groups=n_groups, values=degrees.own + degrees.embedded - degrees.both)
    return ratio(both, either)


def _adjusted(weights: Floats, degrees: _Degrees, *, groups: NDArray[np.int64], n_groups: int) -> Floats:
    possible = group_sums(weights, groups, n_groups=n_groups, values=degrees.possible)
    density, density_embedded = (
        ratio(group_sums(weights, groups, n_groups=n_groups, values=degree), possible)
        for degree in (degrees.own, degrees.embedded)
    )
    product = density * density_embedded
    chance = ratio(product, density + density_embedded - product)
    jaccard = _jaccard(weights, degrees, groups=groups, n_groups=n_groups)
    return ratio(jaccard - chance, 1 - chance)

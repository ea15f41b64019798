"""Nearest neighbours of every cell, computed once and shared by the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_matrix

EXACT_UP_TO = 200_000
SPARE = 16
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest cells of each cell, the cell itself first.

    Parameters
    ----------
    indices
        Positions of the neighbours ``(n_cells, k)``, nearest first; column 0 is the cell itself.
    distances
        Euclidean distances ``(n_cells, k)``, ascending in each row.
    how
        How they were found.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.indices)

    @property
    def n_neighbors(self) -> int:
        """Number of neighbours of each cell, the cell itself counted."""
        return int(self.indices.shape[1])

    def first(self, k: int) -> Neighbors:
        """Return the ``k`` nearest, the cell itself counted, or all cells where there are fewer than ``k``.

        Raises
        ------
        InvalidInputError
            Fewer than ``k`` neighbours were computed although there are more cells.
        """
        wanted = min(k, self.n_cells)
        if wanted > self.n_neighbors:
            raise InvalidInputError(
                asked=f"the {wanted} nearest cells", found=f"{self.n_neighbors}", remedy=f"compute them with k={wanted}"
            )
        return Neighbors(self.indices[:, :wanted], self.distances[:, :wanted], self.how)

    def for_scib_metrics(self) -> Any:
        """Return them as ``scib_metrics.nearest_neighbors.NeighborsResults``."""
        from scib_metrics.nearest_neighbors import NeighborsResults

        return NeighborsResults(indices=self.indices.copy(), distances=self.distances.copy())


def nearest_neighbors(X: ArrayLike, *, k: int) -> Neighbors:
    """Find the ``k`` nearest cells of each cell by Euclidean distance.

    Up to 200,000 cells the search is exact; above, candidates come from pynndescent (NN-descent, seed 0) and ``how``
    says so. Distances are differences of float64 coordinates, so that near duplicates keep their order. Cells at the
    same distance are ordered by position, except that the cell itself is always first; among more than 16 ties at the
    ``k``-th place the choice is the search's own.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    k
        Number of neighbours, the cell itself counted; all cells when there are fewer.
    """
    matrix = as_matrix(X)
    n_cells = len(matrix)
    k = min(k, n_cells)
    exact = n_cells <= EXACT_UP_TO
    search = _exact_candidates if exact else _approximate_candidates
    candidates = search(matrix, k=min(k + SPARE, n_cells))
    indices, distances = _rank(matrix, candidates, k=k)
    package = "scikit-learn" if exact else "pynndescent"
    return Neighbors(indices, distances, made_with(package, n_neighbors=k, exact=exact))


def _exact_candidates(matrix: NDArray[np.float64], *, k: int) -> NDArray[np.int64]:
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(matrix)
    return np.asarray(search.kneighbors(matrix, return_distance=False), dtype=np.int64)


def _approximate_candidates(matrix: NDArray[np.float64], *, k: int) -> NDArray[np.int64]:
    from scib_metrics.nearest_neighbors import pynndescent

    return np.asarray(pynndescent(matrix.astype(np.float32), n_neighbors=k).indices, dtype=np.int64)


def _rank(
    matrix: NDArray[np.float64], candidates: NDArray[np.int64], *, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order candidates by distance, then position, and keep ``k``; the cell itself goes first."""
    n_cells, n_candidates = candidates.shape
    indices = np.empty((n_cells, k), dtype=np.int64)
    distances = np.empty((n_cells, k))
    step = max(1, BLOCK_BYTES // (8 * n_candidates * matrix.shape[1]))
    for start in range(0, n_cells, step):
        rows = np.arange(start, min(start + step, n_cells))
        found = candidates[rows]
        without_self = ~(found == rows[:, None]).any(axis=1)
        found[without_self, -1] = rows[without_self]
        difference = matrix[found] - matrix[rows, None, :]
        length = np.sqrt(np.einsum("cnd,cnd->cn", difference, difference))
        is_self = found == rows[:, None]
        order = np.lexsort((found, length, ~is_self), axis=1)[:, :k]
        indices[rows] = np.take_along_axis(found, order, axis=1)
        distances[rows] = np.take_along_axis(length, order, axis=1)
    return indices, distances

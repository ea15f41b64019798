"""Roughness of the landscape: how soon cell types mix when cells are merged from near to far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import cophenet, leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics.pairwise import euclidean_distances

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, as_matrix, require_several
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, mean_defined

SMALLEST_STEP = 0.01
"""A merge less than this share of the largest distance above the last one that was looked at is passed over."""
ROUNDING = 1e-6
"""Distances come from scalar products: as shares of the largest, those that differ by less are equal."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Complete-linkage tree of some points, as the order of its leaves.

    Cut at any height, the clusters are runs of this order.

    Parameters
    ----------
    order
        Positions of the points ``(n,)``.
    joined
        Height at which each point of the order is joined with the next ``(n − 1,)``, as a share of the largest
        distance that the ranges of the coordinates allow.
    """

    order: NDArray[np.int64]
    joined: NDArray[np.float64]


def complete_tree(distances: Floats) -> Tree:
    """Return the complete-linkage tree of condensed ``distances`` ``(n (n − 1) / 2,)``, each in [0, 1]."""
    merges = linkage(distances, method="complete")
    order = leaves_list(merges).astype(np.int64)
    n = len(order)
    first, second = np.minimum(order[:-1], order[1:]), np.maximum(order[:-1], order[1:])
    joined = cophenet(merges)[n * first - first * (first + 1) // 2 + second - first - 1]
    return Tree(order, np.asarray(joined))


def roughness(tree: Tree, values: ArrayLike, *, counts: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Return ROGI and ROGI-XD of each property of the points of a tree.

    With clusters cut at height t, ``σ(t) = 2 √(Σ n_c / n · (mean_c − mean)²)``. ROGI is what σ loses on average between
    t = 0 and 1; ROGI-XD has ``1 − log(clusters) / log(points)`` in the place of t. Sources: 10.1021/acs.jcim.2c00903,
    10.1039/D3DD00088E.

    Parameters
    ----------
    tree
        Tree of n points.
    values
        Properties ``(n, n_properties)``, each between 0 and 1.
    counts
        How many points stand at each place ``(n,)``; one where not given.

    Returns
    -------
    ROGI and ROGI-XD, ``(n_properties,)`` each; at least 0 up to rounding, and 0 for a property that is constant.
    """
    there = np.ones(len(tree.order)) if counts is None else np.asarray(counts, dtype=np.float64)
    sizes = there[tree.order]
    sums = np.asarray(values, dtype=np.float64)[tree.order] * sizes[:, None]
    total = sizes.sum()
    mean = sums.sum(axis=0) / total
    heights = _thresholds(tree.joined, several=bool((sizes > 1).any()))
    spread, n_clusters = [_spread(sums, sizes, mean=mean)], [total]
    for height in heights:
        starts = np.concatenate([[0], np.flatnonzero(tree.joined > height + ROUNDING) + 1])
        in_cluster = np.add.reduceat(sizes, starts)
        spread.append(_spread(np.add.reduceat(sums, starts, axis=0), in_cluster, mean=mean))
        n_clusters.append(float(len(starts)))
    sigma = np.array(spread)
    coarseness = 1 - np.log(n_clusters) / np.log(max(total, 2.0))
    at = np.concatenate([[0.0], heights])
    return sigma[0] - np.trapezoid(sigma, at, axis=0), sigma[0] - np.trapezoid(sigma, coarseness, axis=0)


def _spread(sums: Floats, sizes: Floats, *, mean: Floats) -> Floats:
    share = (sizes / sizes.sum())[:, None]
    return np.asarray(2 * np.sqrt(np.sum(share * (sums / sizes[:, None] - mean) ** 2, axis=0)))


def _thresholds(joined: Floats, *, several: bool) -> Floats:
    """Return the heights to cut at: those of merges, thinned out, and 1; points at one place merge at 0."""
    heights = np.sort(joined)
    kept = [0.0] if several else [float(height) for height in heights[:1]]
    while (after := int(np.searchsorted(heights, kept[-1] + SMALLEST_STEP))) < len(heights):
        kept.append(float(heights[after]))
    return np.array([*kept, 1.0])


class Trees:
    """The complete-linkage trees of sets of cells in one embedding, each grown once.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``; the distances of all pairs are kept in memory.
    """

    def __init__(self, X: ArrayLike) -> None:
        self._matrix = as_matrix(X)
        self._distances = euclidean_distances(self._matrix)
        self._grown: dict[bytes, Tree] = {}

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self._matrix)

    def of(self, cells: NDArray[np.bool_]) -> Tree:
        """Return the tree of ``cells`` ``(n_cells,)``, its distances as shares of the diagonal of their ranges."""
        key = np.packbits(cells).tobytes()
        if key not in self._grown:
            rows = np.flatnonzero(cells)
            diagonal = float(np.linalg.norm(np.ptp(self._matrix[rows], axis=0)))
            distances = squareform(self._distances[np.ix_(rows, rows)], checks=False) / (diagonal or 1.0)
            distances[distances < ROUNDING] = 0.0
            self._grown[key] = complete_tree(np.minimum(distances, 1.0))
        return self._grown[key]


@metric(best=0.0, worst=1.0, source="10.1021/acs.jcim.2c00903")
def rogi(trees: Trees, *, labels: ArrayLike) -> Statistic:
    """Roughness index of cell types: ROGI of "is of this type", averaged over the types.

    Parameters
    ----------
    trees
        Trees of the embedding of the cells.
    labels
        Cell type of each cell ``(n_cells,)``.

    Returns
    -------
    In [0, 1], lower is smoother. It changes when the embedding is rotated, and with the number of its dimensions;
    :data:`rogi_xd` hardly does. A type that has none or all of the cells of a resample leaves its mean.

    Raises
    ------
    UndefinedMetricError
        There is one label only, or all cells lie at one place.
    """
    return _over_types(trees, labels, of_roughness=lambda found: found[0])


@metric(best=0.0, worst=1.0, source="10.1039/D3DD00088E")
def rogi_xd(trees: Trees, *, labels: ArrayLike) -> Statistic:
    """Roughness index that compares embeddings of different width: ROGI-XD of "is of this type", averaged over types.

    Parameters, errors and resamples as :data:`rogi`.

    Returns
    -------
    In [0, 1], lower is smoother. Types that are perfectly apart are above 0 too: they merge with each other in the end.
    """
    return _over_types(trees, labels, of_roughness=lambda found: found[1])


def _over_types(
    trees: Trees, labels: ArrayLike, *, of_roughness: Callable[[tuple[Floats, Floats]], Floats]
) -> Statistic:
    n_cells = trees.n_cells
    codes, names = as_categories(labels, n_cells=n_cells, name="labels")
    require_several(names, name="label")
    if not trees.of(np.ones(n_cells, dtype=bool)).joined.any():
        raise UndefinedMetricError("all cells lie at one place, so that there is no landscape")
    is_of = codes[:, None] == np.arange(len(names))

    def of_resample(weights: Floats) -> Floats:
        cells = weights > 0
        present = weights @ is_of
        if cells.sum() < 2:
            return np.full(len(names), np.nan)
        found = of_roughness(roughness(trees.of(cells), is_of[cells], counts=weights[cells]))
        return np.where((present > 0) & (present < weights.sum()), found, np.nan)

    def of_weights(weights: Floats) -> Floats:
        return mean_defined(np.array([of_resample(row) for row in weights]))

    how = made_with("scipy", "scikit-learn", linkage="complete", distance="euclidean", smallest_step=SMALLEST_STEP)
    return Statistic(of_weights, n_cells=n_cells, how=how | {"n_types": len(names)})

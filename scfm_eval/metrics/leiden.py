"""Leiden clusterings of a neighbour graph over many resolutions, and how well the chosen one agrees with labels."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import igraph
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import triu

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.clustering import ari, nmi
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, require_several
from scfm_eval.metrics.kernels import fuzzy_connectivities
from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, metric
from scfm_eval.metrics.neighbors import Neighbors
from scfm_eval.metrics.silhouettes import silhouette_label
from scfm_eval.metrics.weighted import Floats

RESOLUTIONS = tuple(step / 10 for step in range(1, 21))
N_NEIGHBORS = 15
_SOURCE = "10.1038/s41592-021-01336-8"


@dataclass(frozen=True, eq=False)
class Clusterings:
    """Clusterings of the same cells at several resolutions.

    Parameters
    ----------
    resolutions
        ``(n_resolutions,)``; a higher one gives more clusters.
    clusters
        Cluster of each cell at each resolution ``(n_resolutions, n_cells)``.
    how
        How they were found.
    """

    resolutions: NDArray[np.float64]
    clusters: NDArray[np.int64]
    how: dict[str, Any] = field(default_factory=dict)


def leiden_clusterings(neighbors: Neighbors, *, seed: int, resolutions: Iterable[float] = RESOLUTIONS) -> Clusterings:
    """Cluster the graph of fuzzy memberships of the 15 nearest cells by weighted modularity, at each resolution.

    Leiden is repeated until nothing changes. Source: 10.1038/s41598-019-41695-z.

    Parameters
    ----------
    neighbors
        At least 15 neighbours of each cell, the cell itself counted, or all cells where there are fewer.
    seed
        Seed of Leiden; the same clusters come back for the same seed.
    resolutions
        Resolutions of modularity.
    """
    graph = triu(fuzzy_connectivities(neighbors.first(N_NEIGHBORS)), k=1).tocoo()
    edges = igraph.Graph(n=neighbors.n_cells, edges=np.column_stack([graph.row, graph.col]))
    weights = graph.data.tolist()
    tried = np.array(list(resolutions), dtype=np.float64)
    try:
        clusters = [_leiden(edges, weights, resolution=resolution, seed=seed) for resolution in tried]
    finally:
        igraph.set_random_number_generator(random)
    how = neighbors.how | made_with("igraph", "scipy", n_neighbors=N_NEIGHBORS, resolutions=tried.tolist())
    return Clusterings(tried, np.array(clusters, dtype=np.int64), how)


def _leiden(edges: Any, weights: list[float], *, resolution: float, seed: int) -> list[int]:
    igraph.set_random_number_generator(random.Random(seed))
    found = edges.community_leiden(
        objective_function="modularity", weights=weights, resolution=resolution, n_iterations=-1
    )
    return list(found.membership)


@metric(best=1.0, worst=0.0, source=_SOURCE)
def nmi_leiden(clusterings: Clusterings, *, labels: ArrayLike, half: ArrayLike) -> Statistic:
    """NMI of Leiden clusters and labels, each half of the cells scored at the resolution that the other half chose.

    Parameters
    ----------
    clusterings
        Clusterings of all cells.
    labels
        Cell type of each cell ``(n_cells,)``.
    half
        Which of two halves each cell is in ``(n_cells,)``, true or false.

    Returns
    -------
    Mean over the halves, in [0, 1]; the resolutions are in ``how``. Half as many cells have a higher chance level than
    all cells in :data:`nmi_leiden_oracle`, so that this can be the higher one: read each against its own.

    Raises
    ------
    InvalidInputError
        Not one of two halves for each cell.
    UndefinedMetricError
        A half has one label only.
    """
    names, first = np.asarray(labels).astype(str), np.asarray(half)
    if first.shape != names.shape or first.dtype != np.bool_:
        raise InvalidInputError(
            asked=f"half: true or false for each of {len(names)} cells",
            found=f"{first.dtype} of shape {first.shape}",
            remedy="pass a boolean array that divides the cells",
        )
    parts = [np.flatnonzero(first), np.flatnonzero(~first)]
    chosen = [_best(clusterings, names, cells=cells) for cells in parts]
    scored = [
        nmi.statistic(clusterings.clusters[choice, cells], labels=names[cells])
        for choice, cells in zip(chosen[::-1], parts, strict=True)
    ]

    def of_weights(weights: Floats) -> Floats:
        return _mean([part.of_weights(weights[:, cells]) for part, cells in zip(scored, parts, strict=True)])

    used = clusterings.resolutions[chosen[::-1]].tolist()
    how = clusterings.how | {"resolution_of_each_half": used}
    return Statistic(of_weights, n_cells=len(names), how=how, spread=AMONG_CELLS)


@metric(best=1.0, worst=0.0, source=_SOURCE)
def nmi_leiden_oracle(clusterings: Clusterings, *, labels: ArrayLike) -> Statistic:
    """NMI of Leiden clusters and labels at the resolution that these labels like best: an optimistic value.

    Parameters
    ----------
    clusterings
        Clusterings of all cells.
    labels
        Cell type of each cell ``(n_cells,)``, which also choose the resolution.

    Returns
    -------
    In [0, 1]; the resolution is in ``how``.

    Raises
    ------
    UndefinedMetricError
        There is one label only.
    """
    names = np.asarray(labels).astype(str)
    chosen = _best(clusterings, names, cells=np.arange(len(names)))
    of_weights = nmi.statistic(clusterings.clusters[chosen], labels=names).of_weights
    return Statistic(of_weights, n_cells=len(names), how=_how_chosen(clusterings, chosen), spread=AMONG_CELLS)


@metric(best=1.0, worst=0.0, source=_SOURCE)
def avg_bio(clusterings: Clusterings, *, X: ArrayLike, labels: ArrayLike) -> Statistic:
    """AvgBIO as published: mean of NMI, ARI and rescaled silhouette, at the resolution that the labels like best.

    The labels that it is scored by also choose the clustering, so it is optimistic as :data:`nmi_leiden_oracle` is.
    Other parameters, and errors, as there.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``, for the Euclidean silhouette.

    Returns
    -------
    At most 1; the resolution is in ``how``.
    """
    names = np.asarray(labels).astype(str)
    chosen = _best(clusterings, names, cells=np.arange(len(names)))
    clusters = clusterings.clusters[chosen]
    members = [metric.statistic(clusters, labels=names) for metric in (nmi, ari)]
    members.append(silhouette_label.statistic(X, labels=names))

    def of_weights(weights: Floats) -> Floats:
        return _mean([member.of_weights(weights) for member in members])

    return Statistic(of_weights, n_cells=len(names), how=_how_chosen(clusterings, chosen), spread=AMONG_CELLS)


def _best(clusterings: Clusterings, labels: NDArray[np.str_], *, cells: NDArray[np.int64]) -> int:
    """Return the position of the resolution of highest NMI on ``cells``; the lowest of those that are equally good."""
    codes, names = as_categories(labels[cells], n_cells=len(cells), name="labels")
    require_several(names, name="label")
    found = [nmi(clusters[cells], labels=codes) for clusters in clusterings.clusters]
    return int(np.argmax(found))


def _how_chosen(clusterings: Clusterings, chosen: int) -> dict[str, Any]:
    return clusterings.how | {"resolution": float(clusterings.resolutions[chosen]), "chosen_by": "the labels"}


def _mean(values: list[Floats]) -> Floats:
    return np.asarray(np.mean(values, axis=0))

"""How well clusters of cells agree with their labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, finite_matrix, require_several
from scfm_eval.metrics.metric import Statistic, metric
from scfm_eval.metrics.weighted import Floats, group_sums, ratio

Counts = tuple[Floats, Floats, Floats]


def kmeans_clusters(X: ArrayLike, *, n_clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the k-means cluster of each cell ``(n_cells,)``: best inertia of 10 starts, on a float64 copy of ``X``."""
    fitted = KMeans(n_clusters=n_clusters, n_init=10, random_state=seed).fit(finite_matrix(X))
    return np.asarray(fitted.labels_, dtype=np.int64)


@metric(best=1.0, worst=0.0, source="10.5555/1756006.1953024")
def nmi(clusters: ArrayLike, *, labels: ArrayLike) -> Statistic:
    """Mutual information of clusters and labels over the arithmetic mean of their entropies.

    Parameters
    ----------
    clusters
        Cluster of each cell ``(n_cells,)``.
    labels
        Cell type of each cell ``(n_cells,)``.

    Returns
    -------
    In [0, 1]; a single cluster has 0. Its chance level rises with the number of clusters.

    Raises
    ------
    UndefinedMetricError
        There is one label only.
    """
    return _agreement(clusters, labels, of_counts=_nmi_of_counts, average="arithmetic")


@metric(best=1.0, worst=-0.5, chance=0.0, source="10.1007/BF01908075")
def ari(clusters: ArrayLike, *, labels: ArrayLike) -> Statistic:
    """Rand index of clusters and labels, adjusted for chance: do they put the same pairs of cells together.

    Parameters
    ----------
    clusters
        Cluster of each cell ``(n_cells,)``.
    labels
        Cell type of each cell ``(n_cells,)``.

    Returns
    -------
    In [−0.5, 1]; 0 is chance. In a resample the copies of one cell form pairs too.

    Raises
    ------
    UndefinedMetricError
        There is one label only.
    """
    return _agreement(clusters, labels, of_counts=_ari_of_counts)


def _agreement(
    clusters: ArrayLike, labels: ArrayLike, *, of_counts: Callable[[Counts], Floats], **parameters: str
) -> Statistic:
    n_cells = len(np.asarray(labels))
    label_codes, label_names = as_categories(labels, n_cells=n_cells, name="labels")
    cluster_codes, cluster_names = as_categories(clusters, n_cells=n_cells, name="clusters")
    require_several(label_names, name="label")
    n_labels, n_clusters = len(label_names), len(cluster_names)
    pairs, pair_codes = np.unique(cluster_codes * n_labels + label_codes, return_inverse=True)

    def of_weights(weights: Floats) -> Floats:
        joint = group_sums(weights, pair_codes, n_groups=len(pairs))
        by_cluster = group_sums(weights, cluster_codes, n_groups=n_clusters)
        by_label = group_sums(weights, label_codes, n_groups=n_labels)
        return of_counts((joint, by_cluster, by_label))

    how = made_with("scipy", n_clusters=n_clusters, n_labels=n_labels, **parameters)
    return Statistic(of_weights, n_cells=n_cells, how=how)


def _nmi_of_counts(counts: Counts) -> Floats:
    joint, of_clusters, of_labels = (_entropy(count) for count in counts)
    return np.clip(2 * ratio(of_clusters + of_labels - joint, of_clusters + of_labels), 0.0, 1.0)


def _entropy(counts: Floats) -> Floats:
    share = ratio(counts, counts.sum(axis=1, keepdims=True))
    return np.asarray(-np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=1))


def _ari_of_counts(counts: Counts) -> Floats:
    together, within_clusters, within_labels = ((count * (count - 1)).sum(axis=1) / 2 for count in counts)
    n_cells = counts[2].sum(axis=1)
    expected = ratio(within_clusters * within_labels, n_cells * (n_cells - 1) / 2)
    return ratio(together - expected, (within_clusters + within_labels) / 2 - expected)

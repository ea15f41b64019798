"""How well clusters of cells agree with their labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from sklearn.cluster import KMeans

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, finite_matrix, require_several
from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, metric
from scfm_eval.metrics.silhouettes import silhouettes_of_sums
from scfm_eval.metrics.weighted import Floats, group_sums, ratio, weighted_mean

Counts = tuple[Floats, Floats, Floats]
Codes = NDArray[np.int64]
ROUNDING = 1e-12
"""A mean distance or an entropy below this is zero."""


def unit_length(X: ArrayLike) -> Floats:
    """Return ``X`` ``(n_cells, d)`` with rows of Euclidean length 1, as a float64 copy; a row of zeros stays zero."""
    matrix = finite_matrix(X)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(lengths > 0, lengths, 1.0))


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

    Parameters and errors as :data:`nmi`.

    Returns
    -------
    In [−0.5, 1]; 0 is chance. In a resample the copies of one cell form pairs too.
    """
    return _agreement(clusters, labels, of_counts=_ari_of_counts)


@metric(best=1.0, worst=-np.inf, chance=0.0, source="10.5555/1756006.1953024")
def ami(clusters: ArrayLike, *, labels: ArrayLike) -> Statistic:
    """Mutual information of clusters and labels, adjusted for chance, over the arithmetic mean of their entropies.

    Parameters and errors as :data:`nmi`.

    Returns
    -------
    At most 1; 0 is chance, of partitions with the same sizes. Weights have to be whole numbers.
    """
    return _agreement(clusters, labels, of_counts=_ami_of_counts, average="arithmetic")


@metric(best=-0.5, worst=1.0, chance=0.0, source="10.1038/s41551-024-01284-6")
def patient_ari(clusters: ArrayLike, *, patients: ArrayLike) -> Statistic:
    """Rand index of clusters and patients, adjusted for chance: are the cells of one patient put together.

    Lower is better as far as the patients have the same kinds of cells; where they differ in these, a good embedding
    is above 0 too.

    Parameters
    ----------
    clusters
        Cluster of each cell ``(n_cells,)``.
    patients
        Patient of each cell ``(n_cells,)``.

    Returns
    -------
    In [−0.5, 1]; 0 is no trace of the patients.

    Raises
    ------
    UndefinedMetricError
        There is one patient only.
    """
    require_several(np.unique(np.asarray(patients).astype(str)), name="patient")
    return _agreement(clusters, patients, of_counts=_ari_of_counts)


@metric(best=1.0, worst=-1.0, source="10.1016/0377-0427(87)90125-7")
def asw(X: ArrayLike, *, labels: ArrayLike) -> Statistic:
    """Average silhouette width of labels with cosine distances, as it is (not rescaled).

    The sum of cosine distances to a set is its size minus one scalar product with its sum: no pairs are needed.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    labels
        Label of each cell ``(n_cells,)``.

    Returns
    -------
    In [−1, 1]; 0 is no separation. A cell that is alone in its label has 0.

    Raises
    ------
    UndefinedMetricError
        There is one label only.
    """
    unit = unit_length(X)
    codes, names = as_categories(labels, n_cells=len(unit), name="labels")
    require_several(names, name="label")
    sizes = np.bincount(codes)
    totals = group_sums(unit.T, codes, n_groups=len(names))
    sums = sizes - unit @ totals
    sums[np.arange(len(unit)), codes] -= 1 - np.einsum("cd,cd->c", unit, unit)
    sums[sums < ROUNDING * sizes] = 0.0
    widths = silhouettes_of_sums(sums, own=codes, sizes=sizes)

    def of_weights(weights: Floats) -> Floats:
        return weighted_mean(weights, widths)

    how = made_with("scipy", distance="cosine")
    return Statistic(of_weights, n_cells=len(widths), how=how, spread=AMONG_CELLS)


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
    return Statistic(of_weights, n_cells=n_cells, how=how, spread=AMONG_CELLS)


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


def _ami_of_counts(counts: Counts) -> Floats:
    joint, of_clusters, of_labels = (_entropy(count) for count in counts)
    n_cells = np.maximum(counts[2].sum(axis=1), 1)
    expected = of_clusters + of_labels - np.log(n_cells) + _expected_sum(counts[1], counts[2]) / n_cells
    room = (of_clusters + of_labels) / 2 - expected
    return ratio(of_clusters + of_labels - joint - expected, np.where(room > ROUNDING, room, 0.0))


def _expected_sum(by_cluster: Floats, by_label: Floats) -> Floats:
    """Return the expectation of Σ n log n over cluster × label when cells are dealt at random, ``(n_resamples,)``."""
    n_cells = np.rint(by_label.sum(axis=1)).astype(np.int64)[:, None]
    log_factorial = gammaln(np.arange(n_cells.max() + 1) + 1.0)
    total = np.zeros(len(n_cells))
    for in_cluster in np.rint(by_cluster).astype(np.int64).T[:, :, None]:
        for in_label in np.rint(by_label).astype(np.int64).T[:, :, None]:
            total += _expected_n_log_n(in_cluster, in_label, n_cells=n_cells, log_factorial=log_factorial)
    return total


def _expected_n_log_n(in_cluster: Codes, in_label: Codes, *, n_cells: Codes, log_factorial: Floats) -> Floats:
    """Return E[n log n] of the cells n in both, which are hypergeometric; sizes are ``(n_resamples, 1)``.

    Further than 8 standard deviations and 10 cells from the mean of n nothing is left to add.
    """
    mean = in_cluster * in_label / np.maximum(n_cells, 1)
    reach = int(np.ceil(8 * np.sqrt(mean.max()) + 10))
    n = np.floor(mean).astype(np.int64) + np.arange(-reach, reach + 1)
    parts = (n, in_cluster - n, in_label - n, n_cells - in_cluster - in_label + n)
    possible = np.logical_and.reduce([part >= 0 for part in parts])
    ways = log_factorial[in_cluster] + log_factorial[n_cells - in_cluster]
    ways = ways + log_factorial[in_label] + log_factorial[n_cells - in_label] - log_factorial[n_cells]
    log_share = ways - np.sum([log_factorial[np.where(possible, part, 0)] for part in parts], axis=0)
    share = np.exp(np.where(possible, log_share, -np.inf))
    return np.asarray(np.sum(share * n * np.log(np.maximum(n, 1)), axis=1))

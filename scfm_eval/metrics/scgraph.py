"""scGraph: whether cell types lie to each other as in a reference, the batches' own expression or the Cell Ontology."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.stats import rankdata, trim_mean

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories, as_matrix
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.walk import walk_distances
from scfm_eval.metrics.weighted import Floats, ratio
from scfm_eval.ontology import Ontology

MIN_BATCH, MIN_CELLS = 100, 10
_FEWEST_TYPES = 4
_DECIMALS = 9
_ROUNDING = 1e-9
_ISLANDER, _BENCH = "10.1101/2024.04.02.587824", "10.1186/s13059-025-03781-6"


@dataclass(frozen=True, eq=False)
class TypeDistances:
    """Distances between cell types in an embedding and in a reference.

    Parameters
    ----------
    types
        Names, ``n_types``.
    embedding
        Distances in the embedding ``(n_types, n_types)``.
    reference
        Distances of the reference, each column relative to one type; NaN where the reference does not know a pair.
    how
        Parameters, and what was left out.
    """

    types: tuple[str, ...]
    embedding: Floats
    reference: Floats
    how: dict[str, Any] = field(default_factory=dict)

    def permuted(self, order: NDArray[np.intp]) -> TypeDistances:
        """Return the same distances with the types of the embedding taken for each other."""
        return replace(self, embedding=self.embedding[np.ix_(order, order)])


@metric(best=1.0, worst=-1.0, source=_ISLANDER)
def scgraph(distances: TypeDistances) -> Statistic:
    """Mean over types of the correlation between its distances to the other types and those in the reference.

    Pearson, weighted by one over the distance in the reference, so that near types count most. The type itself, at
    distance 0 on both sides, does not count.

    Parameters
    ----------
    distances
        From :func:`batch_distances`.

    Returns
    -------
    In [−1, 1]. What is drawn again for an interval are types, each with its distances to all others.

    Raises
    ------
    UndefinedMetricError
        Fewer than 4 types, or no type whose distances vary.
    """
    with np.errstate(divide="ignore"):
        nearness = np.where(distances.reference > 0, 1 / distances.reference, 0.0)
    found = _columns(distances.embedding, distances.reference, weights=_others(nearness))
    return _mean_over_types(found, distances, correlation="Pearson, weighted by 1 / distance", diagonal=False)


@metric(best=1.0, worst=-1.0, source="scgraph-eval 0.1.2, Corr-PCA")
def scgraph_published(distances: TypeDistances) -> Statistic:
    """Mean over types of the plain Pearson correlation of distances, the type's distance 0 to itself among them.

    The pair of zeros alone correlates: unrelated distances score 0.9 with 6 types and 0.6 with 40. Parameters and
    errors as :func:`scgraph`.
    """
    found = _columns(distances.embedding, distances.reference, weights=np.ones_like(distances.reference))
    return _mean_over_types(found, distances, correlation="Pearson", diagonal=True)


@metric(best=1.0, worst=-1.0, source=f"{_BENCH}, without the diagonal")
def scgraph_ontorwr(distances: TypeDistances) -> Statistic:
    """Mean over types of the Pearson correlation between its distances to the other types and those in the ontology.

    Parameters and errors as :func:`scgraph`; distances are from :func:`ontology_distances`.
    """
    weights = _others(np.ones_like(distances.reference))
    found = _columns(distances.embedding, distances.reference, weights=weights)
    return _mean_over_types(found, distances, correlation="Pearson", diagonal=False)


@metric(best=1.0, worst=-1.0, source=f"{_BENCH}, without the diagonal")
def scgraph_ontorwr_spearman(distances: TypeDistances) -> Statistic:
    """Mean over types of the Spearman correlation between its distances to the other types and those in the ontology.

    Siblings are equally far in the ontology up to rounding: distances are rounded to 9 decimals before ranking.
    Parameters and errors as :func:`scgraph_ontorwr`.
    """
    found = _columns(
        _ranks(distances.embedding),
        _ranks(distances.reference.round(_DECIMALS)),
        weights=_others(np.ones_like(distances.reference)),
    )
    return _mean_over_types(found, distances, correlation="Spearman", diagonal=False)


def batch_distances(
    X: ArrayLike,
    *,
    own_space: ArrayLike,
    labels: ArrayLike,
    batch: ArrayLike,
    min_cells_in_batch: int = MIN_CELLS,
    trim: float = 0.05,
) -> TypeDistances:
    """Compare distances between types in ``X`` with their mean over batches, each in the batch's own expression.

    In every batch of 100 cells or more, and in X over all cells, a type's centroid is the mean after the share
    ``trim`` was cut off each side of each coordinate; Euclidean distances; each column over its maximum. Pairs that no
    batch has are unknown. Types with fewer than 10 cells in all are left out.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    own_space
        Principal components of each cell in its own batch ``(n_cells, d)``.
    labels, batch
        Type and batch of each cell ``(n_cells,)``.
    min_cells_in_batch
        Cells that a type needs in a batch to have a centroid there.
    trim
        Share of the cells cut off each side, below 0.5.

    Raises
    ------
    InvalidInputError
        ``X`` or ``own_space`` are not finite matrices of the same cells.
    UndefinedMetricError
        No batch has 100 cells.
    """
    points, own = as_matrix(X), as_matrix(own_space, name="own_space")
    codes, types, left_out = _counted(labels, n_cells=len(points))
    batch_of_cell, batches = as_categories(batch, n_cells=len(points), name="batch")
    large = np.flatnonzero(np.bincount(batch_of_cell) >= MIN_BATCH)
    if not large.size:
        raise UndefinedMetricError(f"no batch has {MIN_BATCH} cells")
    within = [
        _relative(_centroid_distances(own[of], codes[of], n_types=len(types), trim=trim, min_cells=min_cells_in_batch))
        for of in (batch_of_cell == b for b in large)
    ]
    found = {
        "trim": trim,
        "n_batches": len(large),
        "batches_too_small": np.delete(batches, large).tolist(),
        "types_too_small": left_out,
    }
    embedding = _centroid_distances(points, codes, n_types=len(types), trim=trim)
    return TypeDistances(types, embedding, _relative(_mean_known(np.stack(within))), found)


def ontology_distances(X: ArrayLike, *, terms: ArrayLike, ontology: Ontology, trim: float = 0.2) -> TypeDistances:
    """Compare distances between types in ``X`` with those of a random walk with restart on the ontology.

    Centroids as in :func:`batch_distances`, over all cells; see :func:`~scfm_eval.metrics.walk.walk_distances`.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.
    terms
        Term of each cell ``(n_cells,)``, in use in the ontology.
    ontology
        The ontology.
    trim
        Share of the cells cut off each side, below 0.5.

    Raises
    ------
    InvalidInputError
        ``X`` is no finite matrix, or a term is not in the ontology.
    """
    points = as_matrix(X)
    codes, types, left_out = _counted(terms, n_cells=len(points))
    embedding = _centroid_distances(points, codes, n_types=len(types), trim=trim)
    found = {"trim": trim, "types_too_small": left_out, "ontology": ontology.release}
    return TypeDistances(types, embedding, walk_distances(ontology, types), found)


def counted_types(labels: ArrayLike) -> tuple[str, ...]:
    """Return the sorted labels ``(n_cells,)`` with at least 10 cells, which are the types of both comparisons."""
    names, sizes = np.unique(np.asarray(labels).astype(str), return_counts=True)
    return tuple(names[sizes >= MIN_CELLS].tolist())


def _counted(labels: ArrayLike, *, n_cells: int) -> tuple[NDArray[np.int64], tuple[str, ...], list[str]]:
    """Return the type of each cell (−1 in a type of few cells), the types, and those left out."""
    codes, names = as_categories(labels, n_cells=n_cells, name="labels")
    types = counted_types(labels)
    enough = np.isin(names, types)
    return np.where(enough, np.cumsum(enough) - 1, -1)[codes], types, names[~enough].tolist()


def _centroid_distances(
    X: Floats, codes: NDArray[np.int64], *, n_types: int, trim: float, min_cells: int = 1
) -> Floats:
    """Return distances between trimmed centroids ``(n_types, n_types)``, NaN for types with too few cells here."""
    centroids = np.full((n_types, X.shape[1]), np.nan)
    for code in range(n_types):
        members = X[codes == code]
        if len(members) >= min_cells:
            centroids[code] = trim_mean(members, trim, axis=0)
    return np.asarray(cdist(centroids, centroids))


def _relative(distances: Floats) -> Floats:
    known = np.where(np.isnan(distances), 0.0, distances)
    return ratio(distances, np.broadcast_to(known.max(axis=0), distances.shape))


def _mean_known(distances: Floats) -> Floats:
    """Return the mean over the first axis of what is known; NaN where nothing is."""
    known = ~np.isnan(distances)
    return ratio(np.where(known, distances, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _others(weights: Floats) -> Floats:
    return np.where(np.eye(len(weights), dtype=bool), 0.0, weights)


def _ranks(distances: Floats) -> Floats:
    """Rank each column among the other types; the type itself comes last and has no weight."""
    return np.asarray(rankdata(np.where(np.eye(len(distances), dtype=bool), np.inf, distances), axis=0))


def _columns(first: Floats, second: Floats, *, weights: Floats) -> Floats:
    """Return the weighted Pearson correlation of each column over known pairs; NaN where it is undefined."""
    known = ~(np.isnan(first) | np.isnan(second))
    share = np.where(known, weights, 0.0)
    share = np.nan_to_num(ratio(share, np.broadcast_to(share.sum(axis=0), share.shape)))
    a, a_spread = _centred(np.where(known, first, 0.0), share)
    b, b_spread = _centred(np.where(known, second, 0.0), share)
    return ratio((share * a * b).sum(axis=0), a_spread * b_spread)


def _centred(values: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Return deviations from the weighted mean of each column, and their spread: 0 where it is rounding only."""
    deviations = values - (share * values).sum(axis=0)
    spread = np.sqrt((share * deviations**2).sum(axis=0))
    size = np.sqrt((share * values**2).sum(axis=0))
    return deviations, np.where(spread > _ROUNDING * size, spread, 0.0)


def _mean_over_types(correlations: Floats, distances: TypeDistances, **parameters: Any) -> Statistic:
    names = distances.types
    if len(names) < _FEWEST_TYPES:
        raise UndefinedMetricError(
            f"{len(names)} types with {MIN_CELLS} cells, and two distances always correlate: {_FEWEST_TYPES} are needed"
        )
    defined = ~np.isnan(correlations)
    if not defined.any():
        raise UndefinedMetricError("no type's distances to the others vary")
    made = made_with("scipy", n_types=len(names), drawn="types", **parameters, **distances.how)
    made["types_without_value"] = [name for name, known in zip(names, defined, strict=True) if not known]

    def of_weights(weights: Floats) -> Floats:
        counted = weights * defined
        return ratio(counted @ np.nan_to_num(correlations), counted.sum(axis=1))

    return Statistic(of_weights, n_cells=len(names), how=made)

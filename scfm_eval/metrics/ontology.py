"""Annotation judged by the Cell Ontology: how far a wrong term is from the right one, and what both have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, ratio, weighted_mean
from scfm_eval.ontology import UNREACHED, Ontology

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lineages:
    """Some terms of an ontology with all their ancestors, and what every pair of them shares.

    Parameters
    ----------
    ontology
        The ontology.
    types
        Its terms that cells have or are predicted to have; ``n_types``, sorted, each once.
    """

    ontology: Ontology
    types: tuple[str, ...]

    @classmethod
    def of(cls, terms: Iterable[str], ontology: Ontology) -> Lineages:
        """Return the lineages of the terms that occur in ``terms``; raises ``InvalidInputError`` for an unknown one."""
        types = tuple(sorted(set(terms)))
        unknown = [term for term in types if term not in ontology.position]
        if unknown or not types:
            raise InvalidInputError(
                asked=f"terms of {ontology.release}",
                found=f"{', '.join(unknown[:3])}, not in use there" if unknown else "no term",
                remedy="map labels with map_labels first",
            )
        return cls(ontology, types)

    def codes(self, terms: ArrayLike) -> Codes:
        """Return the position of each term in ``types``; raises ``InvalidInputError`` for another term."""
        given, known = np.asarray(terms).astype(str), np.array(self.types)
        found = np.minimum(np.searchsorted(known, given), len(known) - 1)
        strange = known[found] != given
        if strange.any() or given.ndim != 1 or not given.size:
            raise InvalidInputError(
                asked=f"one of {len(known)} terms for each cell",
                found=f"shape {given.shape}, {', '.join(np.unique(given[strange])[:3]) or 'all terms known'}",
                remedy="make the lineages of all true and predicted terms",
            )
        return found.astype(np.int64)

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """Positions in the ontology of all ancestors of any type, the types among them, ``(n_ancestors,)``."""
        return np.flatnonzero((self._up < UNREACHED).any(axis=0))

    @cached_property
    def up(self) -> Floats:
        """Edges from each type up to each of ``columns``, ``(n_types, n_ancestors)``; infinite if no ancestor."""
        up = self._up[:, self.columns]
        return np.where(up < UNREACHED, up, np.inf)

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """Which of ``columns`` are ancestors of each type, ``(n_types, n_ancestors)``; a term is its own ancestor."""
        return np.isfinite(self.up)

    @cached_property
    def lowest_common(self) -> NDArray[np.bool_]:
        """Which of ``columns`` are lowest common ancestors, ``(n_types, n_types, n_ancestors)``.

        Those without a descendant that is also common to the pair: there can be several.
        """
        common = self.ancestors[:, None] & self.ancestors[None]
        above = self.ontology.distances_up[np.ix_(self.columns, self.columns)] < UNREACHED
        covers_another = common.astype(np.float32) @ (above & ~np.eye(len(above), dtype=bool)).astype(np.float32)
        return np.asarray(common & (covers_another == 0))

    @cached_property
    def to_first(self) -> Floats:
        """Edges from the nearest lowest common ancestor down to the first of a pair, ``(n_types, n_types)``."""
        return np.asarray(np.where(self.lowest_common, self.up[:, None], np.inf).min(axis=2))

    @cached_property
    def between(self) -> Floats:
        """Edges from one to the other over the nearest lowest common ancestor, ``(n_types, n_types)``."""
        return np.asarray(np.where(self.lowest_common, self.up[:, None] + self.up[None], np.inf).min(axis=2))

    @cached_property
    def _up(self) -> NDArray[np.int16]:
        return self.ontology.distances_up[[self.ontology.position[term] for term in self.types]]


@metric(best=0.0, worst=np.inf, source="10.1186/s13059-025-03781-6")
def lcad(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages) -> Statistic:
    """Mean over misclassified cells of the edges from the lowest common ancestor to the true term, as published.

    It costs nothing to predict a descendant of the true term, and what is right does not count: see
    :func:`lcad_symmetric`. Of several lowest common ancestors the nearest is taken.

    Parameters
    ----------
    truth, predicted
        Term of each cell ``(n_cells,)``.
    lineages
        Lineages of all these terms.

    Returns
    -------
    At least 0, in edges, lower is better.

    Raises
    ------
    UndefinedMetricError
        No cell is misclassified, or two terms have no common ancestor.
    """
    true_codes, predicted_codes = term_codes(truth, predicted, lineages=lineages)
    wrong = (true_codes != predicted_codes).astype(np.float64)
    if not wrong.any():
        raise UndefinedMetricError("no cell is misclassified, and the published mean is over misclassified cells only")
    edges = _joined(lineages.to_first, true_codes, predicted_codes)

    def of_weights(weights: Floats) -> Floats:
        return ratio(weights @ (wrong * edges), weights @ wrong)

    return Statistic(of_weights, n_cells=len(edges), how=how(lineages, mean="misclassified cells"))


@metric(best=0.0, worst=np.inf, source="10.1186/s13059-025-03781-6, made symmetric")
def lcad_symmetric(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages) -> Statistic:
    """Mean over all cells of the edges from the true term to the predicted one over a lowest common ancestor.

    Too coarse and too fine cost alike, and a right cell costs 0. Of several lowest common ancestors the one with the
    shortest way is taken. Parameters as :data:`lcad`.

    Returns
    -------
    At least 0, in edges, lower is better.

    Raises
    ------
    UndefinedMetricError
        Two terms have no common ancestor.
    """
    edges = _joined(lineages.between, *term_codes(truth, predicted, lineages=lineages))
    return mean_over_cells(edges, lineages=lineages)


@metric(best=1.0, worst=0.0, source="10.1007/11766247_34")
def hierarchical_precision(
    truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages, with_root: bool = False
) -> Statistic:
    """Share of the predicted terms and their ancestors that are true ones or ancestors of these, summed over cells.

    Other parameters as :data:`lcad`.

    Parameters
    ----------
    with_root
        Whether the root, which is right for every cell, counts as an ancestor.

    Returns
    -------
    In [0, 1].

    Raises
    ------
    UndefinedMetricError
        Nothing but the root is predicted, and it does not count.
    """
    shared, _, all_predicted = _ancestor_counts(truth, predicted, lineages, with_root=with_root)
    without = "nothing but the root is predicted"
    return _share(shared, all_predicted, lineages, with_root=with_root, without=without)


@metric(best=1.0, worst=0.0, source="10.1007/11766247_34")
def hierarchical_recall(
    truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages, with_root: bool = False
) -> Statistic:
    """Share of the true terms and their ancestors that are predicted ones or ancestors of these, summed over cells.

    Parameters, range and errors as :func:`hierarchical_precision`, with true and predicted exchanged.
    """
    shared, all_true, _ = _ancestor_counts(truth, predicted, lineages, with_root=with_root)
    return _share(shared, all_true, lineages, with_root=with_root, without="no true term but the root")


@metric(best=1.0, worst=0.0, source="10.1007/11766247_34")
def hierarchical_f1(
    truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages, with_root: bool = False
) -> Statistic:
    """Harmonic mean of hierarchical precision and recall.

    Parameters, range and errors as :func:`hierarchical_precision`; labels at random give far more than 0, since all
    types have ancestors in common.
    """
    shared, all_true, all_predicted = _ancestor_counts(truth, predicted, lineages, with_root=with_root)
    whole = all_true + all_predicted
    return _share(2 * shared, whole, lineages, with_root=with_root, without="no term but the root")


def how(lineages: Lineages, **parameters: Any) -> dict[str, Any]:
    """Return what a report says of a value that was made from ``lineages``."""
    return made_with("scipy", ontology=lineages.ontology.release, n_types=len(lineages.types), **parameters)


def mean_over_cells(values: Floats, *, lineages: Lineages) -> Statistic:
    """Return the mean of the values ``(n_cells,)`` that pairs of true and predicted terms have in ``lineages``."""

    def of_weights(weights: Floats) -> Floats:
        return weighted_mean(weights, values)

    return Statistic(of_weights, n_cells=len(values), how=how(lineages, mean="all cells"))


def term_codes(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages) -> tuple[Codes, Codes]:
    """Return positions of true and predicted terms in ``lineages.types``, ``(n_cells,)`` each.

    Raises
    ------
    InvalidInputError
        A term is not among the types, or the two are not of the same cells.
    """
    true_codes, predicted_codes = lineages.codes(truth), lineages.codes(predicted)
    if true_codes.shape != predicted_codes.shape:
        raise InvalidInputError(
            asked="one true and one predicted term per cell",
            found=f"{len(true_codes)} and {len(predicted_codes)}",
            remedy="pass two arrays of the same cells",
        )
    return true_codes, predicted_codes


def _joined(edges: Floats, truth: Codes, predicted: Codes) -> Floats:
    found = edges[truth, predicted]
    if not np.isfinite(found).all():
        raise UndefinedMetricError(f"{int((~np.isfinite(found)).sum())} cells have no ancestor common to both terms")
    return found


def _ancestor_counts(
    truth: ArrayLike, predicted: ArrayLike, lineages: Lineages, *, with_root: bool
) -> tuple[Floats, Floats, Floats]:
    """Return for each cell the number of shared, true and predicted ancestors."""
    true_codes, predicted_codes = term_codes(truth, predicted, lineages=lineages)
    root = lineages.ontology.position[lineages.ontology.root]
    counted = lineages.ancestors if with_root else lineages.ancestors[:, lineages.columns != root]
    sets = counted.astype(np.float64)
    sizes = sets.sum(axis=1)
    return (sets @ sets.T)[true_codes, predicted_codes], sizes[true_codes], sizes[predicted_codes]


def _share(part: Floats, whole: Floats, lineages: Lineages, *, with_root: bool, without: str) -> Statistic:
    """Return the ratio of two sums over cells; ``without`` says what it means that the second is 0."""
    if not whole.any():
        raise UndefinedMetricError(f"{without}, and the root is left out")

    def of_weights(weights: Floats) -> Floats:
        return ratio(weights @ part, weights @ whole)

    made = how(lineages, with_root=with_root, mean="sums over cells")
    return Statistic(of_weights, n_cells=len(part), how=made)

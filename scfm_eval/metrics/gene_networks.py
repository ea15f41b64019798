"""Gene networks: whether the true edges rank above other pairs of a regulator and a gene (BEELINE).

The pairs are ordered, self loops are none of them. A pair without a score (NaN) comes after all others, all such pairs
tied. Resamples draw regulators, with all their pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.gene_terms import expected_average_precision
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import ratio

SOURCE = "10.1038/s41592-019-0690-6"
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RankedPairs:
    """Pairs of a regulator and a gene, each with a score and a truth.

    Parameters
    ----------
    scores
        ``(n_pairs,)``, larger is likelier; NaN for a pair without one.
    truth
        Whether each pair is an edge ``(n_pairs,)``.
    regulator
        Number of the regulator of each pair ``(n_pairs,)``, from 0.

    Raises
    ------
    InvalidInputError
        The three are not one value per pair, or a score is infinite.
    """

    scores: Floats
    truth: NDArray[np.bool_]
    regulator: NDArray[np.int64]

    def __post_init__(self) -> None:
        shapes = {np.shape(part) for part in (self.scores, self.truth, self.regulator)}
        if len(shapes) > 1 or np.ndim(self.scores) != 1 or not len(self.scores) or np.isinf(self.scores).any():
            raise InvalidInputError(
                asked="a score, a truth and a regulator for each pair of genes",
                found=f"shapes {sorted(shapes)}, {int(np.isinf(self.scores).sum())} infinite scores",
                remedy="pass arrays (n_pairs,), NaN for a pair without a score",
            )

    @classmethod
    def of(cls, scores: ArrayLike, *, adjacency: ArrayLike, n_regulators: int) -> RankedPairs:
        """Return the pairs of the first ``n_regulators`` genes with every other gene.

        Parameters
        ----------
        scores, adjacency
            ``(n_genes, n_genes)``, from the row's gene to the column's.
        n_regulators
            Regulators; they are the first genes.
        """
        values, edges = (np.asarray(part)[:n_regulators] for part in (scores, adjacency))
        source, target = np.nonzero(np.arange(edges.shape[1]) != np.arange(n_regulators)[:, None])
        return cls(values[source, target].astype(np.float64), edges[source, target].astype(bool), source)

    @property
    def density(self) -> float:
        """Share of the pairs that are edges."""
        return float(np.mean(self.truth))

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """The pairs from the highest score to those without one."""
        return np.argsort(-self._filled, kind="stable")

    @cached_property
    def ends(self) -> NDArray[np.intp]:
        """Place in ``order`` of the last pair of each group of equal scores."""
        ranked = self._filled[self.order]
        return np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])

    @cached_property
    def n_scored_groups(self) -> int:
        """Groups of equal scores, without that of the pairs that have none."""
        return len(self.ends) - int(np.isnan(self.scores).any())

    @cached_property
    def _filled(self) -> Floats:
        return np.where(np.isnan(self.scores), -np.inf, self.scores)

    def statistic(self, of_counts: Callable[[Floats, Floats], float], *, needs_scores: bool) -> Statistic:
        """Return a function of edges and pairs up to each group, ``(n_groups,)`` both, resampled over regulators.

        Raises
        ------
        UndefinedMetricError
            No pair is an edge, or all are, or none has a score where ``needs_scores``.
        """
        if not 0 < self.truth.sum() < len(self.truth):
            raise UndefinedMetricError(f"{int(self.truth.sum())} of {len(self.truth)} pairs are edges: both are needed")
        if needs_scores and not self.n_scored_groups:
            raise UndefinedMetricError("no pair has a score")
        regulator, truth = self.regulator[self.order], self.truth[self.order]

        def of_weights(weights: Floats) -> Floats:
            found = np.empty(len(weights))
            # one resample at a time: a matrix of resamples and pairs could be larger than memory
            for place, drawn in enumerate(weights):
                often = drawn[regulator]
                found[place] = of_counts(np.cumsum(often * truth)[self.ends], np.cumsum(often)[self.ends])
            return found

        how = made_with(density=self.density, n_pairs=len(self.truth), n_edges=int(self.truth.sum()))
        how |= {"unscored pairs": int(np.isnan(self.scores).sum()), "unit of resampling": "regulator"}
        return Statistic(of_weights, n_cells=int(self.regulator.max()) + 1, how=how)


@metric(best=1.0, worst=0.0, source=SOURCE)
def edge_auprc(pairs: RankedPairs) -> Statistic:
    """Average precision of the edges among all pairs; equal scores enter together.

    BEELINE's own area is a trapezoid, which rewards ties: a list of nothing but self loops gets 0.54 of it where one
    pair in twelve is an edge, and one in twelve here.
    """

    def average_precision(edges: Floats, pairs_up_to: Floats) -> float:
        precision = ratio(edges, pairs_up_to)
        gained = np.diff(edges, prepend=0.0)
        return float(ratio(np.nansum(gained * precision, keepdims=True), edges[-1:])[0])

    return pairs.statistic(average_precision, needs_scores=False)


@metric(best=1.0, worst=0.0, chance=0.5, source=SOURCE)
def edge_auroc(pairs: RankedPairs) -> Statistic:
    """Probability that an edge scores higher than another pair; a tie counts half."""

    def area(edges: Floats, pairs_up_to: Floats) -> float:
        others = pairs_up_to - edges
        below = others[-1] - others + np.diff(others, prepend=0.0) / 2
        wins = (np.diff(edges, prepend=0.0) * below).sum(keepdims=True)
        return float(ratio(wins, edges[-1:] * others[-1:])[0])

    return pairs.statistic(area, needs_scores=False)


@metric(best=1.0, worst=0.0, source=SOURCE)
def early_precision(pairs: RankedPairs) -> Statistic:
    """Share of edges among the highest-scored pairs, as many as there are edges, and all that tie with the last.

    Pairs without a score are never among them: a short list is taken whole.
    """
    return pairs.statistic(lambda edges, up_to: _early(pairs, edges, up_to), needs_scores=True)


@metric(best=np.inf, worst=0.0, chance=1.0, source=SOURCE)
def early_precision_ratio(pairs: RankedPairs) -> Statistic:
    """Return :func:`early_precision` over the density, the share of all pairs that are edges."""

    def over_density(edges: Floats, up_to: Floats) -> float:
        return float(ratio(_early(pairs, edges, up_to) * up_to[-1:], edges[-1:])[0])

    return pairs.statistic(over_density, needs_scores=True)


def chance_edge_auprc(pairs: RankedPairs) -> float:
    """Return the mean of :func:`edge_auprc` over all orders of the pairs, exactly: a little above the density."""
    return expected_average_precision(n_positive=int(pairs.truth.sum()), n=len(pairs.truth))


def _early(pairs: RankedPairs, edges: Floats, up_to: Floats) -> float:
    cut = min(int(np.searchsorted(up_to, edges[-1])), pairs.n_scored_groups - 1)
    return float(ratio(edges[cut : cut + 1], up_to[cut : cut + 1])[0])

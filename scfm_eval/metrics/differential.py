"""Differential expression: which genes a perturbation changes, and whether a prediction finds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm, rankdata

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import Statistic, metric
from scfm_eval.metrics.responses import mean_over_conditions
from scfm_eval.metrics.weighted import Floats, ratio

FDR = 0.05
"""Largest false discovery rate (Benjamini–Hochberg, within a condition) of a differentially expressed gene."""
_BINS = 20


@dataclass(frozen=True, eq=False)
class Differential:
    """Differential expression by condition; arrays are ``(n_conditions, n_genes)``.

    Parameters
    ----------
    strength
        What genes are ranked by, by decreasing absolute value: a test statistic or a fold change.
    significant
        Genes that are called differentially expressed.
    """

    strength: Floats
    significant: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.strength.shape != self.significant.shape or np.isnan(self.strength).any():
            raise InvalidInputError(
                asked="strength and significance of each gene in each condition",
                found=f"{self.strength.shape} and {self.significant.shape}, {np.isnan(self.strength).sum()} NaN",
                remedy="give a gene without a test the strength 0",
            )

    def ranks(self) -> NDArray[np.int64]:
        """Return the rank of each gene, 0 the strongest; genes that are not significant follow those that are.

        Equally strong genes are ranked in the order of the genes.
        """
        strength = np.where(self.significant, np.abs(self.strength), -1.0)
        order = np.argsort(-strength, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
        return ranks


def rank_sum(cells: Floats, control: Floats) -> tuple[Floats, Floats]:
    """Compare expression of each gene by the Wilcoxon rank-sum test.

    Parameters
    ----------
    cells, control
        Log expression ``(n, n_genes)`` and ``(m, n_genes)``.

    Returns
    -------
    z ``(n_genes,)``, above 0 where ``cells`` express more, corrected for ties and continuity (0 for a gene that is
    equal everywhere), and the two-sided p of the normal approximation ``(n_genes,)``.
    """
    n, m = len(cells), len(control)
    ranks = rankdata(np.concatenate([cells, control]), axis=0)
    excess = ranks[:n].sum(axis=0) - n * (n + m + 1) / 2
    # the variance of average ranks is that of all ranks, less what ties take away
    variance = n * m / (n + m) * ranks.var(axis=0, ddof=1)
    continuous = np.sign(excess) * np.maximum(np.abs(excess) - 0.5, 0.0)
    z = np.where(variance > 0, continuous / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)
    return z, np.asarray(2 * norm.sf(np.abs(z)))


def shift_test(change: Floats, control: Floats, *, n_cells: int) -> tuple[Floats, Floats]:
    """Compare control cells with as many cells as were measured, moved by a predicted change, by a z test.

    A rank test would call every sparse gene: after the smallest shift no zero ties with a zero. A spread kept from the
    control cells would call every gene that is silent there. So the moved cells have the spread that genes of the moved
    mean have in control cells: the ratio of variance to mean is interpolated between bins of genes of like mean.

    Parameters
    ----------
    change
        Predicted change ``(n_genes,)``.
    control
        Log expression of control cells ``(m, n_genes)``.
    n_cells
        Number of moved cells that is assumed: that of the true cells, so that both tests have the same power.

    Returns
    -------
    z ``(n_genes,)``, 0 for a gene that does not move, and the two-sided p ``(n_genes,)``.
    """
    mean, variance = control.mean(axis=0), control.var(axis=0, ddof=1)
    moved = np.maximum(mean + change, 0.0)
    squared_error = variance / len(control) + _variance_at(moved, mean=mean, variance=variance) / n_cells
    z = np.where(squared_error > 0, change / np.sqrt(np.where(squared_error > 0, squared_error, 1.0)), 0.0)
    return z, np.asarray(2 * norm.sf(np.abs(z)))


def _variance_at(wanted: Floats, *, mean: Floats, variance: Floats) -> Floats:
    """Return the variance ``(n_genes,)`` that genes of the ``wanted`` means have."""
    expressed = np.flatnonzero(mean > 0)
    bins = np.array_split(
        expressed[np.argsort(mean[expressed], kind="stable")], max(1, min(_BINS, len(expressed) // 5))
    )
    centres = np.array([mean[genes].mean() for genes in bins])
    ratios = np.array([variance[genes].sum() / mean[genes].sum() for genes in bins])
    return np.asarray(wanted * np.interp(wanted, centres, ratios))


def significant(p: Floats) -> NDArray[np.bool_]:
    """Return which of the p values ``(n_genes,)`` have a false discovery rate below :data:`FDR`."""
    found: NDArray[np.bool_] = false_discovery_control(p) < FDR
    return found


@metric(best=1.0, worst=0.0, source="10.1101/2025.06.26.661135")
def de_overlap(
    truth: Differential, *, predicted: Differential, conditions: NDArray[np.str_], ranked_by: str
) -> Statistic:
    """Share of the N truly differential genes that are among the N strongest predicted ones, mean over conditions.

    Parameters
    ----------
    truth, predicted
        Differential expression against the same control.
    conditions
        Names ``(n_conditions,)``.
    ranked_by
        What genes are ranked by, in words.

    Returns
    -------
    In [0, 1]. Genes that are not significant in the prediction are no members of its list. A condition without a truly
    differential gene is named and left out.
    """
    return _mean(ratio(_shared(truth, predicted), _sizes(truth)), conditions, ranked_by=ranked_by)


@metric(best=1.0, worst=0.0, source="10.1101/2025.06.26.661135")
def de_precision(
    truth: Differential, *, predicted: Differential, conditions: NDArray[np.str_], ranked_by: str
) -> Statistic:
    """Share of the N predicted differential genes that are among the N strongest true ones, mean over conditions.

    Parameters as :data:`de_overlap`.

    Returns
    -------
    In [0, 1]. A condition without a truly differential gene is named and left out.

    Raises
    ------
    UndefinedMetricError
        No gene is predicted to be differential in a condition that has such genes.
    """
    n_predicted = _sizes(predicted)
    values = np.where(_sizes(truth) > 0, _shared(predicted, truth) / np.maximum(n_predicted, 1.0), np.nan)
    return _mean(values, conditions, undefined=n_predicted == 0, ranked_by=ranked_by)


def _sizes(found: Differential) -> Floats:
    return np.asarray(found.significant.sum(axis=1), dtype=np.float64)


def _shared(whole: Differential, other: Differential) -> Floats:
    """Return how many of all N significant genes of ``whole`` are among the first N of ``other``."""
    first = other.significant & (other.ranks() < _sizes(whole)[:, None])
    return np.asarray((whole.significant & first).sum(axis=1), dtype=np.float64)


def _mean(
    values: Floats, conditions: NDArray[np.str_], *, undefined: NDArray[np.bool_] | None = None, ranked_by: str
) -> Statistic:
    return mean_over_conditions(
        values,
        conditions,
        undefined=undefined,
        why="no gene is predicted to be differential",
        left_out="no gene is truly differential",
        how={"ranked_by": ranked_by, "fdr": FDR},
    )

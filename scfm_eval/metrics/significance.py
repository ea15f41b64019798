"""Whether two methods differ: by cells that one of them gets right, by seeds, and over many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError

FEWEST_SEEDS = 6
"""Pairs that differ, below which no outcome of a two-sided signed-rank test is below 0.05."""


@dataclass(frozen=True)
class Discordance:
    """McNemar's test.

    Parameters
    ----------
    only_left, only_right
        Cells that one method has right and the other has not.
    p
        Two-sided p-value.
    """

    only_left: int
    only_right: int
    p: float


def mcnemar(left: ArrayLike, right: ArrayLike) -> Discordance:
    """Test whether two methods are right equally often on the same cells; exact, doi:10.1007/BF02295996.

    Parameters
    ----------
    left, right
        Whether each method is right on each cell ``(n_cells,)``; cells are taken to be independent.

    Raises
    ------
    InvalidInputError
        The two are not of the same cells.
    UndefinedMetricError
        Both are right on the very same cells.
    """
    first, second = np.asarray(left, dtype=bool), np.asarray(right, dtype=bool)
    _check_paired(first, second)
    only_left, only_right = int((first & ~second).sum()), int((second & ~first).sum())
    if only_left + only_right == 0:
        raise UndefinedMetricError("both are right on the very same cells")
    p = stats.binomtest(only_left, only_left + only_right, 0.5).pvalue
    return Discordance(only_left, only_right, float(p))


def wilcoxon_over_seeds(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the two-sided p-value of the signed-rank test on one value per seed; doi:10.2307/3001968.

    Parameters
    ----------
    left, right
        Values of two methods with the same seeds ``(n_seeds,)``. Splits of different seeds share cells, so that p is
        too small rather than too large.

    Raises
    ------
    InvalidInputError
        The two are not of the same seeds.
    UndefinedMetricError
        Fewer than six seeds on which the two differ: no outcome could be below 0.05.
    """
    first, second = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    _check_paired(first, second)
    differences = (first - second)[first != second]
    if len(differences) < FEWEST_SEEDS:
        raise UndefinedMetricError(
            f"the two differ on {len(differences)} of {len(first)} seeds; below {FEWEST_SEEDS} no p is under 0.05"
        )
    return float(stats.wilcoxon(differences).pvalue)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Return the false discovery rate at which each comparison counts; doi:10.1111/j.2517-6161.1995.tb02031.x.

    Parameters
    ----------
    p
        p-values ``(n_comparisons,)``; NaN is a comparison that could not be made, and is none.
    """
    values = np.asarray(p, dtype=np.float64)
    made = ~np.isnan(values)
    adjusted = np.full(len(values), np.nan)
    if made.any():
        adjusted[made] = stats.false_discovery_control(values[made], method="bh")
    return adjusted


def _check_paired(left: NDArray[np.generic], right: NDArray[np.generic]) -> None:
    if left.shape != right.shape or left.ndim != 1 or not left.size:
        raise InvalidInputError(
            asked="two methods on the same cells or seeds",
            found=f"shapes {left.shape} and {right.shape}",
            remedy="pass two arrays in the same order",
        )

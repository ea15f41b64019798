"""Bootstrap: how sure a value is, from drawing again what was drawn once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.inputs import as_categories
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError

BLOCK_BYTES = 64 * 2**20

FEW_UNITS = 30
"""Below so many cells, donors or regulators little is known of how they vary."""

_ENOUGH = 2


def bootstrap_weights(*, units: ArrayLike, strata: ArrayLike, n_resamples: int, seed: int) -> NDArray[np.int16]:
    """Draw units with replacement within strata, as many as there are, and count each cell.

    Parameters
    ----------
    units
        Unit of each cell ``(n_cells,)``: the cell's own name, or its donor when donors were sampled; all cells of a
        unit are drawn together.
    strata
        Stratum of each cell ``(n_cells,)``, e.g. its fold; a unit lies in one stratum.
    n_resamples
        Number of resamples.
    seed
        Seed; the same weights serve all models, so that their differences are paired.

    Returns
    -------
    ``(n_resamples, n_cells)``: how often each cell counts.

    Raises
    ------
    InvalidInputError
        A unit lies in several strata.
    UndefinedMetricError
        A stratum has a single unit, so that nothing about it would vary: draw from fewer, larger strata.
    """
    n_cells = len(np.asarray(units))
    unit_of_cell, unit_names = as_categories(units, n_cells=n_cells, name="units")
    stratum_of_cell, stratum_names = as_categories(strata, n_cells=n_cells, name="strata")
    stratum_of_unit = np.zeros(len(unit_names), dtype=np.int64)
    stratum_of_unit[unit_of_cell] = stratum_of_cell
    _check_nested(stratum_of_unit[unit_of_cell] == stratum_of_cell, unit_names[unit_of_cell])
    members = [np.flatnonzero(stratum_of_unit == stratum) for stratum in range(len(stratum_names))]
    _check_varies([len(units_within) for units_within in members], stratum_names)

    rng = np.random.default_rng(seed)
    weights = np.empty((n_resamples, n_cells), dtype=np.int16)
    drawn = np.empty(len(unit_names), dtype=np.int16)
    for row in weights:
        for units_within in members:
            n_units = len(units_within)
            drawn[units_within] = np.bincount(rng.integers(n_units, size=n_units), minlength=n_units)
        row[:] = drawn[unit_of_cell]
    return weights


def replicates(statistic: Statistic, weights: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """Return the value of ``statistic`` for each row of ``weights`` ``(n_resamples, n_cells)``.

    Memory stays bounded: blocks of at most 64 MB of weights, and at least one resample, are evaluated at a time.
    A resample on which the metric has no value is nan. Where cells count for each other's value too, which the weights
    do not say, the values lie farther from their mean by ``statistic.spread``.
    """
    if weights.ndim != 2 or weights.shape[1] != statistic.n_cells:
        raise InvalidInputError(
            asked=f"weights of {statistic.n_cells} cells",
            found=f"shape {weights.shape}",
            remedy="draw the weights for the cells that the statistic was made from",
        )
    step = max(1, BLOCK_BYTES // (8 * statistic.n_cells))
    starts = range(0, len(weights), step)
    blocks = [statistic.of_weights(weights[start : start + step].astype(np.float64)) for start in starts]
    found = np.concatenate(blocks) if blocks else np.empty(0)
    if statistic.spread == 1 or not np.isfinite(found).any():
        return found
    centre = np.nanmean(found)
    return np.asarray(centre + statistic.spread * (found - centre))


def widened(replicates: NDArray[np.float64], *, sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return replicates as far from their mean as they would be, were the units that they draw of equal size.

    Few large units among small ones are worth fewer units, (Σ size)² / Σ size², and resamples of few vary too little
    (see :func:`interval`, which knows the number of units only). Units of equal size, as cells are, change nothing.

    Parameters
    ----------
    replicates
        Values under resampling ``(n_resamples,)``.
    sizes
        Cells of each unit, from :func:`unit_sizes`.
    """
    if len(sizes) < _ENOUGH or np.ptp(sizes) == 0 or not np.isfinite(replicates).any():
        return replicates
    worth = max(float(sizes.sum() ** 2 / (sizes**2).sum()), float(_ENOUGH))
    centre = np.nanmean(replicates)
    return np.asarray(centre + _shortfall(worth) / _shortfall(len(sizes)) * (replicates - centre))


def unit_sizes(weights: NDArray[np.integer | np.floating]) -> NDArray[np.int64]:
    """Return the cells of each unit that rows of ``weights`` ``(n_resamples, n_cells)`` draw, ``(n_units,)``.

    Cells of one unit count alike in each resample.
    """
    # columns of two units that agree in as many draws are less likely than one in 10^15
    first = weights[:40].astype(np.int64)
    names = np.random.default_rng(0).integers(2**62, size=len(first)) @ first
    return np.asarray(np.unique(names, return_counts=True)[1], dtype=np.int64)


def n_drawn(weights: NDArray[np.integer | np.floating]) -> int:
    """Return how many units the rows of ``weights`` ``(n_resamples, n_cells)`` draw."""
    return len(unit_sizes(weights))


def interval(
    replicates: NDArray[np.float64], *, level: float = 0.95, n_units: int | None = None
) -> tuple[float, float]:
    """Return the interval of bootstrap replicates: their percentiles, and of few units Student's t.

    Percentiles alone take the normal distribution for Student's, and n units drawn again vary by (n − 1) / n of what n
    new ones would: of 3, 5, 8 and 12 units that do not differ, intervals of 95 % then exclude zero in 25, 16, 12 and
    9 % of cases. Their distances from the mean are stretched by what both come to (10.1080/00031305.2015.1089789). Of
    fewer than 30 units the percentiles themselves are too coarse: the standard deviation is stretched.

    A resample without a value (nan) could have had any: it counts as below the low end and as above the high end.
    Order statistics are not interpolated, but taken outwards.

    Parameters
    ----------
    replicates
        Values under resampling ``(n_resamples,)``.
    level
        Share of such intervals that hold the true value.
    n_units
        Units that the resamples draw; ``None`` means many. One unit is taken as it is: nothing is known of others.

    Raises
    ------
    UndefinedMetricError
        So many resamples have no value that an end is unknown, or there are none.
    """
    unknown = np.isnan(replicates)
    tail = (1 - level) / 2
    if len(replicates):
        low = float(np.quantile(np.where(unknown, -np.inf, replicates), tail, method="lower"))
        high = float(np.quantile(np.where(unknown, np.inf, replicates), 1 - tail, method="higher"))
        if np.isfinite(low) and np.isfinite(high):
            if n_units is None or n_units < _ENOUGH:
                return low, high
            low, high = _stretched(replicates, low, high, n_units=n_units, tail=tail)
            if np.isfinite(low) and np.isfinite(high):
                return low, high
    raise UndefinedMetricError(f"{int(unknown.sum())} of {len(replicates)} resamples have no value")


def _stretched(
    replicates: NDArray[np.float64], low: float, high: float, *, n_units: int, tail: float
) -> tuple[float, float]:
    centre, factor = float(np.nanmean(replicates)), _shortfall(n_units, tail=tail)
    if n_units < FEW_UNITS:
        away = factor * float(stats.norm.isf(tail)) * float(np.nanstd(replicates))
        return centre - away, centre + away
    return min(low, centre - factor * (centre - low)), max(high, centre + factor * (high - centre))


def _shortfall(n_units: float, *, tail: float = 0.025) -> float:
    """Return by how much percentiles of resamples of so many units are too near to their mean, at least 1."""
    smaller = math.sqrt(n_units / (n_units - 1))
    return float(smaller * stats.t.isf(tail, n_units - 1) / stats.norm.isf(tail))


def _check_nested(nested: NDArray[np.bool_], unit_of_cell: NDArray[np.str_]) -> None:
    if not nested.all():
        split = np.unique(unit_of_cell[~nested])
        raise InvalidInputError(
            asked="units that lie within one stratum each",
            found=f"{len(split)} in several, e.g. {split[0]}",
            remedy="split folds by donor when donors are drawn",
        )


def _check_varies(sizes: list[int], stratum_names: NDArray[np.str_]) -> None:
    single = [str(name) for name, size in zip(stratum_names, sizes, strict=True) if size < 2]
    if single:
        raise UndefinedMetricError(f"a single unit in stratum {', '.join(single)}: a bootstrap of it does not vary")

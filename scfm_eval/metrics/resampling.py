"""Bootstrap: how sure a value is, from drawing again what was drawn once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.inputs import as_categories
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError

BLOCK_BYTES = 64 * 2**20


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
    A resample on which the metric has no value is nan.
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
    return np.concatenate(blocks) if blocks else np.empty(0)


def n_drawn(weights: NDArray[np.integer | np.floating]) -> int:
    """Return how many units the rows of ``weights`` ``(n_resamples, n_cells)`` draw: cells of one unit count alike."""
    # columns of two units that agree in as many draws are less likely than one in 10^15
    return int(np.unique(weights[:40], axis=1).shape[1])


def interval(replicates: NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap replicates.

    A resample without a value (nan) could have had any: it counts as below the low end and as above the high end.
    Order statistics are not interpolated, but taken outwards.

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
            return low, high
    raise UndefinedMetricError(f"{int(unknown.sum())} of {len(replicates)} resamples have no value")


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

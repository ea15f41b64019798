"""Unseen cell types: whether cells of a type that was held out stand out from the known ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, mean_defined, ratio

SOURCE = "10.1148/radiology.143.1.7063747"


@metric(best=1.0, worst=0.0, chance=0.5, source=SOURCE)
def auroc(scores: ArrayLike, *, positive: ArrayLike) -> Statistic:
    """Probability that a positive cell scores higher than a negative one; a tie counts half.

    Parameters
    ----------
    scores
        Score of each cell ``(n_cells,)``; higher speaks for positive. Infinite values are allowed.
    positive
        Whether each cell is positive ``(n_cells,)``.

    Returns
    -------
    In [0, 1]. A resample without positive or without negative cells has no value.

    Raises
    ------
    InvalidInputError
        A score is NaN, or the two differ in length.
    UndefinedMetricError
        All cells are positive, or none is.
    """
    values, is_positive = _checked(scores, positive)
    if is_positive.all() or not is_positive.any():
        raise UndefinedMetricError(
            f"{int(is_positive.sum())} of {len(values)} cells are positive: both kinds are needed"
        )
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positives, negatives = is_positive[order].astype(np.float64), (~is_positive[order]).astype(np.float64)

    def of_weights(weights: Floats) -> Floats:
        ordered = weights[:, order]
        above = np.add.reduceat(ordered * positives, starts, axis=1)
        below = np.add.reduceat(ordered * negatives, starts, axis=1)
        wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        return ratio(wins, above.sum(axis=1) * below.sum(axis=1))

    return Statistic(of_weights, n_cells=len(values), how=made_with(n_positive=int(is_positive.sum())))


@metric(best=1.0, worst=0.0, chance=0.5, source=SOURCE)
def novelty_auroc(scores: ArrayLike, *, labels: ArrayLike, held_out: Sequence[str]) -> Statistic:
    """Mean over held-out types of the AUROC with which a type's own cells stand out from all others.

    Parameters
    ----------
    scores
        Novelty of each cell when each type was held out, ``(n_held_out, n_cells)``; NaN for a cell that was not
        scored, such as one that the probe learned from.
    labels
        True type of each cell ``(n_cells,)``.
    held_out
        Type that each row is about.

    Returns
    -------
    In [0, 1]. A type without cells in a resample leaves the mean of that resample.

    Raises
    ------
    InvalidInputError
        The shapes do not fit.
    UndefinedMetricError
        No type was held out, or one has no scored cell, or nothing but its own.
    """
    rows, types = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(str)
    if rows.shape != (len(held_out), len(types)):
        raise InvalidInputError(
            asked=f"novelty of {len(types)} cells for {len(held_out)} held-out types",
            found=f"shape {rows.shape}",
            remedy="pass one row per held-out type and one column per cell",
        )
    if not held_out:
        raise UndefinedMetricError("no type was held out")
    members = [_among_scored(row, positive=types == name) for row, name in zip(rows, held_out, strict=True)]

    def of_weights(weights: Floats) -> Floats:
        return mean_defined(np.column_stack([statistic.of_weights(weights[:, of]) for of, statistic in members]))

    return Statistic(of_weights, n_cells=len(types), how=made_with(n_types=len(held_out)))


def _among_scored(row: Floats, *, positive: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Statistic]:
    scored = np.flatnonzero(~np.isnan(row))
    return scored, auroc.statistic(row[scored], positive=positive[scored])


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.ndim != 1 or values.shape != is_positive.shape or np.isnan(values).any():
        raise InvalidInputError(
            asked="one score and one truth per cell",
            found=f"shapes {values.shape} and {is_positive.shape}, {int(np.isnan(values).sum())} scores NaN",
            remedy="pass two arrays of the same cells, without NaN",
        )
    return values, is_positive

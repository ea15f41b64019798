"""Permutation null: what a metric gives when nothing but chance joins the two things that it compares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Null(TypedDict):
    """Values of a metric under permutation, and how often they were as good as the observed one."""

    n_permutations: int
    mean: float
    sd: float
    p_value: float


def type_orders(n_types: int, *, n_permutations: int = 1000) -> NDArray[np.intp]:
    """Return permutations of types ``(n_permutations, n_types)``, the same ones each time."""
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(n_types), (n_permutations, 1)), axis=1)


def permutation_null(observed: float, permuted: Iterable[float], *, higher_is_better: bool) -> Null:
    """Summarise permuted values.

    Parameters
    ----------
    observed
        The value without permutation.
    permuted
        A value per permutation; NaN where the metric is undefined, which counts as being as good as the observed one.
    higher_is_better
        Direction of the metric.

    Returns
    -------
    Mean and standard deviation of the defined values, and ``p = (1 + as good) / (1 + n_permutations)``, one-sided.
    """
    values = np.fromiter(permuted, dtype=np.float64)
    defined = values[~np.isnan(values)]
    worse = values < observed - 1e-12 if higher_is_better else values > observed + 1e-12
    return Null(
        n_permutations=len(values),
        mean=float(defined.mean()) if defined.size else np.nan,
        sd=float(defined.std()) if defined.size else np.nan,
        p_value=float((1 + (~worse).sum()) / (1 + len(values))),
    )

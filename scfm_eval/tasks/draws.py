"""Known cells that are drawn from each class, and scores that are means over several draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics.metric import Statistic


def ranks_in_class(
    labels: NDArray[np.str_], train: NDArray[np.bool_], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the place of each training cell in a random order of its class, from 0; −1 for other cells."""
    shuffled = rng.permutation(np.flatnonzero(train))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.full(len(labels), -1, dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return rank


def mean_over_draws(each: Sequence[Statistic]) -> Statistic:
    """Return the mean of statistics of the same cells, one for each draw."""

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.mean([statistic.of_weights(weights) for statistic in each], axis=0))

    return Statistic(of_weights, n_cells=each[0].n_cells, how=each[0].how | {"n_draws": len(each)})

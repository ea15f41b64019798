"""What fine-tuning gains over the frozen model, in the two ways that are often taken for each other."""

from __future__ import annotations

import numpy as np

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, ratio


@metric(best=1.0, worst=-1.0, chance=0.0, source="scfm_eval")
def gain_absolute(tuned: Statistic, *, frozen: Statistic) -> Statistic:
    """Difference of a score in [0, 1] after and before fine-tuning: 0.613 to 0.978 is +0.365.

    Parameters
    ----------
    tuned, frozen
        The score of the fine-tuned and of the frozen model, on the same cells.
    """

    def of_weights(weights: Floats) -> Floats:
        return tuned.of_weights(weights) - frozen.of_weights(weights)

    return Statistic(of_weights, n_cells=tuned.n_cells, how=made_with(formula="tuned - frozen"))


@metric(best=np.inf, worst=-100.0, chance=0.0, source="scfm_eval")
def gain_relative_percent(tuned: Statistic, *, frozen: Statistic) -> Statistic:
    """Difference in percent of the score before fine-tuning: 0.613 to 0.978 is +59.5.

    Parameters
    ----------
    tuned, frozen
        As in :func:`gain_absolute`.

    Raises
    ------
    UndefinedMetricError
        The frozen model scores 0.
    """
    if frozen.value() == 0:
        raise UndefinedMetricError("the frozen model scores 0, and nothing is a percentage of that")

    def of_weights(weights: Floats) -> Floats:
        before = frozen.of_weights(weights)
        return 100 * ratio(tuned.of_weights(weights) - before, before)

    return Statistic(of_weights, n_cells=tuned.n_cells, how=made_with(formula="(tuned - frozen) / frozen * 100"))

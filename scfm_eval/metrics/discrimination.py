"""Whether predictions of different perturbations differ, and differ as the perturbations do.

Conditions are told apart within their group: those that were held out together in one context. A training condition
is no candidate, since a mean over training conditions lies nearer to these than to any that was held out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.perturbation import ratio_error
from scfm_eval.metrics.responses import RESOLUTION, Responses, mean_over_conditions
from scfm_eval.metrics.weighted import Floats, ratio

_ALONE = "no other condition was held out with it"


@metric(best=1.0, worst=0.0, source="10.1101/2025.06.26.661135")
def pds_l1(responses: Responses) -> Statistic:
    """Rank of the true change among all true changes by L1 distance from the predicted one, mean over conditions.

    Parameters
    ----------
    responses
        True and predicted expression. Both changes are from the same real control.

    Returns
    -------
    ``1 − r / N``, where r true changes of the N in the group are nearer than the right one (ties count half): 1 is
    best, ``1/N`` worst, ``0.5 + 1/(2N)`` chance. A condition that is alone in its group is named and left out. Larger
    changes score higher: see :data:`~scfm_eval.metrics.perturbation.effect_size_error`.

    Raises
    ------
    UndefinedMetricError
        No condition was held out with another.
    """
    sizes = responses.alike().sum(axis=1)
    nearer = _nearer(_distances(responses, power=1), responses)
    values = np.where(sizes > 1, 1 - nearer / sizes, np.nan)
    return mean_over_conditions(values, responses.conditions, left_out=_ALONE, how=_candidates(sizes))


def pds_chance(responses: Responses) -> float | None:
    """Return the mean over conditions of ``0.5 + 1/(2N)``, what a constant prediction scores in groups of N.

    There is none where each condition is alone in its group.
    """
    sizes = responses.alike().sum(axis=1)
    return float((0.5 + 0.5 / sizes[sizes > 1]).mean()) if (sizes > 1).any() else None


@metric(best=1.0, worst=0.0, chance=0.5, source="10.1038/s41587-025-02777-8")
def centroid_accuracy(responses: Responses) -> Statistic:
    """Share of the other true conditions that are farther (Euclidean) from the prediction than the right one.

    Parameters
    ----------
    responses
        True and predicted expression.

    Returns
    -------
    In [0, 1]; ties count half. A condition that is alone in its group is named and left out.
    """
    sizes = responses.alike().sum(axis=1)
    nearer = _nearer(_distances(responses, power=2), responses)
    values = 1 - ratio(nearer, (sizes - 1).astype(np.float64))
    return mean_over_conditions(values, responses.conditions, left_out=_ALONE, how=_candidates(sizes))


@metric(best=0.0, worst=1.0, source="scfm_eval")
def variance_error(responses: Responses) -> Statistic:
    """How far the predicted changes differ from each other too little or too much: error of the ratio of variances.

    Parameters
    ----------
    responses
        True and predicted expression.

    Returns
    -------
    In [0, 1]: one minus the smaller variance over the larger one, of changes within groups and summed over genes. One
    answer to everything gives 1. ``how`` holds the ratio, predicted over true: 0 is one answer to everything.

    Raises
    ------
    UndefinedMetricError
        True changes do not differ within any group.
    """
    genes = responses.scored.all(axis=0)
    members = [np.flatnonzero(responses.groups == group) for group in np.unique(responses.groups)]
    predicted, true = responses.predicted_change[:, genes], responses.true_change[:, genes]
    once = np.ones((1, len(true)))
    if not _spread(once, true, members=members)[0] > RESOLUTION**2:
        raise UndefinedMetricError("true changes do not differ within any group of conditions")

    def ratios(weights: Floats) -> Floats:
        return ratio(_spread(weights, predicted, members=members), _spread(weights, true, members=members))

    how = made_with(unit="perturbation", n_genes=int(genes.sum()), n_groups=len(members), ratio=float(ratios(once)[0]))
    return Statistic(lambda weights: ratio_error(ratios(weights)), n_cells=len(true), how=how)


@metric(best=1.0, worst=0.0, source="scfm_eval")
def distinct_neighbors(responses: Responses) -> Statistic:
    """Share of the conditions that are the nearest one (L1) of any prediction.

    In (0, 1]; one answer to everything gives one over the size of a group.

    Raises
    ------
    UndefinedMetricError
        No condition was held out with another.
    """
    distances = _distances(responses, power=1)
    told_apart = responses.alike().sum(axis=1) > 1
    if not told_apart.any():
        raise UndefinedMetricError(_ALONE)
    nearest = np.eye(len(distances))[distances.argmin(axis=1)] * told_apart[:, None]

    def of_weights(weights: Floats) -> Floats:
        drawn = (weights > 0).astype(np.float64)
        return ratio(((drawn @ nearest) > 0).sum(axis=1).astype(np.float64), drawn @ told_apart)

    return Statistic(of_weights, n_cells=len(distances), how=made_with(unit="perturbation"))


def _distances(responses: Responses, *, power: int) -> Floats:
    """Return the distance of each prediction to each truth of its group ``(n, n)``, infinite to the others.

    It is taken over the genes that the prediction is scored on.
    """
    found = np.full((len(responses.truth), len(responses.truth)), np.inf)
    rows = zip(found, responses.alike(), responses.predicted, responses.scored, strict=True)
    for row, alike, predicted, genes in rows:
        row[alike] = (np.abs(responses.truth[alike][:, genes] - predicted[genes]) ** power).sum(axis=1) ** (1 / power)
    return found


def _nearer(distances: Floats, responses: Responses) -> Floats:
    """Return how many other truths of the group are nearer than the right one, ties half ``(n_conditions,)``."""
    others = responses.alike() & ~np.eye(len(distances), dtype=bool)
    right = np.diagonal(distances)[:, None]
    tied = np.isclose(distances, right, rtol=1e-9, atol=0.0)
    return np.asarray(((distances < right) & ~tied & others).sum(axis=1) + (tied & others).sum(axis=1) / 2)


def _candidates(sizes: NDArray[np.int64]) -> dict[str, int]:
    return {"fewest_candidates": int(sizes.min()), "most_candidates": int(sizes.max())}


def _spread(weights: Floats, values: Floats, *, members: list[NDArray[np.intp]]) -> Floats:
    """Return squared distances from the means of groups, summed over genes, for each resample ``(n_resamples,)``."""
    whole = weights @ (values**2).sum(axis=1)
    for rows in members:
        sums = weights[:, rows] @ values[rows]
        whole -= (sums**2).sum(axis=1) / np.maximum(weights[:, rows].sum(axis=1), 1.0)
    return np.where(whole > 1e-9 * len(values), whole, 0.0)

"""Perturbation: how near the predicted mean expression of a condition is to the true one.

Every metric takes :class:`~scfm_eval.metrics.responses.Responses` and is a mean over conditions; the perturbed genes
are left out of it. The sampled unit is the perturbation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics.metric import Statistic, metric
from scfm_eval.metrics.responses import RESOLUTION, Responses, mean_over_conditions, over_scored
from scfm_eval.metrics.weighted import Floats, ratio

_MOST_EXPRESSED = 1000


@metric(best=1.0, worst=-1.0, source="10.1038/s41592-024-02201-0")
def pearson_delta(responses: Responses) -> Statistic:
    """Correlation over genes of true and predicted change from control, mean over conditions.

    Parameters
    ----------
    responses
        True and predicted expression; the same real control is taken from both.

    Returns
    -------
    In [−1, 1]. A condition whose truth does not change is named and left out.

    Raises
    ------
    UndefinedMetricError
        A condition is predicted not to change, so that nothing can be correlated.
    """
    return _correlation(responses, reference=responses.control, name="the control")


@metric(best=1.0, worst=-1.0, source="10.1038/s41587-025-02777-8")
def pearson_delta_centroid(responses: Responses) -> Statistic:
    """Correlation over genes of true and predicted difference from the mean training perturbation (Systema).

    What all perturbations have in common is worth nothing here: a constant answer scores 0 where the mean is known
    without noise. From few training perturbations, its noise is in the truth and in the answer "no change" alike.

    Parameters
    ----------
    responses
        True and predicted expression. A condition without an answer, for which the mean of the training perturbations
        stands, counts 0.

    Returns
    -------
    In [−1, 1].

    Raises
    ------
    UndefinedMetricError
        The model's own answer is the mean of the training perturbations.
    """
    return _correlation(responses, reference=responses.centroid, name="the mean of the training perturbations")


@metric(best=0.0, worst=np.inf, source="10.1038/s41592-025-02772-6")
def mae(responses: Responses) -> Statistic:
    """Mean over genes of the absolute error of mean expression, mean over conditions; lower is better."""
    errors = np.abs(responses.truth - responses.predicted)
    return _mean(over_scored(errors, responses.scored), responses)


@metric(best=0.0, worst=np.inf, source="10.1038/s41592-025-02772-6")
def mse(responses: Responses) -> Statistic:
    """Mean over genes of the squared error of mean expression, mean over conditions; lower is better."""
    errors = (responses.truth - responses.predicted) ** 2
    return _mean(over_scored(errors, responses.scored), responses)


@metric(best=0.0, worst=np.inf, source="10.1038/s41592-025-02772-6")
def l2_top1000(responses: Responses) -> Statistic:
    """Euclidean distance of true and predicted expression of the 1,000 genes most expressed in control cells.

    The perturbed genes are left out of the 1,000. Lower is better.
    """
    order = np.argsort(-np.where(responses.scored, responses.control, -np.inf), axis=1, kind="stable")
    top = np.zeros_like(responses.scored)
    np.put_along_axis(top, order[:, :_MOST_EXPRESSED], values=True, axis=1)
    top &= responses.scored
    squares = np.where(top, (responses.truth - responses.predicted) ** 2, 0.0)
    return _mean(np.sqrt(squares.sum(axis=1)), responses, n_genes=int(top.sum(axis=1).max()))


@metric(best=1.0, worst=0.0, chance=0.5, source="10.1101/2025.06.26.661135")
def direction_match(responses: Responses, *, changed: NDArray[np.bool_]) -> Statistic:
    """Share of the truly changed genes that are predicted to change to the same side, mean over conditions.

    Parameters
    ----------
    responses
        True and predicted expression.
    changed
        Genes with a true difference from control cells ``(n_conditions, n_genes)``.

    Returns
    -------
    In [0, 1]; a gene that is predicted not to change counts one half. A condition without a truly changed gene is
    named and left out.
    """
    same = np.sign(responses.true_change) * np.sign(responses.predicted_change)
    values = over_scored((same + 1) / 2, responses.scored & changed)
    return mean_over_conditions(values, responses.conditions, left_out="no gene truly changed")


@metric(best=0.0, worst=1.0, source="scfm_eval")
def effect_size_error(responses: Responses) -> Statistic:
    """How far the size of the predicted change is from that of the true one, mean over conditions.

    Parameters
    ----------
    responses
        True and predicted expression.

    Returns
    -------
    In [0, 1]: one minus the smaller size over the larger one, so that a change twice as large as the truth and one half
    as large are equally wrong; no change gives 1. ``how`` holds the mean of :func:`effect_size_ratios`, which says on
    which side it errs. A condition whose truth does not change is named and left out.
    """
    ratios = effect_size_ratios(responses)
    how = {} if np.isnan(ratios).all() else {"mean_ratio": float(np.nanmean(ratios))}
    return mean_over_conditions(
        ratio_error(ratios), responses.conditions, left_out="the truth does not change", how=how
    )


def effect_size_ratios(responses: Responses) -> Floats:
    """Return the length of the predicted change over that of the true one ``(n_conditions,)``.

    1 is right, 0 is no change; nan where the truth does not change. Larger changes also score higher in discrimination.
    """
    predicted, true = (
        np.sqrt(over_scored(change**2, responses.scored))
        for change in (responses.predicted_change, responses.true_change)
    )
    return ratio(predicted, true)


def ratio_error(ratios: Floats) -> Floats:
    """Return ``1 − exp(−|log r|)`` of ratios ``r`` of at least 0: 0 where r is 1, the same for r and 1 / r, 1 for 0."""
    return np.asarray(1 - np.minimum(ratios, 1.0) / np.maximum(ratios, 1.0))


def _correlation(responses: Responses, *, reference: Floats, name: str) -> Statistic:
    true, _ = _centred(responses.truth - reference, responses.scored)
    predicted, flat = _centred(responses.predicted - reference, responses.scored)
    lengths = np.sqrt((true**2).sum(axis=1) * (predicted**2).sum(axis=1))
    values = np.where(flat, 0.0, ratio((true * predicted).sum(axis=1), np.where(flat, 1.0, lengths)))
    values[_flat(responses.truth - reference, responses.scored)] = np.nan
    return mean_over_conditions(
        np.clip(values, -1.0, 1.0),
        responses.conditions,
        undefined=flat & responses.answered,
        why=f"the prediction is {name}, so there is no difference to correlate",
        left_out=f"the truth is {name}",
        how={"reference": name},
    )


def _centred(difference: Floats, scored: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return differences from their mean over scored genes, 0 elsewhere, and which rows are flat."""
    centred = np.where(scored, difference - over_scored(difference, scored)[:, None], 0.0)
    return centred, _flat(difference, scored)


def _flat(difference: Floats, scored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    high = np.where(scored, difference, -np.inf).max(axis=1)
    low = np.where(scored, difference, np.inf).min(axis=1)
    return np.asarray(~(high - low > RESOLUTION))


def _mean(values: Floats, responses: Responses, **parameters: int) -> Statistic:
    return mean_over_conditions(values, responses.conditions, left_out="no gene is scored", how=parameters)

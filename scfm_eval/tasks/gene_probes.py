"""Logistic regression of many terms on the vectors of genes, all terms at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval import fits

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Values of C, strongest penalty first."""

_STOP = {"maxiter": 1000, "ftol": 1e-9, "gtol": 0.0}
_CURVATURE = 0.25


def stratified_folds(members: Masks, *, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each gene for each term, ``(n_genes, n_terms)``, with as many genes of the term in each.

    Parameters
    ----------
    members
        Whether each gene has each term ``(n_genes, n_terms)``; every term with ``n_folds`` genes or more.
    n_folds, seed
        Number of folds, and seed of the draw.
    """
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(members.shape, dtype=np.int64)
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for term, truth in enumerate(members.T):
        for number, (_, tested) in enumerate(splitter.split(truth, truth)):
            fold[tested, term] = number
    return fold


@dataclass(frozen=True)
class _Rotated:
    """Standardised vectors in the directions of their principal axes, which changes no ridge penalty."""

    scores: Floats
    curvature: Floats

    @classmethod
    def of(cls, vectors: Floats) -> _Rotated:
        there = np.isfinite(vectors).all(axis=1)
        known = vectors[there].astype(np.float64)
        spread = known.std(axis=0)
        # what does not vary tells nothing, and a gene without a vector stands at the mean of those that have one
        standardised = np.zeros(vectors.shape)
        standardised[there] = (known - known.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
        left, values, _ = np.linalg.svd(standardised, full_matrices=False)
        kept = values > 1e-8 * max(values.max(initial=0.0), 1e-300)
        ones = np.ones((len(vectors), 1))
        curvature = _CURVATURE * np.concatenate([values[kept] ** 2, [len(vectors)]])
        return cls(np.hstack([left[:, kept] * values[kept], ones]), curvature)


def out_of_fold(
    vectors: NDArray[np.floating[Any]], *, members: Masks, fold: NDArray[np.int64]
) -> tuple[Floats, list[float]]:
    """Return the log odds of each gene for each term by a regression that was fitted without its fold.

    L2 logistic regression on standardised vectors; C is one of ``PENALTIES``, the same for all terms, by the log loss
    on the fold after the tested one of what was fitted on the other folds. Standardising uses all genes, and no term.

    Parameters
    ----------
    vectors
        ``(n_genes, d)``; NaN in the rows of genes that have none: they stand at the mean.
    members
        Whether each gene has each term ``(n_genes, n_terms)``.
    fold
        Fold of each gene for each term ``(n_genes, n_terms)``, from 0.

    Returns
    -------
    Log odds ``(n_genes, n_terms)``, and the C that was chosen in each fold.
    """
    inputs = _Rotated.of(np.asarray(vectors, dtype=np.float64))
    n_folds = int(fold.max()) + 1
    found, chosen = np.empty(members.shape), []
    pairs = fits.Rows(members.ravel(), np.arange(members.size), of="pairs of a gene and a term")
    for tested in range(n_folds):
        held_out, judged = fold == tested, fold == (tested + 1) % n_folds
        training = pairs[~held_out.ravel()]
        choice = fits.fitted("the choice of C", training, partial(_choice, inputs, members, judged))
        weights = fits.fitted("the probe of genes", training, partial(_probe, inputs, members, choice.made))
        odds = (inputs.scores @ weights.made)[held_out]
        said = replace(pairs[held_out.ravel()], values=odds, fits=fits.together(choice.fits, weights.fits))
        chosen.append(choice.made)
        found[held_out] = fits.unseen(said)
    return found, chosen


def _choice(inputs: _Rotated, members: Masks, judged: Masks, training: fits.Rows) -> float:
    """Return the penalty of least loss on the genes in ``judged`` of what was fitted on the other training genes."""
    known = _mask(training, members.shape)
    losses, start = [], None
    for penalty in PENALTIES:
        start = fitted(inputs, members, seen=known & ~judged, penalty=penalty, start=start)
        losses.append(_log_loss(inputs.scores @ start, members)[known & judged].mean())
    return PENALTIES[int(np.argmin(losses))]


def _probe(inputs: _Rotated, members: Masks, penalty: float, training: fits.Rows) -> Floats:
    return fitted(inputs, members, seen=_mask(training, members.shape), penalty=penalty, start=None)


def _mask(rows: fits.Rows, shape: tuple[int, ...]) -> Masks:
    mask = np.zeros(shape, dtype=bool)
    mask.flat[rows.ids] = True
    return mask


def fitted(inputs: _Rotated, members: Masks, *, seen: Masks, penalty: float, start: Floats | None) -> Floats:
    """Return the weights ``(n_inputs + 1, n_terms)`` of least penalised log loss on the genes in ``seen``.

    The intercept is the last, and is not penalised; each term has a problem of its own.
    """
    from scipy.optimize import minimize

    ridge = np.full((inputs.scores.shape[1], 1), 1 / penalty)
    ridge[-1] = 0.0
    # in these units every direction is about as steep as every other one
    unit = 1 / np.sqrt(inputs.curvature[:, None] + ridge)
    shape = (len(ridge), members.shape[1])
    truth, counted = members.astype(np.float64), seen.astype(np.float64)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape) * unit
        odds = inputs.scores @ weights
        wrong = (_sigmoid(odds) - truth) * counted
        value = (_log_loss(odds, members) * counted).sum() + (ridge * weights**2).sum() / 2
        gradient = (inputs.scores.T @ wrong + ridge * weights) * unit
        return float(value), gradient.ravel()

    begin = np.zeros(shape) if start is None else start / unit
    with threadpool_limits(1):
        best = minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B", options=_STOP)
    weights: Floats = best.x.reshape(shape) * unit
    return weights


def _log_loss(odds: Floats, members: Masks) -> Floats:
    return np.asarray(np.logaddexp(0, odds) - members * odds)


def _sigmoid(odds: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(odds))

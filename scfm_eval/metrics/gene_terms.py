"""Gene terms: whether the genes of a term rank above other genes, mean over terms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import InapplicableMetricError, Statistic, metric
from scfm_eval.metrics.weighted import weighted_mean

Floats = NDArray[np.float64]


@metric(best=1.0, worst=0.0, source="10.1371/journal.pone.0118432")
def term_auprc(scores: ArrayLike, *, members: ArrayLike, fold: ArrayLike) -> Statistic:
    """Average precision of the genes of a term among the test genes of a fold, mean over folds and then over terms.

    Scores of different folds come from different fits and are never ranked together.

    Parameters
    ----------
    scores
        Score of each gene for each term when its fold was held out, ``(n_genes, n_terms)``.
    members
        Whether each gene has each term ``(n_genes, n_terms)``.
    fold
        Fold in which each gene is tested for each term ``(n_genes, n_terms)``.

    Returns
    -------
    In (0, 1]; equal scores enter together. Resamples draw terms.

    Raises
    ------
    InapplicableMetricError
        There is no term.
    InvalidInputError
        The shapes differ, a score is not finite, or a fold of a term has one kind of genes only.
    """
    from sklearn.metrics import average_precision_score

    return _mean_over_terms(_by_term(scores, average_precision_score, members=members, fold=fold))


@metric(best=1.0, worst=0.0, chance=0.5, source="10.1148/radiology.143.1.7063747")
def term_auroc(scores: ArrayLike, *, members: ArrayLike, fold: ArrayLike) -> Statistic:
    """Probability that a gene of a term scores higher than another gene of its fold; as :func:`term_auprc`."""
    from sklearn.metrics import roc_auc_score

    return _mean_over_terms(_by_term(scores, roc_auc_score, members=members, fold=fold))


def _by_term(
    scores: ArrayLike, of_fold: Callable[[NDArray[np.bool_], Floats], float], *, members: ArrayLike, fold: ArrayLike
) -> Floats:
    """Return what ``of_fold`` gives of truth and scores, mean over the folds of each term ``(n_terms,)``."""
    values, truth, folds = _checked(scores, members, fold)
    found = [
        np.mean([of_fold(truth[tested, term], values[tested, term]) for tested in _tested(folds[:, term])])
        for term in range(values.shape[1])
    ]
    return np.array(found, dtype=np.float64)


def chance_auprc(*, members: ArrayLike, fold: ArrayLike) -> float:
    """Return the mean of :func:`term_auprc` over all orders of the genes, exactly."""

    def expected(truth: NDArray[np.bool_], scores: Floats) -> float:
        del scores
        return expected_average_precision(n_positive=int(truth.sum()), n=len(truth))

    return float(_by_term(np.zeros(np.shape(members)), expected, members=members, fold=fold).mean())


def expected_average_precision(*, n_positive: int, n: int) -> float:
    """Return the mean average precision over all orders of ``n`` genes of which ``n_positive`` (1 or more) are right.

    It is above the share of positives, and far above it where ``n`` is small.

    References
    ----------
    doi:10.1162/COLI_a_00225
    """
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    others = (n_positive - 1) / (n - 1) if n > 1 else 0.0
    return (others * (n - harmonic) + harmonic) / n


def _mean_over_terms(values: Floats) -> Statistic:
    if not len(values):
        raise InapplicableMetricError("no term")
    how = made_with("scikit-learn", n_terms=len(values)) | {"unit of resampling": "term"}
    return Statistic(lambda weights: weighted_mean(weights, values), n_cells=len(values), how=how)


def _tested(folds: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(folds == each) for each in np.unique(folds)]


def _checked(
    scores: ArrayLike, members: ArrayLike, fold: ArrayLike
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(members, dtype=bool)
    folds = np.asarray(fold, dtype=np.int64)
    found = f"shapes {values.shape}, {truth.shape} and {folds.shape}"
    fits = values.ndim == 2 and values.shape == truth.shape == folds.shape
    if fits and not np.isfinite(values).all():
        fits, found = False, f"{int((~np.isfinite(values)).sum())} scores that are not finite"
    if fits:
        mixed = [
            0 < truth[tested, term].sum() < len(tested)
            for term in range(values.shape[1])
            for tested in _tested(folds[:, term])
        ]
        fits, found = all(mixed), f"{mixed.count(False)} folds with genes of one kind only"
    if not fits:
        raise InvalidInputError(
            asked="a score, a truth and a fold for each gene and term",
            found=found,
            remedy="pass arrays (n_genes, n_terms), both kinds of genes in each fold of a term",
        )
    return values, truth, folds

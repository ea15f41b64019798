"""Annotation: how well predicted cell types agree with the true ones."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, group_sums, mean_defined, ratio, weighted_mean

Codes = NDArray[np.int64]


class ClassScores(TypedDict):
    """Scores of one class; ``None`` where the denominator is zero."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@metric(best=1.0, worst=0.0, source="10.1016/j.ipm.2009.03.002")
def accuracy(truth: ArrayLike, predicted: ArrayLike, *, classes: ArrayLike) -> Statistic:
    """Share of cells with the right class.

    Parameters
    ----------
    truth
        True class of each cell ``(n_cells,)``.
    predicted
        Predicted class of each cell ``(n_cells,)``.
    classes
        All classes that may occur, those never predicted too.

    Returns
    -------
    In [0, 1].

    Raises
    ------
    InvalidInputError
        A class is not among ``classes``.
    """
    true_codes, predicted_codes, names = _coded(truth, predicted, classes)
    correct = true_codes == predicted_codes

    def of_weights(weights: Floats) -> Floats:
        return weighted_mean(weights, correct)

    return Statistic(of_weights, n_cells=len(correct), how=made_with(n_classes=len(names)))


@metric(best=1.0, worst=0.0, source="10.1109/ICPR.2010.764")
def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, *, classes: ArrayLike) -> Statistic:
    """Mean over the classes that have true cells of the share of these that is recognised.

    Parameters
    ----------
    truth
        True class of each cell ``(n_cells,)``.
    predicted
        Predicted class of each cell ``(n_cells,)``.
    classes
        All classes that may occur, those never predicted too.

    Returns
    -------
    In [0, 1]. A class without a true cell in a resample leaves the mean of that resample.

    Raises
    ------
    InvalidInputError
        A class is not among ``classes``.
    """
    true_codes, predicted_codes, names = _coded(truth, predicted, classes)

    def of_weights(weights: Floats) -> Floats:
        hits, support, _ = _class_sums(weights, true_codes, predicted_codes, n_classes=len(names))
        return mean_defined(ratio(hits, support))

    return Statistic(of_weights, n_cells=len(true_codes), how=_how_by_class(true_codes, names))


@metric(best=1.0, worst=0.0, source="10.1016/j.ipm.2009.03.002")
def macro_f1(truth: ArrayLike, predicted: ArrayLike, *, classes: ArrayLike) -> Statistic:
    """Mean of F1 over the classes that have true cells.

    Parameters
    ----------
    truth
        True class of each cell ``(n_cells,)``.
    predicted
        Predicted class of each cell ``(n_cells,)``.
    classes
        All classes that may occur, those never predicted too.

    Returns
    -------
    In [0, 1]. A class that has true cells and is never predicted counts with F1 = 0; a class without true cells is no
    member of the mean, but cells predicted to be of it are lost to their own. A class without a true cell in a resample
    leaves the mean of that resample.

    Raises
    ------
    InvalidInputError
        A class is not among ``classes``.
    """
    true_codes, predicted_codes, names = _coded(truth, predicted, classes)

    def of_weights(weights: Floats) -> Floats:
        hits, support, called = _class_sums(weights, true_codes, predicted_codes, n_classes=len(names))
        return mean_defined(np.where(support > 0, ratio(2 * hits, support + called), np.nan))

    return Statistic(of_weights, n_cells=len(true_codes), how=_how_by_class(true_codes, names))


@metric(best=0.0, worst=np.inf, source="10.1198/016214506000001437")
def log_loss(truth: ArrayLike, *, probabilities: ArrayLike, classes: ArrayLike) -> Statistic:
    """Mean of −log of the probability given to the true class, in nats.

    Parameters
    ----------
    truth
        True class of each cell ``(n_cells,)``.
    probabilities
        ``(n_cells, n_classes)``, rows sum to 1.
    classes
        Class of each column.

    Returns
    -------
    At least 0, lower is better. A probability of 0 counts as 2.2e-16, so that one cell costs at most 36 nats.

    Raises
    ------
    InvalidInputError
        ``probabilities`` are none, or do not fit ``classes``.
    UndefinedMetricError
        A true class has no column.
    """
    shares, codes, names = _probabilities(truth, probabilities, classes)
    if (codes < 0).any():
        missing = np.unique(np.asarray(truth).astype(str)[codes < 0])
        raise UndefinedMetricError(f"no probability was given for the true classes {', '.join(missing)}")
    smallest = float(np.finfo(np.float64).eps)
    losses = -np.log(np.maximum(shares[np.arange(len(codes)), codes], smallest))

    def of_weights(weights: Floats) -> Floats:
        return weighted_mean(weights, losses)

    return Statistic(of_weights, n_cells=len(codes), how=made_with(n_classes=len(names), smallest=smallest))


@metric(best=0.0, worst=1.0, source="10.48550/arXiv.1706.04599")
def expected_calibration_error(
    truth: ArrayLike, *, probabilities: ArrayLike, classes: ArrayLike, n_bins: int = 15
) -> Statistic:
    """Mean distance between confidence and accuracy of the top label, over bins of confidence.

    Parameters
    ----------
    truth
        True class of each cell ``(n_cells,)``; a class without a column is never right.
    probabilities
        ``(n_cells, n_classes)``, rows sum to 1.
    classes
        Class of each column.
    n_bins
        Number of bins of equal width, each with its upper end.

    Returns
    -------
    ``Σ n_bin / n · |accuracy − confidence|`` in [0, 1], lower is better.

    Raises
    ------
    InvalidInputError
        ``probabilities`` are none, or do not fit ``classes``.
    """
    shares, codes, _ = _probabilities(truth, probabilities, classes)
    confidence = shares.max(axis=1)
    excess = (shares.argmax(axis=1) == codes) - confidence
    bins = np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], confidence, side="left")

    def of_weights(weights: Floats) -> Floats:
        gaps = np.abs(group_sums(weights, bins, n_groups=n_bins, values=excess))
        return ratio(gaps.sum(axis=1), weights.sum(axis=1))

    return Statistic(of_weights, n_cells=len(codes), how=made_with(n_bins=n_bins, label="top"))


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, *, classes: ArrayLike) -> NDArray[np.int64]:
    """Return the number of cells by true class (rows) and predicted class (columns), in the order of ``classes``."""
    true_codes, predicted_codes, names = _coded(truth, predicted, classes)
    n_classes = len(names)
    counts = np.bincount(true_codes * n_classes + predicted_codes, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def per_class(truth: ArrayLike, predicted: ArrayLike, *, classes: ArrayLike) -> dict[str, ClassScores]:
    """Return precision, recall, F1 and support of every class, in the order of ``classes``.

    ``None`` is undefined: precision of a class that was never predicted, recall of one without true cells, F1 of one
    with neither.
    """
    counts = confusion_matrix(truth, predicted, classes=classes)
    names = np.asarray(classes).astype(str)
    return {
        str(name): ClassScores(
            precision=_share(int(counts[i, i]), int(counts[:, i].sum())),
            recall=_share(int(counts[i, i]), int(counts[i].sum())),
            f1=_share(2 * int(counts[i, i]), int(counts[i].sum() + counts[:, i].sum())),
            support=int(counts[i].sum()),
        )
        for i, name in enumerate(names)
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _class_sums(weights: Floats, truth: Codes, predicted: Codes, *, n_classes: int) -> tuple[Floats, Floats, Floats]:
    """Return hits, true cells and predicted cells of each class, ``(n_resamples, n_classes)`` each."""
    hits = np.where(truth == predicted, truth, -1)
    summed = [group_sums(weights, codes, n_groups=n_classes) for codes in (hits, truth, predicted)]
    return summed[0], summed[1], summed[2]


def _how_by_class(truth: Codes, names: NDArray[np.str_]) -> dict[str, object]:
    absent = np.setdiff1d(np.arange(len(names)), truth)
    return made_with("scipy", n_classes=len(names) - len(absent), classes_without_cells=names[absent].tolist())


def _coded(truth: ArrayLike, predicted: ArrayLike, classes: ArrayLike) -> tuple[Codes, Codes, NDArray[np.str_]]:
    names = np.asarray(classes).astype(str)
    true_codes, predicted_codes = _codes(truth, names), _codes(predicted, names)
    if true_codes.shape != predicted_codes.shape or true_codes.ndim != 1 or not true_codes.size:
        raise InvalidInputError(
            asked="one true and one predicted class per cell",
            found=f"shapes {true_codes.shape} and {predicted_codes.shape}",
            remedy="pass two arrays of the same cells",
        )
    for given, codes in ((truth, true_codes), (predicted, predicted_codes)):
        if (codes < 0).any():
            strange = np.unique(np.asarray(given).astype(str)[codes < 0])
            raise InvalidInputError(
                asked=f"labels among {len(names)} classes", found=", ".join(strange), remedy="name them in `classes`"
            )
    return true_codes, predicted_codes, names


def _codes(labels: ArrayLike, names: NDArray[np.str_]) -> Codes:
    """Return the position of each label in ``names``, −1 where it is not there."""
    if len(np.unique(names)) < len(names):
        raise InvalidInputError(asked="classes", found="a class twice", remedy="name each class once")
    order = np.argsort(names)
    given = np.asarray(labels).astype(str)
    found = order[np.minimum(np.searchsorted(names, given, sorter=order), len(names) - 1)]
    return np.where(names[found] == given, found, -1).astype(np.int64)


def _probabilities(
    truth: ArrayLike, probabilities: ArrayLike, classes: ArrayLike
) -> tuple[Floats, Codes, NDArray[np.str_]]:
    names, shares = np.asarray(classes).astype(str), np.asarray(probabilities, dtype=np.float64)
    codes = _codes(truth, names)
    if shares.shape != (len(codes), len(names)) or not len(codes):
        raise InvalidInputError(
            asked=f"probabilities ({len(codes)}, {len(names)})",
            found=f"shape {shares.shape}",
            remedy="pass one row per cell and one column per class",
        )
    if not ((shares >= 0) & (shares <= 1 + 1e-6)).all() or np.abs(shares.sum(axis=1) - 1).max() > 1e-4:
        raise InvalidInputError(
            asked="probabilities in [0, 1] whose rows sum to 1", found="others", remedy="apply a softmax to scores"
        )
    return shares, codes, names

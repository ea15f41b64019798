"""Probes: small classifiers of one kind for all models, fitted on training cells only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.datasets.splits import folds

Probe = Callable[..., tuple[NDArray[np.str_], NDArray[np.float64]]]
"""Fits on training cells and returns classes, and their probabilities for the test cells."""

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_INNER_FOLDS = 3


def logistic_regression(
    train: NDArray[Any], labels: NDArray[np.str_], test: NDArray[Any], *, donors: NDArray[Any] | None, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """L2 logistic regression on standardised inputs; C of 0.001 to 10 by the log loss of an inner 3-fold split.

    Parameters
    ----------
    train, test
        Embeddings ``(n, d)``.
    labels
        Labels of the training cells.
    donors
        Donors of the training cells, kept on one side of every inner split; ``None`` where there are none.
    seed
        Seed of the inner split.

    Returns
    -------
    Classes ``(C,)`` and their probabilities ``(n_test, C)``.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    inner = folds(labels, donors=donors, n_folds=_INNER_FOLDS, seed=seed).fold
    losses = np.zeros(len(_PENALTIES))
    for fold in np.unique(inner):
        seen = inner != fold
        if len(np.unique(codes[seen])) < 2:
            continue
        for i, fitted in enumerate(_path(train[seen], codes[seen])):
            losses[i] += _log_loss(fitted(train[~seen]), codes[~seen], n_classes=len(classes))
    best = int(np.argmin(losses))
    *_, fitted = _path(train, codes, penalties=_PENALTIES[: best + 1])
    return classes, fitted(test)[1]


def nearest_neighbors(
    train: NDArray[Any], labels: NDArray[np.str_], test: NDArray[Any], *, donors: NDArray[Any] | None, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Vote of the 10 nearest training cells by cosine distance; parameters as :func:`logistic_regression`."""
    from sklearn.neighbors import KNeighborsClassifier

    del donors, seed
    model = KNeighborsClassifier(n_neighbors=min(10, len(train)), metric="cosine", algorithm="brute").fit(train, labels)
    return model.classes_, model.predict_proba(test)


def boosted_trees(
    train: NDArray[Any], labels: NDArray[np.str_], test: NDArray[Any], *, donors: NDArray[Any] | None, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """XGBoost (hist with 64 bins, 400 trees, depth 6, learning rate 0.05); parameters as :func:`logistic_regression`.

    With a few thousand cells, 64 quantiles of a feature lose nothing, and cost a third of XGBoost's 256.
    """
    from xgboost import XGBClassifier

    del donors
    classes, codes = np.unique(labels, return_inverse=True)
    model = XGBClassifier(
        n_estimators=400, max_depth=6, learning_rate=0.05, tree_method="hist", max_bin=64, n_jobs=1, random_state=seed
    ).fit(train, codes)
    return classes, model.predict_proba(test).astype(np.float64)


def _path(
    train: NDArray[Any], codes: NDArray[np.intp], *, penalties: tuple[float, ...] = _PENALTIES
) -> list[Callable[[NDArray[Any]], tuple[NDArray[np.intp], NDArray[np.float64]]]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    model = LogisticRegression(warm_start=True, max_iter=500, tol=1e-4)
    fitted = []
    for penalty in penalties:
        with warnings.catch_warnings():
            # the loss is flat where lbfgs stops early; the inner split judges the result all the same
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=penalty).fit(scaled, codes)
        fitted.append(_frozen(scaler, model))
    return fitted


def _frozen(scaler: Any, model: Any) -> Callable[[NDArray[Any]], tuple[NDArray[np.intp], NDArray[np.float64]]]:
    from scipy.special import expit, softmax

    coefficients, intercept, classes = model.coef_.copy(), model.intercept_.copy(), model.classes_.copy()

    def predict(cells: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        scores = scaler.transform(cells) @ coefficients.T + intercept
        if len(classes) == 2:
            positive = expit(scores[:, 0])
            return classes, np.column_stack([1 - positive, positive])
        return classes, softmax(scores, axis=1)

    return predict


def _log_loss(
    predicted: tuple[NDArray[np.intp], NDArray[np.float64]], codes: NDArray[np.intp], *, n_classes: int
) -> float:
    classes, probabilities = predicted
    everywhere = np.full((len(codes), n_classes), 1e-15)
    everywhere[:, classes] = np.maximum(probabilities, 1e-15)
    return float(-np.log(everywhere[np.arange(len(codes)), codes]).sum())

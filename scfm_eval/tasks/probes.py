"""Probes: small classifiers of one kind for all models, fitted on training cells only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.datasets.splits import folds
from scfm_eval.fits import Fit, Fitted, Rows, fitted

Probe = Callable[..., tuple[NDArray[np.str_], Rows]]
"""Fits on training cells and returns classes, and their probabilities for the test cells."""

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_INNER_FOLDS = 3


def logistic_regression(train: Rows, test: Rows, *, seed: int) -> tuple[NDArray[np.str_], Rows]:
    """L2 logistic regression on standardised inputs; C of 0.001 to 10 by the log loss of an inner 3-fold split.

    Parameters
    ----------
    train, test
        Embeddings ``(n, d)``. Donors of the training cells, where there are any, are kept on one side of every inner
        split.
    seed
        Seed of the inner split.

    Returns
    -------
    Classes ``(C,)`` and their probabilities ``(n_test, C)``.
    """
    classes, codes = np.unique(train.known_labels, return_inverse=True)
    coded = train.labelled(codes)
    inner = folds(train.known_labels, donors=train.donors, n_folds=_INNER_FOLDS, seed=seed).fold
    losses, chosen_by = np.zeros(len(_PENALTIES)), list[Fit]()
    for fold in np.unique(inner):
        seen, held = coded[inner != fold], coded[inner == fold]
        if len(np.unique(seen.known_labels)) < 2:
            continue
        for i, fit in enumerate(_path(seen)):
            judged = fitted("the choice of C", fit.on(held, fit.made.probabilities), fit.made.log_loss(len(classes)))
            losses[i] += judged.made
            chosen_by += judged.fits
    best = int(np.argmin(losses))
    *_, fit = _path(coded, penalties=_PENALTIES[: best + 1])
    return classes, fit.on(test, fit.made.probabilities).resting_on(chosen_by)


def nearest_neighbors(train: Rows, test: Rows, *, seed: int) -> tuple[NDArray[np.str_], Rows]:
    """Vote of the 10 nearest training cells by cosine distance; parameters as :func:`logistic_regression`."""
    from sklearn.neighbors import KNeighborsClassifier

    del seed
    model = KNeighborsClassifier(n_neighbors=min(10, len(train)), metric="cosine", algorithm="brute")
    fit = fitted("the probe by nearest neighbours", train, lambda rows: model.fit(rows.values, rows.known_labels))
    return model.classes_, fit.on(test, model.predict_proba)


def boosted_trees(train: Rows, test: Rows, *, seed: int) -> tuple[NDArray[np.str_], Rows]:
    """XGBoost (hist with 64 bins, 400 trees, depth 6, learning rate 0.05); parameters as :func:`logistic_regression`.

    With a few thousand cells, 64 quantiles of a feature lose nothing, and cost a third of XGBoost's 256.
    """
    from xgboost import XGBClassifier

    classes, codes = np.unique(train.known_labels, return_inverse=True)
    model = XGBClassifier(
        n_estimators=400, max_depth=6, learning_rate=0.05, tree_method="hist", max_bin=64, n_jobs=1, random_state=seed
    )
    coded = train.labelled(codes)
    fit = fitted("the probe by boosted trees", coded, lambda rows: model.fit(rows.values, rows.known_labels))
    return classes, fit.on(test, lambda values: model.predict_proba(values).astype(np.float64))


@dataclass(frozen=True, eq=False)
class _Linear:
    """A fitted regression; ``classes`` are the codes ``(C,)`` that it has seen."""

    scaler: Any
    coefficients: NDArray[np.float64]
    intercept: NDArray[np.float64]
    classes: NDArray[np.intp]

    def probabilities(self, cells: NDArray[Any]) -> NDArray[np.float64]:
        from scipy.special import expit, softmax

        scores = self.scaler.transform(cells) @ self.coefficients.T + self.intercept
        if len(self.classes) == 2:
            positive = expit(scores[:, 0])
            return np.column_stack([1 - positive, positive])
        return np.asarray(softmax(scores, axis=1))

    def log_loss(self, n_classes: int) -> Callable[[Rows], float]:
        """Return what judges probabilities of rows that are labelled with codes."""

        def of(said: Rows) -> float:
            everywhere = np.full((len(said), n_classes), 1e-15)
            everywhere[:, self.classes] = np.maximum(said.values, 1e-15)
            return float(-np.log(everywhere[np.arange(len(said)), said.known_labels]).sum())

        return of


def _path(train: Rows, *, penalties: tuple[float, ...] = _PENALTIES) -> list[Fitted[_Linear]]:
    """Fit one regression for each penalty on rows that are labelled with codes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaling = fitted("the scaling of a probe", train, lambda rows: StandardScaler().fit(rows.values))
    scaled = scaling.on(train, scaling.made.transform)
    model = LogisticRegression(warm_start=True, max_iter=500, tol=1e-4)

    def fit(rows: Rows) -> _Linear:
        model.fit(rows.values, rows.known_labels)
        return _Linear(scaling.made, model.coef_.copy(), model.intercept_.copy(), model.classes_.copy())

    path = []
    for penalty in penalties:
        model.set_params(C=penalty)
        with warnings.catch_warnings():
            # the loss is flat where lbfgs stops early; the inner split judges the result all the same
            warnings.simplefilter("ignore", ConvergenceWarning)
            path.append(fitted("the probe by logistic regression", scaled, fit))
    return path

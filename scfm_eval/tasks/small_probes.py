"""Probes without anything to choose, for a handful of cells or for many fits: fixed penalty, and class centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.fits import Rows, fitted, unseen

PENALTY = 0.1
"""C of the logistic regression: with standardised inputs, values from 0.01 to 10 give the same to 0.03."""


def standardised(embedding: Rows, *, by: NDArray[np.bool_]) -> Rows:
    """Return ``embedding`` ``(n_cells, d)`` with mean 0 and variance 1 over the cells in ``by`` ``(n_cells,)``."""
    from sklearn.preprocessing import StandardScaler

    scaling = fitted(
        "the scaling of a probe", embedding[by], lambda rows: StandardScaler().fit(rows.values.astype(np.float64))
    )
    return scaling.on(embedding, scaling.made.transform)


def logistic_regression(train: Rows, test: Rows) -> tuple[NDArray[np.str_], Rows]:
    """L2 logistic regression with ``C = PENALTY`` on inputs as they are given.

    Parameters
    ----------
    train, test
        Standardised embeddings ``(n, d)``; where all training cells have one label, every test cell gets it.

    Returns
    -------
    Classes ``(C,)`` and their probabilities ``(n_test, C)``.
    """
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(train.known_labels)
    if len(classes) == 1:
        only = fitted("the only label", train, lambda rows: rows.known_labels[0])
        return classes, only.on(test, lambda values: np.ones((len(values), 1)))
    model = LogisticRegression(C=PENALTY, max_iter=1000)
    fit = fitted("the probe by logistic regression", train, lambda rows: model.fit(rows.values, rows.known_labels))
    return classes, fit.on(test, model.predict_proba)


def centroid_similarity(train: Rows, test: Rows) -> tuple[NDArray[np.str_], Rows]:
    """Cosine similarity of test cells with the mean of each class; parameters as :func:`logistic_regression`.

    Returns
    -------
    Classes ``(C,)`` and similarities ``(n_test, C)`` in [−1, 1]; 0 where a cell or a mean is the zero vector.
    """
    classes, codes = np.unique(train.known_labels, return_inverse=True)
    sums = fitted("the means of the classes", train, lambda rows: np.eye(len(classes))[codes].T @ rows.values)
    return classes, sums.on(test, lambda values: _directions(values) @ _directions(sums.made).T)


def nearest(found: tuple[NDArray[np.str_], Rows]) -> NDArray[np.str_]:
    """Return the class of the largest value of each row, the first of several; raises as :func:`.unseen`."""
    classes, said = found
    best: NDArray[np.str_] = classes[unseen(said).argmax(axis=1)]
    return best


def _directions(vectors: NDArray[Any]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    directions: NDArray[np.float64] = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    return directions

"""Probes without anything to choose, for a handful of cells or for many fits: fixed penalty, and class centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PENALTY = 0.1
"""C of the logistic regression: with standardised inputs, values from 0.01 to 10 give the same to 0.03."""


def standardised(embedding: NDArray[Any], *, by: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return ``embedding`` ``(n_cells, d)`` with mean 0 and variance 1 over the cells in ``by`` ``(n_cells,)``."""
    from sklearn.preprocessing import StandardScaler

    scaled: NDArray[np.float64] = StandardScaler().fit(embedding[by].astype(np.float64)).transform(embedding)
    return scaled


def logistic_regression(
    train: NDArray[Any], labels: NDArray[np.str_], test: NDArray[Any]
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """L2 logistic regression with ``C = PENALTY`` on inputs as they are given.

    Parameters
    ----------
    train, test
        Standardised embeddings ``(n, d)``.
    labels
        Labels of the training cells; with a single one, every test cell gets it.

    Returns
    -------
    Classes ``(C,)`` and their probabilities ``(n_test, C)``.
    """
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(labels)
    if len(classes) == 1:
        return classes, np.ones((len(test), 1))
    model = LogisticRegression(C=PENALTY, max_iter=1000).fit(train, labels)
    return classes, model.predict_proba(test)


def centroid_similarity(
    train: NDArray[Any], labels: NDArray[np.str_], test: NDArray[Any]
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Cosine similarity of test cells with the mean of each class; parameters as :func:`logistic_regression`.

    Returns
    -------
    Classes ``(C,)`` and similarities ``(n_test, C)`` in [−1, 1]; 0 where a cell or a mean is the zero vector.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    sums = np.eye(len(classes))[codes].T @ train
    return classes, _directions(test) @ _directions(sums).T


def nearest(found: tuple[NDArray[np.str_], NDArray[np.float64]]) -> NDArray[np.str_]:
    """Return the class of the largest value of each row; the first of several."""
    classes, values = found
    best: NDArray[np.str_] = classes[values.argmax(axis=1)]
    return best


def _directions(vectors: NDArray[Any]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    directions: NDArray[np.float64] = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    return directions

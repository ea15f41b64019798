"""How far terms of an ontology are from each other for a random walker who returns home often."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.weighted import Floats
from scfm_eval.ontology import Ontology

RESTART = 0.7
N_DIMENSIONS = 256
_TOLERANCE, _MAX_STEPS = 1e-4, 49
_SMALL = 1000


def walk_distances(
    ontology: Ontology,
    terms: Sequence[str],
    *,
    n_dimensions: int = N_DIMENSIONS,
    text_vectors: ArrayLike | None = None,
) -> Floats:
    """Return Euclidean distances between terms after diffusion component analysis of a walk along is_a edges.

    Parameters
    ----------
    ontology
        The ontology; its edges are walked in both directions.
    terms
        Terms in use there, ``n``.
    n_dimensions
        Components kept, at most one fewer than there are terms in the ontology.
    text_vectors
        Vectors of the terms' descriptions ``(n_terms, d)`` in the order of ``ontology.terms``. An edge then weighs
        ``(1 + cosine) / 2``; without them it weighs 1.

    Returns
    -------
    ``(n, n)``; symmetric, 0 on the diagonal.

    Raises
    ------
    InvalidInputError
        A term is not in the ontology, or ``text_vectors`` do not fit.
    """
    unknown = [term for term in terms if term not in ontology.position]
    if unknown:
        raise InvalidInputError(
            asked=f"terms of {ontology.release}", found=", ".join(unknown[:3]), remedy="map labels with map_labels"
        )
    if text_vectors is None:
        coordinates = _plain_coordinates(ontology, n_dimensions)
    else:
        edges = _similar_edges(ontology, np.asarray(text_vectors, dtype=np.float64))
        coordinates = _coordinates(edges, n_dimensions=n_dimensions)
    rows = coordinates[[ontology.position[term] for term in terms]]
    return np.asarray(cdist(rows, rows))


def visits(edges: sparse.csr_array) -> Floats:
    """Return how often a walker from each node (row) is at each node, ``(n, n)``, rows sum to 1.

    At each step it starts anew with probability 0.7, else it follows an edge by weight; iterated until the change has
    a Frobenius norm below 1e-4, at most 49 times.
    """
    n = edges.shape[0]
    degree = np.asarray(edges.sum(axis=1)).ravel()
    alone = sparse.diags_array((degree == 0).astype(np.float64))
    steps = (sparse.diags_array(1 / np.where(degree > 0, degree, 1.0)) @ edges + alone).tocsr()
    found = np.eye(n)
    for _ in range(_MAX_STEPS):
        # powers of one matrix commute, so the walk may be continued from the left, which keeps rows together
        following = steps @ found
        following *= 1 - RESTART
        following[np.diag_indices(n)] += RESTART
        found -= following
        change = float(np.linalg.norm(found))
        found = following
        if change < _TOLERANCE:
            break
    return found


@lru_cache(maxsize=4)
def _plain_coordinates(ontology: Ontology, n_dimensions: int) -> Floats:
    return _coordinates(ontology.neighbors(), n_dimensions=n_dimensions)


def _coordinates(edges: sparse.csr_array, *, n_dimensions: int) -> Floats:
    """Return the diffusion components ``U √S`` of ``log(Q + 1/n²) − log(1/n²)``, ``(n, n_dimensions)``."""
    n = edges.shape[0]
    logs = np.log(visits(edges) + 1 / n**2) - np.log(1 / n**2)
    width = min(n_dimensions, n - 1)
    if n <= _SMALL:
        left, values, _ = np.linalg.svd(logs)
    else:
        # left singular vectors of L are eigenvectors of L Lᵀ, which is twice as fast where the largest are enough;
        # its many small steps are ten times slower when BLAS threads wait for each other
        with threadpool_limits(1):
            squares, left = eigsh(logs @ logs.T, k=width, v0=np.ones(n))
        values = np.sqrt(squares)
    largest: NDArray[np.intp] = np.argsort(-values)[:width]
    return np.asarray(left[:, largest] * np.sqrt(values[largest]))


def _similar_edges(ontology: Ontology, vectors: Floats) -> sparse.csr_array:
    lengths = np.linalg.norm(vectors, axis=1) if vectors.ndim == 2 else np.zeros(1)
    if vectors.shape[0] != len(ontology.terms) or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InvalidInputError(
            asked=f"text vectors of {len(ontology.terms)} terms",
            found=f"shape {vectors.shape}, or a vector that is zero or not finite",
            remedy="pass one vector for each of ontology.terms",
        )
    edges = ontology.neighbors().tocoo()
    unit = vectors / lengths[:, None]
    similar = (1 + (unit[edges.row] * unit[edges.col]).sum(axis=1)) / 2
    return sparse.csr_array((similar, (edges.row, edges.col)), shape=edges.shape)

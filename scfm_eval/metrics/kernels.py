"""Similarities of neighbouring cells, and the diffusion through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from scfm_eval.metrics.neighbors import Neighbors

Floats = NDArray[np.float64]
DENSE_UP_TO = 500
ALMOST_CONNECTED = 1e-12


def perplexity_kernel(distances: Floats, *, perplexity: float) -> Floats:
    """Return neighbour probabilities ``∝ exp(−β d)`` whose entropy is ``log(perplexity)``.

    Parameters
    ----------
    distances
        Ascending distances ``(n_cells, k)``, the cell itself not among them.
    perplexity
        Effective number of neighbours, below ``k``.

    Returns
    -------
    ``(n_cells, k)``, rows sum to 1. Where more than ``perplexity`` neighbours are equally near, these share alike.
    """
    excess = distances - distances[:, :1]
    scale = excess.mean(axis=1, keepdims=True)
    excess = excess / np.where(scale > 0, scale, 1.0)

    def probabilities(beta: Floats) -> Floats:
        kernel = np.exp(-excess * beta)
        return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))

    def entropy(beta: Floats) -> Floats:
        shares = probabilities(beta)
        return np.asarray(-np.sum(shares * np.log(np.maximum(shares, 1e-300)), axis=1, keepdims=True))

    return probabilities(_solve_decreasing(entropy, target=np.log(perplexity), n_rows=len(excess)))


def fuzzy_connectivities(neighbors: Neighbors) -> csr_array:
    """Return UMAP's symmetric graph of fuzzy memberships, in float64.

    A neighbour at distance d has membership ``exp(−max(d − ρ, 0) / σ)``: ρ is the nearest distance above 0, and σ makes
    the row sum ``log2(k)``, but is at least 0.001 of the mean distance. The two directions are joined as
    ``a + b − ab``. Source: 10.48550/arXiv.1802.03426.
    """
    distances = neighbors.distances
    nearest = np.where(distances > 0, distances, np.inf).min(axis=1, keepdims=True)
    rho = np.where(np.isfinite(nearest), nearest, 0.0)
    excess = np.maximum(distances - rho, 0.0)[:, 1:]
    row_mean = distances.mean(axis=1, keepdims=True)
    unit = np.where(row_mean > 0, row_mean, 1.0)

    def row_sum(inverse_sigma: Floats) -> Floats:
        return np.asarray(np.exp(-excess / unit * inverse_sigma).sum(axis=1, keepdims=True))

    solved = _solve_decreasing(row_sum, target=np.log2(neighbors.n_neighbors), n_rows=len(excess))
    sigma = np.maximum(unit / solved, 1e-3 * np.where(rho > 0, row_mean, distances.mean()))
    memberships = np.exp(-excess / np.where(sigma > 0, sigma, 1.0))
    return _symmetric(memberships, neighbors.indices[:, 1:])


def _symmetric(memberships: Floats, indices: NDArray[np.int64]) -> csr_array:
    n_cells, k = indices.shape
    directed = csr_array((memberships.ravel(), indices.ravel(), np.arange(0, n_cells * k + 1, k)), shape=(n_cells,) * 2)
    back = directed.T.tocsr()
    return csr_array(directed + back - directed * back)


def _solve_decreasing(function: Callable[[Floats], Floats], *, target: float, n_rows: int) -> Floats:
    """Find for each row where a decreasing function of a positive number meets ``target``, by bisection of its log."""
    low, high = np.full((n_rows, 1), -20.0), np.full((n_rows, 1), 20.0)
    for _ in range(50):
        middle = (low + high) / 2
        above = function(np.exp(middle)) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(np.exp((low + high) / 2))


def diffusion_map(graph: csr_array, *, n_components: int) -> Floats:
    """Embed cells so that Euclidean distance is diffusion distance, summed over all numbers of steps.

    The graph is normalised by density, then made a symmetric transition matrix; the eigenvectors of largest absolute
    eigenvalue λ are weighted by ``λ / (1 − λ)``. Each connected component has λ = 1 exactly, with weight 1: computed,
    it is 1 up to rounding, and that weight would be anything up to infinity. Parts that hang together by less than
    rounding count as components too.

    Parameters
    ----------
    graph
        Symmetric similarities ``(n_cells, n_cells)``, not negative, each cell with a neighbour.
    n_components
        Number of eigenvectors; at most one fewer than cells.

    Returns
    -------
    ``(n_cells, n_components)``.
    """
    density = diags_array(1 / np.asarray(graph.sum(axis=0)))
    kernel = density @ graph @ density
    root = diags_array(1 / np.sqrt(np.asarray(kernel.sum(axis=0))))
    values, vectors = _leading(root @ kernel @ root, n_components=min(n_components, graph.shape[0] - 1))
    n_trivial, _ = connected_components(graph, directed=False)
    decays = values < 1 - ALMOST_CONNECTED
    decays[:n_trivial] = False
    weights = np.ones(len(values))
    weights[decays] = values[decays] / (1 - values[decays])
    return vectors * weights


def _leading(transitions: Any, *, n_components: int) -> tuple[Floats, Floats]:
    """Return the eigenpairs of largest absolute value, by decreasing (signed) value."""
    if transitions.shape[0] <= DENSE_UP_TO:
        values, vectors = np.linalg.eigh(transitions.toarray())
        kept = np.argsort(-np.abs(values), kind="stable")[:n_components]
        values, vectors = values[kept], vectors[:, kept]
    else:
        # without a start vector ARPACK draws one from global random state
        start = np.random.default_rng(0).uniform(size=transitions.shape[0])
        values, vectors = eigsh(transitions, k=n_components, which="LM", v0=start)
    decreasing = np.argsort(-values, kind="stable")
    return values[decreasing], vectors[:, decreasing]

"""Which genes vary together over cells: correlations, and principal components with genes as what is placed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata

Floats = NDArray[np.float64]

_DIRECT = 2000
_LEAST_VARIANCE = 1e-12


def pearson(X: sparse.csr_matrix) -> Floats:
    """Return the correlation of each two columns of ``X`` ``(n_cells, n_genes)``; NaN for one that does not vary.

    The matrix is never made dense: a product of ``n_genes`` × ``n_genes`` is.
    """
    counted = sparse.csc_matrix(X, dtype=np.float64)
    mean = np.asarray(counted.mean(axis=0)).ravel()
    covariance = (counted.T @ counted).toarray() / counted.shape[0] - np.outer(mean, mean)
    scale = _spread(np.diag(covariance))
    correlation: Floats = np.clip(covariance / np.outer(scale, scale), -1, 1)
    return correlation


def spearman(X: sparse.csr_matrix) -> Floats:
    """Return the rank correlation of each two columns of ``X`` ``(n_cells, n_genes)``, none negative; as `pearson`."""
    ranked = sparse.csc_matrix(X, dtype=np.float64, copy=True)
    ranked.eliminate_zeros()
    n_cells = ranked.shape[0]
    for start, end in zip(ranked.indptr[:-1], ranked.indptr[1:], strict=True):
        n_zeros = n_cells - (end - start)
        # ranks less that of a zero: a shift of a column changes no correlation, and zeros stay zeros
        ranked.data[start:end] = n_zeros + rankdata(ranked.data[start:end]) - (n_zeros + 1) / 2 * (n_zeros > 0)
    return pearson(ranked)


def gene_components(X: sparse.csr_matrix, *, n_components: int, seed: int) -> NDArray[np.float32]:
    """Return vectors of genes whose inner products are the nearest to their correlations.

    Parameters
    ----------
    X
        Log-normalised expression ``(n_cells, n_genes)``.
    n_components
        Width; at most one less than cells and genes.
    seed
        Seed of the iterative solver, used for more than 2,000 genes.

    Returns
    -------
    ``(n_genes, at most n_components)``; zeros for a gene that does not vary.
    """
    from sklearn.decomposition import PCA

    counted = sparse.csc_matrix(X, dtype=np.float64)
    squared, mean = (np.asarray(part.mean(axis=0)).ravel() for part in (counted.multiply(counted), counted))
    scaled = counted @ sparse.diags(np.nan_to_num(1 / _spread(squared - mean**2)))
    width = max(1, min(n_components, counted.shape[0] - 1, counted.shape[1] - 1))
    solver = "covariance_eigh" if counted.shape[1] <= _DIRECT else "arpack"
    found = PCA(n_components=width, svd_solver=solver, random_state=seed).fit(sparse.csr_matrix(scaled))
    return np.asarray(found.components_.T * np.sqrt(found.explained_variance_), dtype=np.float32)


def _spread(variance: Floats) -> Floats:
    """Return standard deviations, NaN for what does not vary."""
    return np.sqrt(np.where(variance > _LEAST_VARIANCE, variance, np.nan))

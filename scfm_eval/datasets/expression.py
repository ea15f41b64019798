"""From raw counts to log-normalised expression, highly variable genes and principal components."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.errors import InvalidInputError

_SPANS = (0.3, 0.5, 0.7, 1.0)
_JITTER = 1e-6


def log_normalised(X: sparse.csr_matrix, *, target: float = 1e4) -> sparse.csr_matrix:
    """Return ``log(1 + counts per target)`` of each cell.

    Parameters
    ----------
    X
        Raw counts, ``(n_cells, n_genes)``; not changed.
    target
        Sum of every cell before the logarithm.

    Returns
    -------
    CSR matrix of the same shape and sparsity, float32, natural logarithm, at least 0.

    Raises
    ------
    InvalidInputError
        A cell has no counts.
    """
    counts = sparse.csr_matrix(X, dtype=np.float64)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    empty = np.flatnonzero(totals <= 0)
    if empty.size:
        raise InvalidInputError(
            asked="expression normalised to the same sum in each cell",
            found=f"{empty.size} of {totals.size} cells without counts, the first in row {empty[0]}",
            remedy="remove the cells without counts (scanpy.pp.filter_cells(adata, min_counts=1))",
        )
    per_value = np.repeat(target / totals, np.diff(counts.indptr))
    data = np.log1p(counts.data * per_value).astype(np.float32)
    return sparse.csr_matrix((data, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)


def highly_variable(cells: AnnData, *, n_top: int = 2000) -> NDArray[np.bool_]:
    """Choose the genes whose counts vary more than their mean explains (``seurat_v3`` of scanpy).

    The local regression of variance on mean can fail on few cells, where many genes have the very same mean ("near
    singularities", "svddc failed"). It is then repeated with wider spans, and at last with every gene's counts scaled
    by its own factor within 1 ± 1e-6, the same ones each time, so that no two means are equal.

    Parameters
    ----------
    cells
        View with raw counts in ``X``; not changed.
    n_top
        Number of genes. Where no more than these are expressed, all expressed genes are taken.

    Returns
    -------
    Mask over the genes, ``(n_genes,)``.

    Raises
    ------
    InvalidInputError
        No regression of variance on mean can be made, as with a handful of cells.

    References
    ----------
    doi:10.1016/j.cell.2019.05.031
    """
    counts = sparse.csr_matrix(cells.X)
    expressed = np.asarray(counts.sum(axis=0)).ravel() > 0
    if expressed.sum() <= n_top:
        return expressed
    chosen = expressed.copy()
    chosen[expressed] = _seurat_v3(counts[:, expressed], n_top=n_top)
    return chosen


def _seurat_v3(counts: sparse.csr_matrix, *, n_top: int) -> NDArray[np.bool_]:
    factors = 1 + _JITTER * np.random.default_rng(0).uniform(-1, 1, counts.shape[1])
    attempts = [(span, counts) for span in _SPANS] + [(_SPANS[-1], (counts @ sparse.diags(factors)).tocsr())]
    reason = ""
    for span, values in attempts:
        try:
            return _seurat_v3_once(values, n_top=n_top, span=span)
        except ValueError as error:
            reason = str(error)
    raise InvalidInputError(
        asked=f"{n_top} highly variable genes among {counts.shape[1]}",
        found=f"{counts.shape[0]} cells on which the regression of variance on mean fails: {reason}",
        remedy="use more cells, or ask for at least as many genes as are expressed",
    )


def _seurat_v3_once(counts: sparse.csr_matrix, *, n_top: int, span: float) -> NDArray[np.bool_]:
    import scanpy
    from threadpoolctl import threadpool_limits

    # numba, which scanpy calls, sets the OpenMP threads of the whole process, torch's among them; this sets them back
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="openmp"):
        warnings.simplefilter("ignore")
        table = scanpy.pp.highly_variable_genes(
            AnnData(counts), flavor="seurat_v3", n_top_genes=n_top, span=span, check_values=False, inplace=False
        )
    return np.asarray(table["highly_variable"], dtype=bool)


def gene_positions(cells: AnnData, *, genes: pd.Index) -> NDArray[np.intp]:
    """Return where ``genes`` are among ``cells.var_names``.

    Raises
    ------
    InvalidInputError
        Some of the genes are not there.
    """
    positions = cells.var_names.get_indexer(genes)
    missing = genes[positions < 0]
    if len(missing):
        raise InvalidInputError(
            asked=f"cells with the {len(genes)} genes that were chosen on the fitted cells",
            found=f"{len(missing)} of them missing, e.g. {', '.join(map(str, missing[:3]))}",
            remedy="hand over the same genes at fit and at embed",
        )
    return np.asarray(positions, dtype=np.intp)


class PrincipalComponents:
    """Mean-centred principal components with fixed signs; a sparse matrix stays sparse.

    Parameters
    ----------
    n_components
        Components asked for; at most ``min(n_cells - 1, n_genes)`` are made.
    seed
        Seed of the iterative solver's start, used where cells are fewer than genes.
    """

    def __init__(self, *, n_components: int = 50, seed: int = 0) -> None:
        self.n_components, self.seed = n_components, seed

    def fit(self, X: sparse.csr_matrix) -> PrincipalComponents:
        """Find the directions of largest variance of ``X`` ``(n_cells, n_genes)`` and return the object itself.

        Raises
        ------
        InvalidInputError
            There are fewer than two cells.
        """
        from sklearn.decomposition import PCA

        n_cells, n_genes = X.shape
        if n_cells < 2:
            raise InvalidInputError(
                asked="principal components", found=f"{n_cells} cells", remedy="fit on at least two cells"
            )
        # the covariance route costs n_genes ** 3, the iterative one needs fewer components than either side
        solver = "arpack" if n_cells <= n_genes else "covariance_eigh"
        width = min(self.n_components, n_cells - 1, n_genes)
        self._pca = PCA(n_components=width, svd_solver=solver, random_state=self.seed)
        self._pca.fit(X.astype(np.float64))
        return self

    def transform(self, X: sparse.csr_matrix) -> NDArray[np.float32]:
        """Return the coordinates of the rows of ``X`` ``(n_cells, n_genes)``: ``(n_cells, n_components)``."""
        return np.asarray(self._pca.transform(X.astype(np.float64)), dtype=np.float32)

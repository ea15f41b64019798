"""The counts of cells as adapters read them: sparse, by the names of the genes, from memory, a file or chunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.errors import InvalidInputError


def csr_counts(cells: AnnData) -> sparse.csr_matrix:
    """Return the counts of ``cells`` as CSR float32 ``(n_cells, n_genes)``; ``cells`` is not changed.

    ``X`` may be sparse or dense in memory, in a backed file, or a dask array in chunks, which are read one by one.
    """
    X = cells.X
    if hasattr(X, "to_memory"):
        X = X.to_memory()
    elif hasattr(X, "map_blocks"):
        X = sparse.vstack([_csr(block.compute()) for block in X.rechunk({1: -1}).blocks], format="csr")
    return _csr(X)


def aligned_counts(cells: AnnData, *, genes: Sequence[str], order: Sequence[str]) -> sparse.csr_matrix:
    """Return counts with one column per gene of a model, found by name.

    Parameters
    ----------
    cells
        Not changed.
    genes
        Names of the columns of ``cells.X`` ``(n_genes,)``, in the model's namespace.
    order
        Names of the model's genes ``(n_order,)``, each once.

    Returns
    -------
    CSR float32 ``(n_cells, n_order)``: zero for a gene that the cells lack, without the genes that the model lacks.

    Raises
    ------
    InvalidInputError
        A gene that the model reads stands in several columns: which one counts is not for an adapter to guess.
    """
    place = gene_places(genes, order=order)
    read = np.flatnonzero(place >= 0)
    twice = [gene for gene, n in zip(order, np.bincount(place[read], minlength=len(order)), strict=True) if n > 1]
    if twice:
        raise InvalidInputError(
            asked=f"counts of {cells.n_obs} cells by gene",
            found=f"several columns for {', '.join(twice[:5])}",
            remedy="add up the columns of one gene first",
        )
    to_order = sparse.csr_matrix(
        (np.ones(len(read), dtype=np.float32), (read, place[read])), shape=(len(genes), len(order))
    )
    made = sparse.csr_matrix(csr_counts(cells) @ to_order, dtype=np.float32)
    made.sort_indices()
    return made


def gene_places(genes: Sequence[str], *, order: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each gene in ``order`` ``(n_genes,)``; −1 for a gene that is not in it."""
    places = {gene: place for place, gene in enumerate(order)}
    return np.array([places.get(str(gene), -1) for gene in genes], dtype=np.int64)


def _csr(X: object) -> sparse.csr_matrix:
    return sparse.csr_matrix(X, dtype=np.float32)

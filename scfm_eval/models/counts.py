"""The counts of cells as adapters read them: sparse, by the names of the genes, from memory, a file or chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.errors import InvalidInputError


def csr_counts(cells: AnnData) -> sparse.csr_matrix:
    """Return the counts of ``cells`` as CSR float32 ``(n_cells, n_genes)``; ``cells`` is not changed.

    ``X`` may be sparse or dense in memory, in a backed file, or a dask array in chunks, which are read one by one.
    Entries of one place are added up.

    Raises
    ------
    InvalidInputError
        There are no cells, no counts, or a count is negative or not finite.
    """
    X = cells.X
    if X is None or not cells.n_obs:
        raise InvalidInputError(
            asked="the counts of some cells",
            found="no cells" if X is not None else "no matrix X",
            remedy="give cells with raw counts in X",
        )
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
    return numbers_of(genes, table={gene: place for place, gene in enumerate(order)})


def numbers_of(genes: Iterable[str], *, table: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the number, such as a token, that ``table`` has for each gene ``(n_genes,)``; −1 where it has none."""
    return np.array([table.get(str(gene), -1) for gene in genes], dtype=np.int64)


def _csr(X: object) -> sparse.csr_matrix:
    made = sparse.csr_matrix(X, dtype=np.float32)
    if not made.has_canonical_format:
        made = made.copy()
        made.sum_duplicates()
    if made.nnz and not (np.isfinite(made.data).all() and made.data.min() >= 0):
        raise InvalidInputError(
            asked="counts of cells",
            found="values that are negative or not finite",
            remedy="give raw counts: scaled values are none",
        )
    return made

"""Raw integer counts: the only matrix that the suite starts from, and what is said when it is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.datasets.count_signs import what_else_than_counts
from scfm_eval.errors import InvalidInputError

_CHUNK = 1 << 22
_NAMED = 5


def counts_in(adata: AnnData, *, what: str) -> sp.csr_matrix:
    """Return the raw counts of ``adata.X`` as CSR float32, checked; ``adata`` is not changed.

    Counts that stand elsewhere (``layers["counts"]``, ``raw``) are never used in silence: the error names where. With
    the guard ``counts`` switched off, finite values of 0 and more come back as they are.

    Parameters
    ----------
    adata
        Cells × genes in memory; ``X`` sparse or dense.
    what
        What the matrix is called in messages, e.g. ``"dataset my.h5ad"``.

    Returns
    -------
    Counts ``(n_cells, n_genes)`` with sorted indices and no stored zeros.

    Raises
    ------
    InvalidInputError
        If the matrix is empty, is not finite and non-negative, is not counts (guard ``counts``), has a cell without
        counts, cells of one name, or genes of one name (guard ``gene_ids``).
    """
    asked = f"{what} with raw integer counts"
    if adata.X is None or 0 in adata.shape:
        raise InvalidInputError(
            asked=asked, found=f"an empty matrix of shape {adata.shape}", remedy="give at least one cell and one gene"
        )
    if not _is_readable(adata.X):
        raise InvalidInputError(asked=asked, found=f"X holds {_unreadable(adata.X)}", remedy=_where_counts_are(adata))
    fault = what_else_than_counts(adata.X)
    if fault:
        guards.refuse("counts", asked=asked, found=f"X holds {fault}", remedy=_where_counts_are(adata))
    require_unique(adata, what=what)
    counts = as_csr(adata.X)
    empty = np.flatnonzero(np.diff(counts.indptr) == 0)
    if len(empty):
        raise InvalidInputError(
            asked=f"{what} with counts in every cell",
            found=f"{len(empty)} of {adata.n_obs} cells have none: {some(adata.obs_names[empty])}",
            remedy="remove them, e.g. with scanpy.pp.filter_cells(adata, min_counts=1)",
        )
    return counts


def require_unique(adata: AnnData, *, what: str) -> None:
    """Refuse cells of one name, and (guard ``gene_ids``) genes of one name.

    Raises
    ------
    InvalidInputError
        The message names those that occur more than once.
    """
    asked, remedy = f"{what} with unique %ss", "make them unique, e.g. with adata.%s_names_make_unique()"
    cells, genes = _repeated(adata.obs_names, kind="cell"), _repeated(adata.var_names, kind="gene")
    if cells:
        raise InvalidInputError(asked=asked % "cell", found=cells, remedy=remedy % "obs")
    if genes:
        guards.refuse("gene_ids", asked=asked % "gene", found=genes, remedy=remedy % "var")


def _repeated(names: Iterable[str], *, kind: str) -> str:
    twice = [name for name, times in Counter(names).items() if times > 1]
    return f"{len(twice)} {kind} names occur more than once: {some(twice)}" if twice else ""


def as_csr(X: Any) -> sp.csr_matrix:
    """Return a CSR float32 copy of ``X`` with sorted indices, duplicates summed and zeros dropped."""
    counts = sp.csr_matrix(X, dtype=np.float32, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def some(names: Iterable[Any]) -> str:
    """Return the first few of ``names`` and how many more there are."""
    every = [str(name) for name in names]
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _values(X: Any) -> Iterator[NDArray[Any]]:
    """Yield the stored values of a sparse or dense matrix in pieces of bounded size."""
    flat = X.data if sp.issparse(X) else np.asarray(X).reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        yield flat[start : start + _CHUNK]


def _is_readable(X: Any) -> bool:
    return all(bool(np.isfinite(v).all() and (v >= 0).all()) for v in _values(X))


def _is_whole(X: Any) -> bool:
    return _is_readable(X) and all(bool((v == np.rint(v)).all()) for v in _values(X))


def _unreadable(X: Any) -> str:
    undefined = sum(int((~np.isfinite(v)).sum()) for v in _values(X))
    if undefined:
        return f"{undefined} values that are NaN or infinite"
    lowest = min(float(v.min()) for v in _values(X) if len(v))
    return f"negative values (down to {lowest:.3g}): it looks scaled or centred"


def _where_counts_are(adata: AnnData) -> str:
    places = [f"layers/{key}" for key, layer in adata.layers.items() if _is_whole(layer)]
    if adata.raw is not None and _is_whole(adata.raw.X):
        places.append("raw")
    if places:
        return f"{' and '.join(places)} of the same file hold integers: choose with counts={places[0]}"
    return "give the matrix of counts before normalisation; neither a layer nor raw of this file holds integers"

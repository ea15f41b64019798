"""Raw integer counts: the only matrix that the suite starts from, and what is said when it is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError

_CHUNK = 1 << 22
_SAMPLE = 256
_LOG_CEILING = 30.0
_NAMED = 5


def counts_in(adata: AnnData, *, what: str) -> sp.csr_matrix:
    """Return the raw counts of ``adata.X`` as CSR float32, checked; ``adata`` is not changed.

    Counts that stand elsewhere (``layers["counts"]``, ``raw``) are never used in silence: the error names where.

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
        If the matrix is empty, is not finite, non-negative and integer, has a cell without counts, or has cells or
        genes of one name.
    """
    asked = f"{what} with raw integer counts"
    if adata.X is None or 0 in adata.shape:
        raise InvalidInputError(
            asked=asked, found=f"an empty matrix of shape {adata.shape}", remedy="give at least one cell and one gene"
        )
    fault = _fault(_values(adata.X)) and _describe(adata.X)
    if fault:
        raise InvalidInputError(asked=asked, found=f"X holds {fault}", remedy=_where_counts_are(adata))
    check_unique(adata.obs_names, what=f"{what} with unique cells", kind="cell", remedy="obs_names_make_unique()")
    check_unique(adata.var_names, what=f"{what} with unique genes", kind="gene", remedy="var_names_make_unique()")
    counts = as_csr(adata.X)
    empty = np.flatnonzero(np.diff(counts.indptr) == 0)
    if len(empty):
        raise InvalidInputError(
            asked=f"{what} with counts in every cell",
            found=f"{len(empty)} of {adata.n_obs} cells have none: {some(adata.obs_names[empty])}",
            remedy="remove them, e.g. with scanpy.pp.filter_cells(adata, min_counts=1)",
        )
    return counts


def check_unique(names: Sequence[str], *, what: str, kind: str, remedy: str) -> None:
    """Raise :class:`InvalidInputError` naming the ``names`` that occur more than once."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InvalidInputError(
            asked=what,
            found=f"{len(twice)} {kind} names occur more than once: {some(twice)}",
            remedy=f"make them unique, e.g. with adata.{remedy}",
        )


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


def _fault(pieces: Iterable[NDArray[Any]]) -> bool:
    return not all(np.isfinite(v).all() and (v >= 0).all() and (v == np.rint(v)).all() for v in pieces)


def _describe(X: Any) -> str:
    undefined = sum(int((~np.isfinite(v)).sum()) for v in _values(X))
    if undefined:
        return f"{undefined} values that are NaN or infinite"
    lowest = min(float(v.min()) for v in _values(X) if len(v))
    if lowest < 0:
        return f"negative values (down to {lowest:.3g}): it looks scaled or centred"
    return _describe_positive(X)


def _describe_positive(X: Any) -> str:
    rows = sp.csr_matrix(X[:_SAMPLE], dtype=np.float64)
    totals = np.asarray(rows.sum(axis=1)).ravel()
    if rows.max() <= _LOG_CEILING:
        logged = np.asarray(rows.expm1().sum(axis=1)).ravel()
        scale = f" of counts per {np.median(logged):.4g}" if _constant(logged) else ""
        return f"values that are not integers, the largest {rows.max():.3g}: it looks log1p-transformed{scale}"
    if _constant(totals):
        return f"values that are not integers and add up to {np.median(totals):.4g} in every cell: it looks normalised"
    return f"values that are not integers, e.g. {rows.data[rows.data != np.rint(rows.data)][:1]}"


def _constant(totals: NDArray[np.float64]) -> bool:
    positive = totals[totals > 0]
    return bool(len(positive) > 1 and positive.std() < 1e-2 * positive.mean())


def _where_counts_are(adata: AnnData) -> str:
    places = [f"layers/{key}" for key, layer in adata.layers.items() if not _fault(_values(layer))]
    if adata.raw is not None and not _fault(_values(adata.raw.X)):
        places.append("raw")
    if places:
        return f"{' and '.join(places)} of the same file hold integers: choose with counts={places[0]}"
    return "give the matrix of counts before normalisation; neither a layer nor raw of this file holds integers"

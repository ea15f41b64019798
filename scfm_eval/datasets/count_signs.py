"""What a matrix of non-negative values is if it is not counts: log, normalised, imputed or binary, rounded or not.

Rounding does not make counts. Where molecules are sampled, nearly every cell has a gene that was seen once, genes vary
at least as much as their mean, the highest values are a good part of all, and genes of a low mean have many zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_SAMPLE, _FEWEST_CELLS = 1000, 30
_LOG_CEILING = 30.0
_CONSTANT = 1e-2
_GENES_OF_A_CELL, _ZEROS_OF_A_CELL, _WITHOUT_ONES = 50, 0.2, 0.05
_REPEATED = 0.05
_HIGHEST, _FEWEST_GENES = 20, 20
_UNDERDISPERSED, _OVERDISPERSED = 0.6, 1.5
_LOW_CEILING, _FLAT = 15.0, 40.0
_IMPUTED = 0.5


def what_else_than_counts(X: Any) -> str:
    """Return what a matrix holds that is not raw counts, in words; empty for counts.

    Parameters
    ----------
    X
        Finite values of 0 and more ``(n_cells, n_genes)``, sparse or dense; at most 1,000 cells, evenly spread, are
        looked at in detail.
    """
    fraction = _first_fraction(X)
    step = -(-X.shape[0] // _SAMPLE)
    rows = sp.csr_matrix(X[::step], dtype=np.float64)
    rows.eliminate_zeros()
    if fraction is None:
        return _rounded(rows)
    return f"values that are not integers{_kind(rows) or f', e.g. [{fraction:g}]'}"


def _first_fraction(X: Any) -> float | None:
    flat = X.data if sp.issparse(X) else np.asarray(X).reshape(-1)
    for start in range(0, len(flat), 1 << 22):
        values = flat[start : start + (1 << 22)]
        found = values[values != np.rint(values)]
        if len(found):
            return float(found[0])
    return None


def _kind(rows: sp.csr_matrix) -> str:
    imputed = ": and, with hardly any zeros, imputed or denoised" if _zeros_per_expected(rows) < _IMPUTED else ""
    if rows.nnz and rows.max() <= _LOG_CEILING:
        logged = np.asarray(rows.expm1().sum(axis=1)).ravel()
        scale = f" of counts per {np.median(logged):.4g}" if _is_constant(logged) else ""
        return f", the largest {rows.max():.3g}: it looks log1p-transformed{scale}{imputed}"
    totals = np.asarray(rows.sum(axis=1)).ravel()
    if _is_constant(totals):
        return f" and add up to {np.median(totals):.4g} in every cell: it looks normalised{imputed}"
    return ": with hardly any zeros, it looks imputed or denoised" if imputed else ""


def _is_constant(totals: NDArray[np.float64]) -> bool:
    positive = totals[totals > 0]
    return bool(len(positive) > 1 and positive.std() < _CONSTANT * positive.mean())


def _rounded(rows: sp.csr_matrix) -> str:
    """Return what was rounded, or made binary, to such integers; a handful of cells says nothing."""
    counted = np.diff(rows.indptr) > 0
    rows = rows[counted]
    if rows.shape[0] < _FEWEST_CELLS:
        return ""
    return _binary(rows) or _without_ones(rows) or _smooth(rows) or _flat(rows)


def _binary(rows: sp.csr_matrix) -> str:
    # even if all genes were alike, so many cells with so many molecules would have this many genes seen twice
    expected = float((np.asarray(rows.sum(axis=1)).ravel() ** 2).sum()) / (2 * rows.shape[1])
    return "nothing but 0 and 1: it looks binary" if rows.max() == 1 and expected >= 100 else ""


def _without_ones(rows: sp.csr_matrix) -> str:
    n_seen = np.diff(rows.indptr)
    # genes of a high mean alone have neither zeros nor ones
    enough = (n_seen >= _GENES_OF_A_CELL) & (n_seen <= (1 - _ZEROS_OF_A_CELL) * rows.shape[1])
    if enough.sum() < _FEWEST_CELLS:
        return ""
    ones = np.asarray((rows == 1).sum(axis=1)).ravel()[enough]
    share = float((ones == 0).mean())
    # what was multiplied has many genes at its smallest value; reads of full-length protocols have not
    if share <= _WITHOUT_ONES or np.median(_at_smallest(rows[enough][ones == 0])) < _REPEATED:
        return ""
    return f"integers, but {share:.0%} of the cells have no gene with a 1: it looks normalised or log, then rounded"


def _at_smallest(rows: sp.csr_matrix) -> NDArray[np.float64]:
    """Return the share of the genes seen in a cell that have its smallest value ``(n_cells,)``."""
    starts = rows.indptr[:-1]
    n_seen = np.diff(rows.indptr)
    smallest = np.minimum.reduceat(rows.data, starts)
    at_smallest = (rows.data == np.repeat(smallest, n_seen)).astype(float)
    return np.asarray(np.add.reduceat(at_smallest, starts) / n_seen)


def _smooth(rows: sp.csr_matrix) -> str:
    mean, variance = _moments(rows)
    expressed = mean > 0.5
    if expressed.sum() < _FEWEST_GENES:
        return ""
    fano = variance[expressed] / mean[expressed]
    highest = np.argsort(-mean[expressed], kind="stable")[:_HIGHEST]
    lowest, typical = float(np.percentile(fano, 10)), float(np.median(fano[highest]))
    if min(lowest, typical) >= _UNDERDISPERSED:
        return ""
    return (
        f"integers, but genes that vary less than sampled molecules can ({min(lowest, typical):.2g} of their mean): it "
        f"looks {'log, ' if rows.max() <= _LOW_CEILING else ''}imputed or denoised, then rounded"
    )


def _flat(rows: sp.csr_matrix) -> str:
    mean, variance = _moments(rows)
    highest = np.argsort(-mean, kind="stable")[:_HIGHEST]
    total = float(np.median(np.asarray(rows.sum(axis=1)).ravel()))
    varied = np.median(variance[highest] / mean[highest]) > _OVERDISPERSED
    if not varied or rows.max() > _LOW_CEILING or total < _FLAT * rows.max():
        return ""
    return f"integers, but none above {rows.max():.0f} in cells with {total:.0f}: it looks log, then rounded"


def _zeros_per_expected(rows: sp.csr_matrix) -> float:
    """Return the zeros of genes of a low mean, per number that sampling gives them at least; 1 where none is low."""
    mean = np.asarray(rows.mean(axis=0)).ravel()
    low = (mean > 0.5) & (mean < 4)
    if low.sum() < _FEWEST_GENES or rows.shape[0] < _FEWEST_CELLS:
        return 1.0
    return float((1 - rows.getnnz(axis=0)[low] / rows.shape[0]).sum() / np.exp(-mean[low]).sum())


def _moments(rows: sp.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean = np.asarray(rows.mean(axis=0)).ravel()
    return mean, np.asarray(rows.power(2).mean(axis=0)).ravel() - mean**2

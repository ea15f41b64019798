"""Cells that are copies of each other, which a split must not put on both of its sides.

Two cells are samples of molecules. With ``a`` and ``b`` their counts of a gene, ``na`` and ``nb`` their totals and
``N = na + nb``, the sum over genes of ``(a·√(nb/na) - b·√(na/nb))² / (a + b)`` is as large as the number of genes with
``a + b > 0`` when one composition was sampled twice, and larger when the cells differ. A copy has 0, one with a tenth
of its molecules lost 0.1, with half of them lost 0.4, whatever its depth. Cells with few molecules have no such proof:
they count as copies only if they are the same in every gene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from scfm_eval import guards

_REFUSED = 0.01
_RATIO, _SIGMAS = 0.6, 5.0
_FEWEST_GENES = 12
_SEARCHED, _CANDIDATES = 20_000, 3
_WIDTH, _CLIP = 128, 5.0
_BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Copies:
    """Which cells are copies or near copies of each other.

    Parameters
    ----------
    group
        A number for each cell ``(n_cells,)``; cells of one number are copies, and most cells are alone with theirs.
    searched
        The cells ``(n_cells,)`` whose nearest other cells were looked at; all but in very large datasets.
    """

    group: NDArray[np.int64]
    searched: NDArray[np.bool_]

    @property
    def n_copied(self) -> int:
        """Number of cells that share their group with another cell."""
        return int((np.bincount(self.group)[self.group] > 1).sum())


def copies(X: sp.csr_matrix) -> Copies:
    """Find the cells that are more alike than the sampling of molecules lets two cells be.

    Each cell is compared with the three that are nearest to it in 128 random projections of its Pearson residuals.
    Above 20,000 cells, that many, drawn with seed 0, are compared with all. Values that are not whole numbers have no
    sampling of molecules: only equal cells are found then.

    Parameters
    ----------
    X
        Raw counts ``(n_cells, n_genes)``; not changed, and never made dense.
    """
    n_cells = X.shape[0]
    searched = _drawn(n_cells)
    first, second = _equal(X)
    if n_cells > 1 and bool((X.data == np.rint(X.data)).all()):
        near = _near(X, np.flatnonzero(searched))
        first, second = np.concatenate([first, near[0]]), np.concatenate([second, near[1]])
    links = sp.coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n_cells, n_cells))
    group = sp.csgraph.connected_components(links, directed=False)[1]
    return Copies(np.asarray(group, dtype=np.int64), searched)


def require_apart(found: Copies, *, train: NDArray[np.bool_], test: NDArray[np.bool_], asked: str) -> None:
    """Refuse (guard ``duplicates``) a split with copies of more than 1 % of its test cells in training; tell of fewer.

    Parameters
    ----------
    found
        The copies among all cells.
    train, test
        Cells of each side of one split ``(n_cells,)``, or of several (folds, seeds), ``(n_splits, n_cells)``: the
        share is then that of all test cells of all splits together.
    asked
        What was asked for, in messages, e.g. ``"annotation of pbmc3k"``.

    Raises
    ------
    GuardError
        More than 1 % of the test cells have a copy in training, and the guard is on.
    """
    copied = tested = 0
    for learned, judged in zip(np.atleast_2d(train), np.atleast_2d(test), strict=True):
        looked_at = judged & found.searched
        copied += int(np.isin(found.group[looked_at], found.group[learned]).sum())
        tested += int(looked_at.sum())
    if not copied:
        return
    say = guards.refuse if copied > _REFUSED * tested else guards.tell
    say(
        "duplicates",
        asked=f"{asked} with test cells that nothing has learned from",
        found=f"{copied} of {tested} test cells ({copied / tested:.2%}) have a copy or near copy in training",
        remedy="keep one of each copies, or state the donor so that copies stay on one side",
    )


def tell_copies(found: Copies, *, dataset: str) -> None:
    """Tell (guard ``duplicates``) how many cells of a dataset have a copy in it."""
    if found.n_copied:
        n_groups = len(np.unique(found.group)) - (len(found.group) - found.n_copied)
        guards.tell(
            "duplicates",
            asked=f"{dataset} with every cell once",
            found=f"{found.n_copied} of {len(found.group)} cells are copies or near copies in {n_groups} groups",
            remedy="keep one cell of each group: copies weigh double, and give away test cells",
        )


def _drawn(n_cells: int) -> NDArray[np.bool_]:
    drawn = np.ones(n_cells, dtype=bool)
    if n_cells > _SEARCHED:
        drawn[:] = False
        drawn[np.random.default_rng(0).choice(n_cells, _SEARCHED, replace=False)] = True
    return drawn


def _equal(X: sp.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of cells that are the same in every gene and have enough genes for that to be no chance."""
    seen: dict[bytes, int] = {}
    pairs = []
    for cell, (start, end) in enumerate(zip(X.indptr[:-1], X.indptr[1:], strict=True)):
        if end - start >= _FEWEST_GENES:
            row = X.indices[start:end].tobytes() + X.data[start:end].tobytes()
            pairs.append((seen.setdefault(row, cell), cell))
    made = np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)
    return made[:, 0], made[:, 1]


def _near(X: sp.csr_matrix, cells: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs, the first one of ``cells``, that are closer than sampling lets them be."""
    space = _projected(X)
    k = min(_CANDIDATES, len(space) - 1)
    step = max(1, _BLOCK // len(space))
    pairs: list[NDArray[np.int64]] = []
    for start in range(0, len(cells), step):
        rows = cells[start : start + step]
        alike = space[rows] @ space.T
        alike[np.arange(len(rows)), rows] = -np.inf
        others = np.argpartition(-alike, k - 1, axis=1)[:, :k]
        both = np.column_stack([np.repeat(rows, k), others.ravel()])
        pairs.append(both[_too_alike(X, both[:, 0], both[:, 1])])
    made = np.concatenate(pairs)
    return made[:, 0], made[:, 1]


def _projected(X: sp.csr_matrix) -> NDArray[np.float32]:
    """Return random projections of unit length of the clipped Pearson residuals, ``(n_cells, 128)``."""
    totals = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    shares = np.asarray(X.sum(axis=0, dtype=np.float64)).ravel() / totals.sum()
    directions = np.random.default_rng(0).standard_normal((X.shape[1], _WIDTH)).astype(np.float32)
    expected = np.sqrt(np.repeat(totals, np.diff(X.indptr)) * shares[X.indices])
    residuals = np.minimum(X.data / expected - expected, _CLIP) + expected
    moved = sp.csr_matrix((residuals.astype(np.float32), X.indices, X.indptr), shape=X.shape) @ directions
    # a gene without a count has the residual -√expected, which is the same direction in all cells
    moved -= np.sqrt(totals).astype(np.float32)[:, None] * (np.sqrt(shares).astype(np.float32) @ directions)
    moved -= moved.mean(axis=0)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def _too_alike(X: sp.csr_matrix, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs have less than 0.6 of the distance of two samples, by five standard deviations or more."""
    alike = np.zeros(len(first), dtype=bool)
    per_cell = max(1, X.nnz // X.shape[0])
    step = max(1, _BLOCK // (8 * per_cell))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        distance, n_genes, variance = _distances(X[first[part]], X[second[part]])
        alike[part] = (distance < _RATIO * n_genes) & (n_genes - distance > _SIGMAS * np.sqrt(variance))
    return alike


def _distances(
    a: sp.csr_matrix, b: sp.csr_matrix
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance of each pair of rows, and its mean and variance if both are samples of one composition.

    With ``h`` the sum of ``ab / (a + b)`` over the genes that both have, the distance is ``N - N²·h / (na·nb)``.
    """
    na, nb = np.maximum(_row_sums(a), 1e-9), np.maximum(_row_sums(b), 1e-9)
    total = na + nb
    shared = a.multiply(_each(b, np.ones_like)).tocsr()
    theirs = _each(a, np.ones_like).multiply(b).tocsr()
    one, other = shared.data.astype(np.float64), theirs.data.astype(np.float64)
    common = _summed(one * other / (one + other), shared)
    n_genes = np.diff(a.indptr) + np.diff(b.indptr) - np.diff(shared.indptr)
    inverse = _row_sums(_each(a, np.reciprocal)) + _row_sums(_each(b, np.reciprocal))
    inverse -= _summed(1 / one + 1 / other - 1 / (one + other), shared)
    uneven = total**2 / (na * nb) - 4
    # the fourth moment of a binomial: 2 (1 - 1/s) + uneven / s for a gene with s counts
    variance = np.maximum(2 * n_genes + (uneven - 2) * inverse, 1e-9)
    return total - total**2 * common / (na * nb), n_genes.astype(np.float64), variance


def _each(rows: sp.csr_matrix, function: Any) -> sp.csr_matrix:
    return sp.csr_matrix((function(rows.data.astype(np.float64)), rows.indices, rows.indptr), shape=rows.shape)


def _row_sums(rows: sp.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()


def _summed(values: NDArray[np.float64], rows: sp.csr_matrix) -> NDArray[np.float64]:
    """Return the sums of ``values``, one for each stored entry of ``rows``, by row."""
    return _row_sums(sp.csr_matrix((values, rows.indices, rows.indptr), shape=rows.shape))

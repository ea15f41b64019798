"""Datasets told by their cells, whatever a file is called: a sketch of the names and one of the counts of each.

A sketch is the smallest hashes of all cells. A hash of counts takes their number, sum, and sums of squares and cubes,
so that it is the same under other names and in another order of genes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

Hashes = NDArray[np.uint64]

PACKAGED = Path(__file__).with_name("known_cells.npz")
N_KEPT = 256
"""Hashes in a sketch."""
_FEWEST_HITS, _LEAST_SHARE = 3, 0.1
_FEWEST_COUNTED = 20  # genes of a cell whose counts are told from those of others


def recognised(cells: AnnData) -> tuple[str, ...]:
    """Return the known datasets that a tenth or more of the cells are of, by their names or by their counts.

    Parameters
    ----------
    cells
        Raw counts ``(n_cells, n_genes)`` with names.
    """
    hashes = {"names": name_hashes(list(map(str, cells.obs_names))), "counts": count_hashes(cells)}
    found = [name for name, (kind, n_cells, kept) in _known() if _share(kept, n_cells, hashes[kind]) >= _LEAST_SHARE]
    return tuple(dict.fromkeys(found))


def _share(kept: Hashes, n_known: int, hashes: Hashes) -> float:
    """Return which share of the hashed cells is of the known dataset, as far as its sketch tells; 0 for chance hits."""
    hits = int(np.isin(kept, hashes).sum())
    return hits / len(kept) * n_known / len(hashes) if hits >= _FEWEST_HITS else 0.0


@cache
def _known() -> list[tuple[str, tuple[str, int, Hashes]]]:
    with np.load(PACKAGED, allow_pickle=False) as file:
        parts = [(key.rpartition("/"), file[key]) for key in file.files]
    return [(name, (kind, int(array[0]), array[1:])) for (name, _, kind), array in parts]


def name_hashes(names: Sequence[str]) -> Hashes:
    """Return a hash of each name ``(n_cells,)``."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def count_hashes(cells: AnnData) -> Hashes:
    """Return a hash of the counts of each cell ``(n_cells,)``; cells with fewer than 20 genes share one."""
    X = sparse.csr_matrix(cells.X, dtype=np.float64)
    X.eliminate_zeros()
    sums = [np.asarray(X.power(power).sum(axis=1)).ravel() for power in (1, 2, 3)]
    kinds = np.stack([np.diff(X.indptr), *sums], axis=1).astype("<i8")
    kinds[kinds[:, 0] < _FEWEST_COUNTED] = 0
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in kinds)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def sketch(hashes: Hashes) -> Hashes:
    """Return the number of cells and their smallest hashes ``(1 + n,)``, each once."""
    return np.concatenate([np.array([len(hashes)], dtype=np.uint64), np.unique(hashes)[:N_KEPT]])

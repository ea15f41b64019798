"""The 700 blood cells that scanpy carries in its wheel, with their counts recovered."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.dataset import read_h5ad
from scfm_eval.errors import InvalidInputError

_PER_CELL = 1e4
# values are stored with three decimals, as float32
_STORED_TO = 5.1e-4


def pbmc68k_reduced_with_counts() -> AnnData:
    """Return the cells of ``scanpy.datasets.pbmc68k_reduced`` with raw counts in ``X``; needs no network.

    Raises
    ------
    InvalidInputError
        If the installed scanpy has no such file, or the counts cannot be recovered exactly.
    """
    found = find_spec("scanpy")
    origin = found.origin if found else None
    published = read_h5ad(Path(origin or "scanpy").parent / "datasets" / "10x_pbmc68k_reduced.h5ad")
    counts = recovered_counts(sp.csr_matrix(published.raw.X), totals=published.obs["n_counts"].to_numpy(np.float64))
    var = pd.DataFrame(index=published.raw.var_names)
    return AnnData(X=counts, obs=published.obs[["bulk_labels"]].copy(), var=var)


def recovered_counts(logged: sp.csr_matrix, *, totals: NDArray[np.float64]) -> sp.csr_matrix:
    """Undo ``log1p(counts / total × 10,000)`` of values that were stored with three decimals.

    Parameters
    ----------
    logged
        Log-normalised values, ``(n_cells, n_genes)``.
    totals
        Counts of each cell over all genes that were measured, ``(n_cells,)``.

    Returns
    -------
    Integer counts (CSR float32). They are exact: normalised again they give every stored value back to its three
    decimals, and neighbouring integers would not.

    Raises
    ------
    InvalidInputError
        If they do not.
    """
    scale = np.repeat(_PER_CELL / totals, np.diff(logged.indptr))
    stored = logged.data.astype(np.float64)
    counts = np.rint(np.expm1(stored) / scale)
    off = float(np.abs(np.log1p(counts * scale) - stored).max(initial=0.0))
    step = float((np.log1p((counts + 1) * scale) - np.log1p(counts * scale)).min(initial=np.inf))
    if off > _STORED_TO or step < 2 * _STORED_TO or counts.min(initial=1.0) < 1:
        raise InvalidInputError(
            asked="the counts behind log-normalised values",
            found=f"integers miss the stored values by up to {off:.2g}, where one count makes {step:.2g}",
            remedy="install the scanpy release that this package is tested with, or use another dataset",
        )
    return sp.csr_matrix((counts.astype(np.float32), logged.indices, logged.indptr), shape=logged.shape)

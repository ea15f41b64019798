"""The highly variable genes themselves: what an embedding has to improve on."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import gene_positions, highly_variable, log_normalised
from scfm_eval.models.counts import csr_counts
from scfm_eval.timing import phase


class HVG:
    """Log-normalised expression of the 2,000 genes that vary most among the fitted cells."""

    name = "hvg"
    role = "baseline"
    revision = version("scanpy")
    licence = "BSD-3-Clause"
    citation = "10.1016/j.cell.2019.05.031"
    trained_here = True

    def fit(self, cells: AnnData) -> None:
        """Choose the genes on ``cells``; see :func:`scfm_eval.datasets.expression.highly_variable`."""
        with phase("fit"):
            self._genes = cells.var_names[highly_variable(cells)]

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return ``log(1 + counts per 10,000)`` of the chosen genes, ``(n_cells, at most 2,000)``."""
        with phase("forward"):
            expression = log_normalised(csr_counts(cells))[:, gene_positions(cells, genes=self._genes)]
            return np.asarray(expression.toarray(), dtype=np.float32)

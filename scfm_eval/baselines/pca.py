"""Principal components of highly variable genes: the linear embedding."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import PrincipalComponents, gene_positions, highly_variable, log_normalised
from scfm_eval.models.counts import csr_counts
from scfm_eval.timing import phase


class PCA:
    """Fifty principal components of the log-normalised 2,000 highly variable genes, not scaled gene by gene.

    Parameters
    ----------
    seed
        Seed of the iterative solver.
    """

    name = "pca"
    role = "baseline"
    revision = version("scikit-learn")
    licence = "BSD-3-Clause"
    citation = "10.1186/s13059-017-1382-0"
    trained_here = True

    def __init__(self, *, seed: int = 0) -> None:
        self._components = PrincipalComponents(seed=seed)

    def fit(self, cells: AnnData) -> None:
        """Choose the genes and find the components on ``cells``."""
        with phase("fit"):
            self._genes = cells.var_names[highly_variable(cells)]
            self._components.fit(log_normalised(csr_counts(cells))[:, gene_positions(cells, genes=self._genes)])

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the coordinates on the components, ``(n_cells, at most 50)``."""
        with phase("forward"):
            return self._components.transform(
                log_normalised(csr_counts(cells))[:, gene_positions(cells, genes=self._genes)]
            )

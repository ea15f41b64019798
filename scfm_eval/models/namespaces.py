"""Counts by gene for models whose weights decide in which namespace their genes are named."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from anndata import AnnData
from scipy import sparse

from scfm_eval.datasets.genes import HALF, looks_ensembl
from scfm_eval.datasets.view import view
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.counts import aligned_counts, csr_counts
from scfm_eval.models.protocols import GeneIds

_FEWEST = 0.1


def namespace(genes: Sequence[str]) -> GeneIds:
    """Return whether genes are named by Ensembl id or by symbol; what most of them are decides."""
    return "ensembl" if looks_ensembl(genes) >= HALF else "symbol"


def counts_by_name(cells: AnnData, *, order: Sequence[str], model: str) -> sparse.csr_matrix:
    """Return counts with one column per gene of a model, also where the cells name genes in the other namespace.

    Parameters
    ----------
    cells
        Not changed.
    order
        Names of the model's genes ``(n_order,)``, each once.
    model
        Name of the model, for messages.

    Returns
    -------
    CSR float32 ``(n_cells, n_order)``: zero for a gene that the cells lack; counts of genes that answer to one name
    are added up.

    Raises
    ------
    InvalidInputError
        The cells have less than a tenth of the model's genes.
    """
    genes = [str(gene) for gene in cells.var_names]
    named = AnnData(csr_counts(cells), obs=pd.DataFrame(index=cells.obs_names), var=pd.DataFrame(index=genes))
    seen, _ = view(named, gene_ids=namespace(order), source_gene_ids=namespace(genes), vocabulary=order)
    if seen.n_vars < _FEWEST * len(order):
        raise InvalidInputError(
            asked=f"{model} on cells with {len(genes)} genes",
            found=f"{seen.n_vars} of its {len(order)} genes among them",
            remedy="give cells of the organism and with the names of genes that it was trained on",
        )
    return aligned_counts(seen, genes=list(seen.var_names), order=order)

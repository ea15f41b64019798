"""How scBERT reads a cell: one token per gene of its list, the whole part of log2(1 + counts per 10,000)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import few
from scfm_eval.models.files import refusing
from scfm_eval.models.protocols import Effect
from scfm_eval.trial import require_survived

Pooling = Literal["all", "genes", "max", "last", "expressed"]
Sentence = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Places of a cell's genes whose token is not 0, and these tokens."""

_TARGET = 10_000


def log2_values(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return log2(1 + counts per 10,000), float32, of the genes in the list; a cell without counts stays zero.

    Parameters
    ----------
    counts
        Raw counts ``(n_cells, n_genes)`` in the order of the list.
    """
    made = sparse.csr_matrix(counts, dtype=np.float32, copy=True)
    made.eliminate_zeros()
    total = np.asarray(made.sum(axis=1)).ravel() / _TARGET
    made.data /= np.repeat(total, np.diff(made.indptr)).astype(np.float32)
    # log1p in float32, then the division: near whole numbers another route to log2 can fall on the other side
    made.data = (np.log1p(made.data) / np.log(2)).astype(np.float32)
    return made


def sentences(counts: sparse.csr_matrix, *, bin_num: int) -> list[Sentence]:
    """Return the tokens of each cell that are not 0.

    Parameters
    ----------
    counts
        See :func:`log2_values`.
    bin_num
        Largest token.
    """
    values = log2_values(counts)
    values.data = np.floor(np.minimum(values.data, bin_num))
    values.eliminate_zeros()
    places, tokens = values.indices.astype(np.int64), values.data.astype(np.int64)
    return [(places[a:b], tokens[a:b]) for a, b in zip(values.indptr[:-1], values.indptr[1:], strict=True)]


def perturbed(cell: Sentence, *, places: NDArray[np.int64], effect: Effect, bin_num: int) -> Sentence:
    """Return a cell in which some genes have token 0 (knockdown) or the largest one (activation).

    Parameters
    ----------
    cell
        From :func:`sentences`.
    places
        Of the genes to perturb.
    effect, bin_num
        What is done to them, and the largest token.
    """
    kept = ~np.isin(cell[0], places)
    if effect == "knockdown":
        return cell[0][kept], cell[1][kept]
    added = np.unique(places)
    return np.concatenate([cell[0][kept], added]), np.concatenate([cell[1][kept], np.full(len(added), bin_num)])


def read_genes(path: Path) -> list[str]:
    """Return the symbols in the gene index of an ``.h5ad``, in order; nothing else of the file is read.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or a symbol is there twice.
    """
    import h5py
    from anndata.io import read_elem

    remedy = "use the .h5ad that was published with the checkpoint"
    with refusing(asked=f"the genes in {path}", remedy=remedy):
        require_survived("hdf5", path)
        with h5py.File(path) as file:
            genes = [str(gene) for gene in read_elem(file["var"]).index]
    if len(set(genes)) < len(genes):
        twice = sorted({gene for gene in genes if genes.count(gene) > 1})
        raise InvalidInputError(
            asked=f"a list of genes in {path}",
            found=f"genes that are there twice: {few(twice)}",
            remedy=remedy,
        )
    return genes

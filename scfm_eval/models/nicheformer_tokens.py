"""How Nicheformer reads a cell: its genes ranked by their counts over the technology's usual ones, after three tokens.

Tejada-Lapuerta et al. 2025, doi:10.1038/s41592-025-02814-z.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.arrays import read_npy
from scfm_eval.datasets.dataset import read_h5ad
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, pretrained
from scfm_eval.models.files import refusing

Means = Literal["filled", "rounded", "raw"]
Pooling = Literal["mean", "padded_mean"]

SPECIES = {"human": 5, "mouse": 6}
ASSAYS = {
    "merfish": 7, "cosmx": 8, "xenium": 9, "10x 5' v2": 10, "10x 3' v3": 11, "10x 3' v2": 12, "10x 5' v1": 13,
    "10x 3' v1": 14, "10x 3'": 15, "10x 5'": 16, "cite-seq": 17, "smart-seq v4": 18,
}  # fmt: skip
MODALITIES = {"dissociated": 3, "spatial": 4}
PADDING = 1
N_CONTEXT = 3
"""Tokens in front of the genes: species, assay and modality."""
_PUBLISHED = {20_310: ("Nicheformer", "c6529e88df9ff077efe5067d92b79163d2f4d96476ff5ec5a012b7ecc4bfa7e7")}
FIRST_GENE = 30
"""Token of the first gene; those before are of the context, or free."""


def context_tokens(*, specie: str, assay: str, modality: str) -> NDArray[np.int64]:
    """Return the three tokens in front of the genes; raises ``InvalidInputError`` for a name that has none."""
    asked: list[tuple[str, str, Mapping[str, int]]] = [
        ("specie", specie, SPECIES),
        ("assay", assay, ASSAYS),
        ("modality", modality, MODALITIES),
    ]
    for what, name, known in asked:
        if name not in known:
            raise InvalidInputError(
                asked=f"Nicheformer with {what}={name!r}",
                found="no token of that name",
                remedy=f"take one of {[*known]}",
            )
    return np.array([known[name] for _, name, known in asked], dtype=np.int64)


def read_order(path: Path) -> list[str]:
    """Return the Ensembl ids of the genes in the order of their tokens, from the one cell that was published with them.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or a gene stands in it twice.
    GuardError
        There are as many genes as in the published order, but others or in another order.
    """
    genes = [str(gene) for gene in read_h5ad(path).var_names]
    if len(set(genes)) < len(genes):
        raise InvalidInputError(
            asked=f"the order of genes in {path}", found="a gene twice", remedy="use the model.h5ad of the release"
        )
    pretrained.require_published(genes, published=_PUBLISHED, path=path)
    return genes


def read_means(path: Path, *, n_genes: int, means: Means) -> NDArray[np.float64]:
    """Return what the counts of each gene are divided by ``(n_genes,)``.

    Parameters
    ----------
    path
        File of numpy; NaN for a gene that the technology never saw.
    n_genes
        Genes of the checkpoint.
    means
        See :class:`~scfm_eval.models.nicheformer.Nicheformer`.

    Raises
    ------
    InvalidInputError
        The file cannot be read, or holds another number of means, or one below 0 or infinite.
    """
    remedy = "use the mean that was published with the checkpoint, *_mean_script.npy"
    with refusing(asked=f"the content of {path}", remedy=remedy):
        found = read_npy(path)
    usable = found.shape == (n_genes,) and found.dtype.kind == "f" and not np.isinf(found).any()
    if not usable or (found < 0).any() or not (found > 0).any():
        raise InvalidInputError(
            asked=f"a finite mean, or NaN, for each of {n_genes} genes in {path}, some above 0",
            found=f"an array of shape {found.shape} and type {found.dtype}, or values in it that no means are",
            remedy=remedy,
        )
    mean = found.astype(np.float64)
    if means == "rounded":
        mean = np.floor(np.nan_to_num(mean) + 0.5)
    elif means == "filled":
        mean = np.nan_to_num(mean)
    return np.where(mean == 0, 1.0, mean)


def ranked_genes(
    counts: sparse.csr_matrix, *, mean: NDArray[np.float64], n_genes: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the genes of each cell, highest first, with what they are ranked by; of equals the first in order.

    The total of a cell changes no rank, so that whole counts over whole means are compared and equal ones are equal.

    Parameters
    ----------
    counts, mean
        Counts in the order of the tokens ``(n_cells, n_order)``, and what they are divided by ``(n_order,)``. A gene
        whose mean is NaN is put after the others of every cell, counted or not, as upstream does by accident.
    n_genes
        Most genes of a cell.

    Returns
    -------
    list
        Places of the genes in order, and counts per 10,000 over their mean, ``(n,)`` each.
    """
    everywhere = np.flatnonzero(np.isnan(mean))
    made = []
    for a, b in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        values, columns = counts.data[a:b].astype(np.float64), counts.indices[a:b]
        ratio = values / mean[columns]
        kept = np.flatnonzero(ratio > 0)
        order = kept[np.lexsort((columns[kept], -ratio[kept]))]
        genes = np.concatenate([columns[order], everywhere])[:n_genes].astype(np.int64)
        scores = np.concatenate([ratio[order] * 1e4 / max(values.sum(), 1e-12), mean[everywhere]])[:n_genes]
        made.append((genes, scores))
    return made


def sources(folder: Path) -> list[Path]:
    """Return checkpoint, order of genes and all means in a folder; raises ``InvalidInputError`` where they lack."""
    files = checkpoint.choose_files(folder, [("nicheformer.ckpt", "model.h5ad")])
    return [*files, *sorted(folder.glob("*_mean_script.npy"))]

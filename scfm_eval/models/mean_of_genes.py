"""Cells as weighted means of gene vectors, the weight of a gene being its log-normalised expression."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.models import checkpoint, options
from scfm_eval.models.batching import Unread, gene_rows, refuse_unread
from scfm_eval.models.counts import aligned_counts, csr_counts, gene_places
from scfm_eval.models.gene_vectors import SUFFIXES, read_gene_vectors
from scfm_eval.models.one_file import OneFile
from scfm_eval.timing import phase

Divisor = Literal["weights", "genes"]
Total = Literal["readable", "all"]

_TARGET = 1e4


@dataclass(frozen=True)
class Missing:
    """What a table of gene vectors does not tell of some cells.

    Parameters
    ----------
    absent, without
        Genes of the cells that the table does not list, and that it lists with a vector of zeros.
    genes, counts
        Share of the genes of the cells, and of all their counts, that have no vector, 0 to 1.
    """

    absent: int
    without: int
    genes: float
    counts: float


class MeanOfGeneVectors(OneFile):
    """A cell as the mean of its genes' vectors, weighted by expression; adapters state the card.

    The weight of a gene is ``ln(1 + 10,000 × its counts / the total of the cell)``.

    Parameters
    ----------
    weights
        The table of gene vectors, or the folder that holds it; see
        :func:`~scfm_eval.models.gene_vectors.read_gene_vectors`. ``None`` looks in ``$SCFM_EVAL_WEIGHTS/<name>`` and
        then takes the published one.
    divisor
        ``"weights"`` divides by the summed weight of the genes that have a vector, ``"genes"`` by the number of all
        genes of the cells that are handed over.
    total
        Which counts make the total of a cell: those of the genes that have a vector (``"readable"``), or all that are
        handed over (``"all"``). The suite hands over genes with a vector only, so that there the two are one.
    unit
        Whether rows are divided by their length.
    unread
        Whether a cell without any gene that has a vector is refused (``"refuse"``) or gets a row of zeros (``"keep"``).
    batch_size
        Cells that are multiplied at once.
    offline
        Never download.
    """

    gene_ids: ClassVar[str] = "symbol"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        divisor: Divisor = "weights",
        total: Total = "readable",
        unit: bool = False,
        unread: Unread = "refuse",
        batch_size: int = 4096,
        offline: bool = False,
    ) -> None:
        options.require_known("divisor", divisor, known=get_args(Divisor))
        options.require_known("total", total, known=get_args(Total))
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_flag("unit", unit)
        options.require_whole("batch_size", batch_size, least=1)
        self.divisor, self.total, self.unit, self.unread, self.batch_size = divisor, total, unit, unread, batch_size
        file = self.locate(weights, offline=offline)
        with phase("load"):
            self._table = read_gene_vectors(file)
        self.n_parameters = int(self._table.vectors.size)
        self.weights_sha256 = checkpoint.weights_sha256([file])
        self.loaded_share = 1.0

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the genes that have a vector; one of zeros is none."""
        return frozenset(read_gene_vectors(cls.locate(weights, offline=True)).genes)

    @cached_property
    def genes(self) -> list[str]:
        """Genes that have a vector, in the order of the table."""
        return list(self._table.genes)

    def missing(self, cells: AnnData) -> Missing:
        """Return which share of the genes of ``cells``, and of their counts, has no vector."""
        genes = [str(gene) for gene in cells.var_names]
        lacks = gene_places(genes, order=self.genes) < 0
        without = int(np.isin(genes, self._table.without).sum())
        counts = np.asarray(csr_counts(cells).sum(axis=0, dtype=np.float64)).ravel()
        share = float(counts[lacks].sum() / counts.sum()) if counts.sum() else 0.0
        return Missing(int(lacks.sum()) - without, without, float(lacks.mean()), share)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no counts of a gene that has a vector (with ``unread="refuse"``), or a gene has several columns.
        """
        with phase("tokenise"):
            order = [gene for gene in self.genes if gene in cells.var_names]
            counts = aligned_counts(cells, genes=[str(gene) for gene in cells.var_names], order=order)
            weight = self._weighted(counts, cells)
        if self.unread == "refuse":
            refuse_unread(np.diff(weight.indptr), names=list(cells.obs_names))
        vectors = self._table.vectors[gene_places(order, order=self.genes)].astype(np.float64)
        with phase("forward"):
            made = np.zeros((cells.n_obs, self._table.vectors.shape[1]), dtype=np.float32)
            for start in range(0, cells.n_obs, self.batch_size):
                batch = slice(start, start + self.batch_size)
                made[batch] = self._mean(weight[batch], vectors, n_genes=cells.n_vars)
        return made

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the vector of each gene ``(n_genes, d)``; NaN for a gene without one."""
        return gene_rows(self._table.vectors, token=gene_places(genes, order=self.genes))

    def _weighted(self, counts: sparse.csr_matrix, cells: AnnData) -> sparse.csr_matrix:
        """Return the weight of each gene in each cell, float64, without stored zeros."""
        weight = sparse.csr_matrix(counts, dtype=np.float64)
        weight.eliminate_zeros()
        of_total = weight if self.total == "readable" else csr_counts(cells)
        total = np.asarray(of_total.sum(axis=1, dtype=np.float64)).ravel()
        weight.data = np.log1p(weight.data * (_TARGET / np.repeat(total, np.diff(weight.indptr))))
        return weight

    def _mean(self, weight: sparse.csr_matrix, vectors: NDArray[np.float64], *, n_genes: int) -> NDArray[np.float64]:
        summed = np.asarray(weight @ vectors)
        if self.unit:
            divisor = np.linalg.norm(summed, axis=1)
        elif self.divisor == "weights":
            divisor = np.asarray(weight.sum(axis=1)).ravel()
        else:
            divisor = np.full(len(summed), float(n_genes))
        return summed / np.where(divisor > 0, divisor, 1.0)[:, None]

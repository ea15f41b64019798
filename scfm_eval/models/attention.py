"""From attention between the tokens of cells to a score of each ordered pair of genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class PairMeans:
    """Means over cells of what one gene's token pays to another's.

    Parameters
    ----------
    n_genes
        Genes that are asked for; they are numbered from 0.
    """

    def __init__(self, n_genes: int) -> None:
        self._sum = np.zeros((n_genes, n_genes))
        self._cells = np.zeros((n_genes, n_genes), dtype=np.int64)

    def add(self, attention: NDArray[np.floating], *, gene: NDArray[np.int64]) -> None:
        """Take in one cell.

        Parameters
        ----------
        attention
            From each token (row) to each token (column), mean over heads, ``(l, l)``.
        gene
            Number of the gene of each token ``(l,)``; −1 for a token that is none of those asked for. A gene with
            several tokens counts with the mean over them.
        """
        kept = np.flatnonzero(gene >= 0)
        found, tokens = np.unique(gene[kept], return_inverse=True)
        mean = np.zeros((len(found), len(kept)))
        mean[tokens, np.arange(len(kept))] = 1 / np.bincount(tokens)[tokens]
        self._sum[np.ix_(found, found)] += mean @ attention[np.ix_(kept, kept)] @ mean.T
        self._cells[np.ix_(found, found)] += 1

    def scores(self) -> NDArray[np.float32]:
        """Return ``(n_genes, n_genes)``: how much the column's gene attends to the row's, so that rows are sources.

        NaN where no cell has both genes, and on the diagonal.
        """
        with np.errstate(invalid="ignore"):
            mean = (self._sum / self._cells).T
        np.fill_diagonal(mean, np.nan)
        return mean.astype(np.float32)


def number_of(genes: Sequence[str]) -> dict[str, int]:
    """Return the number of each gene that is asked for; the first one where a name repeats."""
    numbers: dict[str, int] = {}
    for place, gene in enumerate(genes):
        numbers.setdefault(gene, place)
    return numbers

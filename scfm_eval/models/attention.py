"""From attention between the tokens of cells to a score of each ordered pair of genes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.models.batching import batches_by_length, in_batches, sentence_lengths

if TYPE_CHECKING:
    from torch import Tensor

# with the budget of 16 cells of 4,096 tokens, one such cell is a batch: 67 MB for each head that is held
_PAIRS_PER_TOKEN = 256


def pair_scores(
    attend: Callable[[NDArray[np.int64]], Tensor],
    sentences: Sequence[NDArray[np.int64]],
    *,
    asked: NDArray[np.int64],
    token_budget: int,
    **how: Any,
) -> NDArray[np.float32]:
    """Return the attention that the column's gene pays to the row's ``(n_genes, n_genes)``, so that rows are sources.

    It is one definition for all transformers: the mean over heads and over all blocks, then over the tokens of a gene
    in a cell, then over the cells that have both genes. NaN where no cell has both, and on the diagonal.

    Parameters
    ----------
    attend
        Takes the places of some cells ``(b,)`` and returns the attention from each token (row) to each (column), mean
        over heads and blocks, ``(b, l, l)``; shorter cells are padded on the right.
    sentences
        Tokens of each cell.
    asked
        Token of each gene that is asked for ``(n_genes,)``; −1 for one that the model does not know.
    token_budget
        Most tokens in a batch of an embedding. As a cell of l tokens has l² pairs of them, a batch holds at most 256
        pairs for each token of this budget, or one cell.
    how
        See :func:`~scfm_eval.models.batching.pool_in_batches`.
    """
    means = PairMeans(asked)

    def take_in(batch: NDArray[np.int64]) -> None:
        for place, paid in zip(batch, attend(batch).float().cpu().numpy(), strict=True):
            tokens = sentences[place]
            means.add(paid[: len(tokens), : len(tokens)], tokens=tokens)

    n_pairs = sentence_lengths(sentences) ** 2
    in_batches(take_in, batches_by_length(n_pairs, token_budget=token_budget * _PAIRS_PER_TOKEN), **how)
    return means.scores()


class AttendsToGenes:
    """What adapters of transformers inherit whose scores of gene pairs are the attention between their tokens.

    A sentence is the tokens of a cell, or a tuple that begins with them.
    """

    def _read(self, cells: AnnData) -> Sequence[Any]:
        """Return the sentence of each cell."""
        raise NotImplementedError

    def _how(self) -> dict[str, Any]:
        """Return how batches are run; see :func:`~scfm_eval.models.batching.pool_in_batches`."""
        raise NotImplementedError

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        """Return the token of each gene ``(n_genes,)``; −1 for one that the model does not know."""
        raise NotImplementedError

    def _attention(self, read: Sequence[Any]) -> Tensor:
        """Return the attention between the tokens of some sentences; see ``attend`` of :func:`pair_scores`."""
        raise NotImplementedError

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return attention between genes ``(n_genes, n_genes)``: what the column's gene pays to the row's.

        Mean over heads, blocks and the cells that have both genes, as in :func:`pair_scores`; raises like ``embed``.
        """
        read = self._read(cells)
        return pair_scores(
            lambda batch: self._attention([read[i] for i in batch]),
            [cell[0] if isinstance(cell, tuple) else cell for cell in read],
            asked=self._gene_tokens(genes),
            **self._how(),
        )


class PairMeans:
    """Means over cells of what one gene's token pays to another's.

    Parameters
    ----------
    asked
        Token of each gene that is asked for ``(n_genes,)``; −1 for one that the model does not know. Genes with one
        token have the same scores.
    """

    def __init__(self, asked: NDArray[np.int64]) -> None:
        self._token, self._place = np.unique(asked, return_inverse=True)
        n_tokens = len(self._token)
        self._sum = np.zeros((n_tokens, n_tokens))
        self._cells = np.zeros((n_tokens, n_tokens), dtype=np.int64)

    def add(self, attention: NDArray[np.floating], *, tokens: NDArray[np.int64]) -> None:
        """Take in one cell.

        Parameters
        ----------
        attention
            From each token (row) to each token (column), mean over heads, ``(l, l)``.
        tokens
            Of the cell ``(l,)``, 0 or more. A gene that has several of them counts with the mean over them.
        """
        kept = np.flatnonzero(np.isin(tokens, self._token))
        found, of = np.unique(tokens[kept], return_inverse=True)
        mean = np.zeros((len(found), len(kept)))
        mean[of, np.arange(len(kept))] = 1 / np.bincount(of)[of]
        gene = np.searchsorted(self._token, found)
        self._sum[np.ix_(gene, gene)] += mean @ attention[np.ix_(kept, kept)] @ mean.T
        self._cells[np.ix_(gene, gene)] += 1

    def scores(self) -> NDArray[np.float32]:
        """Return ``(n_genes, n_genes)``: how much the column's gene attends to the row's, so that rows are sources.

        NaN where no cell has both genes, and on the diagonal.
        """
        with np.errstate(invalid="ignore"):
            mean = (self._sum / self._cells).T
        np.fill_diagonal(mean, np.nan)
        return mean[np.ix_(self._place, self._place)].astype(np.float32)

"""How scGPT reads a cell: the tokens of its expressed genes, each with its binned expression.

Upstream bins equal counts at random and samples long cells at random, from global generators. Here the default bins
each tie in the middle, and whatever is drawn is drawn from a generator that the cell's own content seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, pretrained
from scfm_eval.models.batching import refuse_unread
from scfm_eval.models.protocols import Effect

Binning = Literal["midpoint", "random"]
Pooling = Literal["cls", "mean"]
Sentence = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Tokens and binned values of a cell, ``<cls>`` first."""

CLS_VALUE = -2.0
"""Value of ``<cls>``; upstream gives it the padding value."""
RELEASES = {60_697: "scGPT whole-human"}
"""Name of the release whose vocabulary has so many names."""
_PUBLISHED = {60_697: (RELEASES[60_697], "bbcddba7bb33b9ea3a5703e8a2added16cc10c0bc31c57a85d293faa358bfd92")}
N_BINS = 51
"""Bins of expression, 0 for genes that are not expressed counted."""


def bin_values(values: NDArray[np.float32], draw: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the bin of each expressed gene among the 50 quantile edges of its own cell.

    A value that several edges equal lies between a lowest and a highest bin; ``draw`` says where.

    Parameters
    ----------
    values
        Counts of the expressed genes of one cell, ``(n,)``.
    draw
        In [0, 1), one for all or one per gene; 0.5 is the middle.
    """
    edges = np.quantile(values, np.linspace(0, 1, N_BINS - 1))
    highest = np.digitize(values, edges)
    lowest = np.digitize(values, edges, right=True)
    return np.ceil(draw * (lowest - highest) + highest).astype(np.float32)


def cell_generator(tokens: NDArray[np.int64], values: NDArray[np.float32], *, seed: int) -> np.random.Generator:
    """Return a generator that only the seed and the genes and counts of one cell determine, in whatever order."""
    order = np.lexsort((values, tokens))
    content = np.int64(seed).tobytes() + tokens[order].tobytes() + values[order].tobytes()
    return np.random.default_rng(np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint32))


def sentence(
    tokens: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    cls: int,
    max_length: int,
    binning: Binning,
    seed: int,
) -> Sentence:
    """Return tokens and binned values of one cell, ``<cls>`` first; a long cell is sampled after binning.

    Parameters
    ----------
    tokens, values
        Expressed genes of the cell and their counts, ``(n,)``.
    cls
        Token of ``<cls>``.
    max_length, binning, seed
        See :class:`~scfm_eval.models.scgpt.ScGPT`.
    """
    if binning == "midpoint" and len(tokens) < max_length:
        bins = bin_values(values, 0.5)
    else:
        order = np.lexsort((values, tokens))
        generator = cell_generator(tokens, values, seed=seed)
        tokens, values = tokens[order], values[order]
        bins = bin_values(values, 0.5 if binning == "midpoint" else generator.random(len(values)))
        if len(tokens) >= max_length:
            kept = generator.permutation(len(tokens))[: max_length - 1]
            tokens, bins = tokens[kept], bins[kept]
    return np.concatenate([[cls], tokens]), np.concatenate([[np.float32(CLS_VALUE)], bins]).astype(np.float32)


def sentences(
    counts: sparse.csr_matrix, *, token: NDArray[np.int64], names: Sequence[str], **how: Any
) -> list[Sentence]:
    """Return the :func:`sentence` of each cell; raises ``InvalidInputError`` for a cell without any known gene.

    Parameters
    ----------
    counts, token
        ``(n_cells, n_columns)``, and the token of each column, −1 for a gene that is not in the vocabulary.
    names, how
        Names of the cells, for messages, and what is passed on to :func:`sentence`.
    """
    columns = np.flatnonzero(token >= 0)
    read = sparse.csr_matrix(counts[:, columns], dtype=np.float32)
    read.eliminate_zeros()
    read.sort_indices()
    refuse_unread(np.diff(read.indptr), names=names)
    genes, cells = token[columns][read.indices], zip(read.indptr[:-1], read.indptr[1:], strict=True)
    return [sentence(genes[a:b], read.data[a:b], **how) for a, b in cells]


def perturbed(cell: Sentence, *, token: NDArray[np.int64], effect: Effect, max_length: int) -> Sentence:
    """Return the sentence of a cell whose genes were perturbed after binning.

    Knockdown gives the lowest bin, 0, to those of the genes that the cell expresses. Activation gives all of them the
    highest, 50; one that the cell does not express is added, in a full sentence in place of the last other gene.

    Parameters
    ----------
    cell
        From :func:`sentence`.
    token
        Of the genes to perturb.
    effect, max_length
        What is done to them, and the most tokens of a cell.
    """
    tokens, values = cell
    meant = np.isin(tokens, token)
    values = np.where(meant, np.float32(0 if effect == "knockdown" else N_BINS - 1), values)
    added = np.setdiff1d(token, tokens) if effect == "activation" else token[:0]
    meant[0] = True  # <cls> stays
    kept = np.sort(np.argsort(~meant, kind="stable")[: max_length - len(added)])
    top = np.full(len(added), N_BINS - 1, dtype=np.float32)
    return np.concatenate([tokens[kept], added]), np.concatenate([values[kept], top])


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return gene symbol, ``<pad>`` and ``<cls>`` to token id.

    Raises
    ------
    InvalidInputError
        One of the latter two is missing, or the ids are not each of 0 to the number of names less 1.
    GuardError
        There are as many names as in the published vocabulary, but others or in another order.
    """
    tokens = checkpoint.read_tokens(path)
    if not {"<pad>", "<cls>"} <= tokens.keys():
        raise InvalidInputError(
            asked=f"a scGPT vocabulary in {path}",
            found="no dictionary with <pad> and <cls>",
            remedy="use the vocab.json of the release",
        )
    pretrained.require_published(tokens, published=_PUBLISHED, path=path)
    return tokens

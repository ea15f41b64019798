"""How LangCell reads a cell: its genes ranked by their expression over the gene's usual expression, after ``<cls>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.batching import Unread, refuse_unread
from scfm_eval.models.counts import aligned_counts, csr_counts, numbers_of

Ranking = Literal["exact", "float32"]
Pooling = Literal["projection", "cls", "mean", "mean_genes"]

DICTIONARIES = ("token_dictionary", "gene_median_dictionary")
"""Names, without their ends, of the files that say something about genes."""
_TARGET_SUM = np.float32(10_000)


@dataclass(frozen=True)
class GeneTable:
    """The genes that LangCell reads, in the order of their tokens.

    Parameters
    ----------
    genes
        Ensembl ids ``(n_genes,)``.
    token
        Their token ids ``(n_genes,)``, ascending.
    median
        Their median nonzero expression, counts per 10,000, in the pretraining corpus ``(n_genes,)``.
    n_tokens
        Entries of the token dictionary; ``<cls>`` is not among them and has this number.
    files
        Where the dictionaries were read.
    """

    genes: tuple[str, ...]
    token: NDArray[np.int64]
    median: NDArray[np.float64]
    n_tokens: int
    files: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path) -> GeneTable:
        """Read the dictionaries in a folder.

        Raises
        ------
        InvalidInputError
            One is missing, a token id is none, ``<pad>`` is not token 0, or a median is no number above 0.
        """
        tokens_file, medians_file = dictionary_files(folder)
        tokens, medians = checkpoint.read_tokens(tokens_file), _medians(medians_file)
        if tokens.get("<pad>") != 0:
            raise InvalidInputError(
                asked=f"<pad> as token 0 in {tokens_file}",
                found="no <pad>" if "<pad>" not in tokens else f"token {tokens['<pad>']}",
                remedy="use the dictionary of geneformer 0.0.1 that comes with LangCell",
            )
        known = sorted((number, gene) for gene, number in tokens.items() if gene in medians)
        return cls(
            genes=tuple(gene for _, gene in known),
            token=np.array([number for number, _ in known], dtype=np.int64),
            median=np.array([medians[gene] for _, gene in known], dtype=np.float64),
            n_tokens=len(tokens),
            files=(tokens_file, medians_file),
        )

    def tokens_of(self, genes: Sequence[str]) -> NDArray[np.int64]:
        """Return the token of each gene ``(n,)``; −1 for one that is not read."""
        return numbers_of(genes, table=dict(zip(self.genes, self.token.tolist(), strict=True)))


def dictionary_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of tokens and of medians in a folder; raises ``InvalidInputError`` where one is missing."""
    return checkpoint.choose_files(folder, [tuple(f"{stem}.{end}" for stem in DICTIONARIES) for end in ("pkl", "json")])


def _medians(path: Path) -> dict[str, float]:
    said = checkpoint.read_dictionary(path)
    strange = [f"{gene!r}: {value!r}" for gene, value in said.items() if not _is_median(value)]
    if strange:
        raise InvalidInputError(
            asked=f"a number above 0 for each gene in {path}",
            found=f"{len(strange)} of {len(said)} that are none: {checkpoint.few(strange)}",
            remedy="use the dictionary of geneformer 0.0.1 that comes with LangCell",
        )
    return {gene: float(value) for gene, value in said.items()}


def _is_median(value: Any) -> bool:
    number = isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
    return bool(number and 0 < value < np.inf)


def gene_ids(cells: AnnData) -> list[str]:
    """Return the Ensembl id of each column: ``var["ensembl_id"]`` where that column exists, else ``var_names``."""
    return [str(gene) for gene in cells.var.get("ensembl_id", cells.var_names)]


def total_counts(cells: AnnData) -> NDArray[np.float32]:
    """Return the counts of each cell over all columns ``(n_cells,)``, those of genes that are not read too."""
    return np.asarray(csr_counts(cells).sum(axis=1), dtype=np.float32).ravel()


def sentences(
    cells: AnnData, *, table: GeneTable, length: int, ranking: Ranking, unread: Unread
) -> list[NDArray[np.int64]]:
    """Return the tokens of each cell, ``<cls>`` first, genes by descending count over median, ties by token.

    Parameters
    ----------
    cells
        Not changed.
    table
        The genes.
    length
        Most tokens, ``<cls>`` counted.
    ranking
        ``"exact"`` divides counts by medians in double precision: the total of a cell is common to its genes. With
        ``"float32"`` counts are first brought to 10,000 a cell in single precision, as published; its rounding decides
        about values that are equal or nearly so.
    unread
        ``"keep"`` gives what the published code gives for a cell that cannot be read: ``<cls>`` alone where no gene is
        known, and all known genes in the order of the columns where there is no count at all (0/0 is not zero).

    Raises
    ------
    InvalidInputError
        A gene stands in several columns, or a cell has no gene that can be read and ``unread`` is ``"refuse"``.
    """
    ids = gene_ids(cells)
    counts = aligned_counts(cells, genes=ids, order=table.genes)
    counts.eliminate_zeros()
    if unread == "refuse":
        refuse_unread(np.diff(counts.indptr), names=list(cells.obs_names))
    total = total_counts(cells) if ranking == "float32" or unread == "keep" else None
    values = _values(counts, median=table.median, total=total if ranking == "float32" else None)
    bounds = zip(counts.indptr[:-1], counts.indptr[1:], strict=True)
    ranked = [table.token[counts.indices[a:b][np.argsort(-values[a:b], kind="stable")]] for a, b in bounds]
    if total is not None and not total.all():
        tokens = table.tokens_of(ids)
        ranked = [genes if n else tokens[tokens >= 0] for genes, n in zip(ranked, total, strict=True)]
    return [np.concatenate([[table.n_tokens], genes[: length - 1]]).astype(np.int64) for genes in ranked]


def _values(
    counts: sparse.csr_matrix, *, median: NDArray[np.float64], total: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """Return what genes are ranked by, in the order of ``counts.data``."""
    if total is None:
        found: NDArray[np.float64] = counts.data / median[counts.indices]
        return found
    of_cell = np.repeat(total, np.diff(counts.indptr))
    scaled: NDArray[np.float64] = counts.data / of_cell * _TARGET_SUM / median[counts.indices]
    return scaled

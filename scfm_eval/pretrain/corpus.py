"""The cells that a model is pretrained on: raw counts over genes with Ensembl ids, from one or more sources."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.counts import counts_in, some
from scfm_eval.datasets.dataset import read_h5ad
from scfm_eval.datasets.genes import looks_ensembl, to_symbol, without_version
from scfm_eval.errors import InvalidInputError

_SPECIAL = re.compile("<.*>")
_ONE_SOURCE = "corpus"
_FEWEST_GENES = 2


@dataclass(frozen=True, eq=False)
class Corpus:
    """Cells to learn from.

    Parameters
    ----------
    name, sha256
        Name of the file and SHA-256 of its bytes.
    counts
        Raw counts ``(n_cells, n_genes)``.
    genes, symbols
        Ensembl id and symbol of each gene, no symbol twice; a gene without one of its own keeps its id.
    source
        Where each cell comes from ``(n_cells,)``.
    """

    name: str
    sha256: str
    counts: sp.csr_matrix
    genes: tuple[str, ...]
    symbols: tuple[str, ...]
    source: NDArray[np.str_]

    def held_out(self, *, share: float, seed: int) -> NDArray[np.bool_]:
        """Return which cells are kept from training ``(n_cells,)``: ``share`` of each source.

        At least one cell of each source is held out, and at least one is learned from.

        Raises
        ------
        InvalidInputError
            A source has a single cell, or the share is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise InvalidInputError(
                asked=f"a held-out share of {share}", found="a share outside (0, 1)", remedy="give 0.05, say"
            )
        rng, held = np.random.default_rng(seed), np.zeros(len(self.source), dtype=bool)
        for name in np.unique(self.source):
            cells = np.flatnonzero(self.source == name)
            if len(cells) == 1:
                raise InvalidInputError(
                    asked=f"cells of source {name} to learn from and others to judge by",
                    found="a single cell",
                    remedy="leave this source out, or join it with another one in obs['source']",
                )
            n_held = min(max(1, round(share * len(cells))), len(cells) - 1)
            held[rng.permutation(cells)[:n_held]] = True
        return held


def read_corpus(path: Path) -> Corpus:
    """Return the corpus in an ``.h5ad``: raw counts in ``X``, Ensembl ids as ``var_names``.

    Symbols are ``var["symbol"]`` where that column exists, else those of the packaged table of genes; sources are
    ``obs["source"]`` where that column exists, else all cells are of one source.

    Raises
    ------
    InvalidInputError
        The file is not there, ``X`` is not raw counts, genes are not two or more unique Ensembl ids (of whatever
        species), or a cell has no source.
    """
    if path.is_dir():
        raise InvalidInputError(asked=f"the corpus {path}", found="a folder", remedy="give an .h5ad file")
    adata = read_h5ad(path)
    counts = _counts(adata, name=path.name)
    strange = [str(gene) for gene in adata.var_names if looks_ensembl([str(gene)]) < 1]
    if strange:
        raise InvalidInputError(
            asked=f"Ensembl gene ids as var_names of {path.name}",
            found=f"{len(strange)} of {adata.n_vars} names that are none: {some(strange)}",
            remedy="set adata.var_names to Ensembl gene ids (ENSG…, or ENSMUSG… and those of other species), and drop "
            "genes without one",
        )
    genes = tuple(without_version(str(gene)) for gene in adata.var_names)
    if len(set(genes)) < len(genes):
        raise InvalidInputError(
            asked=f"one column for each gene of {path.name}",
            found=f"{len(genes) - len(set(genes))} Ensembl ids twice once their versions are taken off",
            remedy="sum the columns of one gene",
        )
    if len(genes) < _FEWEST_GENES:
        raise InvalidInputError(
            asked=f"a gene of {path.name} to be told from the others", found="a single gene", remedy="give more genes"
        )
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Corpus(
        name=path.name,
        sha256=sha256,
        counts=counts,
        genes=genes,
        symbols=_unique_symbols(_stated_symbols(adata, genes=genes), genes=genes),
        source=_sources(adata, name=path.name),
    )


def _counts(adata: AnnData, *, name: str) -> sp.csr_matrix:
    if adata.X is None:
        raise InvalidInputError(
            asked=f"the corpus {name} with raw integer counts",
            found="no X",
            remedy="write the file anew with the counts in X",
        )
    try:
        return counts_in(adata, what=f"the corpus {name}")
    except InvalidInputError as error:
        # there is no option to choose another matrix here
        where, chosen, _ = error.remedy.partition(": choose with counts=")
        remedy = f"{where}: write the file anew with these in X" if chosen else error.remedy
        raise InvalidInputError(asked=error.asked, found=error.found, remedy=remedy) from error


def _stated_symbols(adata: AnnData, *, genes: tuple[str, ...]) -> list[str | None]:
    if "symbol" not in adata.var:
        return to_symbol(genes)
    return [symbol if isinstance(symbol, str) else None for symbol in adata.var["symbol"]]


def _sources(adata: AnnData, *, name: str) -> NDArray[np.str_]:
    if "source" not in adata.obs:
        return np.full(adata.n_obs, _ONE_SOURCE)
    unstated = adata.obs["source"].isna()
    if unstated.any():
        raise InvalidInputError(
            asked=f"the source of each cell in obs['source'] of {name}",
            found=f"{int(unstated.sum())} of {adata.n_obs} cells without one: {some(adata.obs_names[unstated])}",
            remedy="name their source, or drop the column to take all cells as of one source",
        )
    return np.asarray(adata.obs["source"].astype(str), dtype=str)


def _unique_symbols(stated: list[str | None], *, genes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name for each gene, no name twice: the first gene keeps a symbol that several have.

    A gene keeps its id in place of a symbol that is the id of a gene, or that is written like a special token.
    """
    named: list[str] = []
    taken = set(genes)
    for symbol, gene in zip(stated, genes, strict=True):
        own = symbol if symbol and symbol not in taken and not _SPECIAL.fullmatch(symbol) else gene
        named.append(own)
        taken.add(own)
    return tuple(named)

"""Controls: results that are known before a model is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import shake_128

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.special import ndtri

from scfm_eval.timing import phase

_NOISE = 0.01


def normal_by_id(ids: Iterable[str], *, seed: int, width: int) -> NDArray[np.float32]:
    """Return standard-normal rows that depend on nothing but each id and the seed.

    Parameters
    ----------
    ids
        Names of cells or labels.
    seed
        Another seed gives other rows.
    width
        Numbers per row.

    Returns
    -------
    ``(n_ids, width)``, every value within ±6.4.
    """
    digests = b"".join(shake_128(f"{seed}:{name}".encode()).digest(4 * width) for name in ids)
    uniform = (np.frombuffer(digests, dtype="<u4").astype(np.float64) + 0.5) / 2**32
    return np.asarray(ndtri(uniform), dtype=np.float32).reshape(-1, width)


class Random:
    """Knows nothing: 50 standard-normal numbers that are a function of the seed and the cell's name.

    Parameters
    ----------
    seed
        Seed of the numbers.
    """

    name = "random"
    role = "control"
    in_default_run = False
    revision = "1"
    licence = "BSD-3-Clause"

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the numbers, ``(n_cells, 50)``."""
        with phase("forward"):
            return normal_by_id(cells.obs_names, seed=self._seed, width=50)

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return numbers that are a function of the seed and the gene's name, ``(n_genes, 50)``."""
        return normal_by_id(genes, seed=self._seed, width=50)

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return numbers that are a function of the seed and the names of both genes, ``(n_genes, n_genes)``."""
        del cells
        pairs = (f"{source}\0{target}" for source in genes for target in genes)
        return normal_by_id(pairs, seed=self._seed, width=1).reshape(len(genes), -1)


class Oracle:
    """Knows the labels: a code per label and a little noise per cell, so that inside a type neighbours are random.

    The code is a random direction that depends on the label's name only: a one-hot column would depend on which
    other labels are in the call. A cell without a label has the code zero.

    Parameters
    ----------
    seed
        Seed of the codes and of the noise.
    """

    name = "oracle"
    role = "control"
    in_default_run = False
    revision = "1"
    licence = "BSD-3-Clause"
    sees = ("label",)

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._truth: dict[str, NDArray[np.float32]] = {}

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return code plus noise (standard deviation 0.01), ``(n_cells, 64)``; codes have length 1."""
        with phase("forward"):
            noise = normal_by_id(cells.obs_names, seed=self._seed, width=64)
            return self._codes(cells.obs["label"]) + np.float32(_NOISE) * noise

    def tell_genes(self, genes: Sequence[str], *, truth: NDArray[np.bool_]) -> None:
        """Take in what is true of each gene ``(n_genes, n)``: its terms, or the genes that it regulates."""
        self._truth = dict(zip(genes, truth.astype(np.float32), strict=True))

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return what was told of each gene ``(n_genes, n)``; NaN for one of which nothing was."""
        width = next((len(row) for row in self._truth.values()), 1)
        unknown = np.full(width, np.nan, dtype=np.float32)
        return np.array([self._truth.get(gene, unknown) for gene in genes])

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return 1 where the row's gene was said to regulate the column's, else 0, ``(n_genes, n_genes)``."""
        del cells
        told = {gene: number for number, gene in enumerate(self._truth)}
        columns = [told.get(gene, -1) for gene in genes]
        padded = np.column_stack([self.embed_genes(genes), np.full(len(genes), np.nan, dtype=np.float32)])
        return padded[:, columns]

    def _codes(self, label: pd.Series) -> NDArray[np.float32]:
        positions, names = pd.factorize(label.astype(object))
        codes = normal_by_id((f"label {name}" for name in names), seed=self._seed, width=64)
        codes /= np.linalg.norm(codes, axis=1, keepdims=True)
        # position -1, a missing label, picks the row of zeros
        return np.vstack([codes, np.zeros((1, 64), dtype=np.float32)])[positions]

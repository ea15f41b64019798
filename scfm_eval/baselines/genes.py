"""What the cells of a dataset say of its genes without a model: co-expression, and how much of it a gene has."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.coexpression import Floats, gene_components, pearson, spearman
from scfm_eval.datasets.expression import log_normalised
from scfm_eval.timing import phase

_STRONGEST = 0.05
_BINS = 20


class CoexpressionPCA:
    """Genes placed by fifty principal components of their correlations over the cells of the dataset.

    Parameters
    ----------
    seed
        Seed of the iterative solver.
    """

    name = "coexpression_pca"
    role = "baseline"
    revision = version("scikit-learn")
    licence = "BSD-3-Clause"
    citation = "10.1186/1471-2105-9-559"
    trained_here = True

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, cells: AnnData) -> None:
        """Keep the cells, which genes are placed by."""
        self._cells = cells

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return coordinates ``(n_genes, at most 50)`` among these genes; NaN for one that was not measured."""
        place, there = _places(self._cells, genes)
        with phase("forward"):
            expressed = log_normalised(self._cells.X)[:, place[there]]
            vectors = gene_components(expressed, n_components=50, seed=self._seed)
        made = np.full((len(genes), vectors.shape[1]), np.nan, dtype=np.float32)
        made[there] = vectors
        return made


class PearsonCoexpression:
    """A pair of genes scores as much as their expression correlates over cells, whatever the sign."""

    name = "pearson_coexpression"
    role = "baseline"
    revision = "1"
    licence = "BSD-3-Clause"
    citation = "10.1186/1471-2105-9-559"

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return ``|r|`` of log-normalised counts ``(n_genes, n_genes)``, 0 to 1; NaN where a gene does not vary."""
        place, there = _places(cells, genes)
        made = np.full((len(genes), len(genes)), np.nan, dtype=np.float32)
        with phase("forward"):
            made[np.ix_(there, there)] = self._scores(np.abs(self._correlation(cells, place[there])))
        np.fill_diagonal(made, np.nan)
        return made

    def _correlation(self, cells: AnnData, columns: NDArray[np.intp]) -> Floats:
        return pearson(log_normalised(cells.X)[:, columns])

    def _scores(self, correlation: Floats) -> Floats:
        return correlation


class SpearmanCoexpression(PearsonCoexpression):
    """A pair of genes scores as much as the ranks of their expression correlate over cells, whatever the sign."""

    name = "spearman_coexpression"

    def _correlation(self, cells: AnnData, columns: NDArray[np.intp]) -> Floats:
        return spearman(log_normalised(cells.X)[:, columns])


class GeneDegree(PearsonCoexpression):
    """How many others a gene is co-expressed with, and nothing of which ones.

    Two genes are neighbours when their correlation is among the strongest twentieth. A gene's vector is one-hot: which
    twentieth of the degrees its own is in. A pair scores the product of its degrees.
    """

    name = "gene_degree"
    trained_here = True
    in_default_run = False

    def fit(self, cells: AnnData) -> None:
        """Keep the cells, which the degrees are counted in."""
        self._cells = cells

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return one-hot degrees among these genes ``(n_genes, 20)``; NaN for a gene that was not measured."""
        place, there = _places(self._cells, genes)
        made = np.full((len(genes), _BINS), np.nan, dtype=np.float32)
        with phase("forward"):
            degree = _degrees(np.abs(self._correlation(self._cells, place[there])))
        if len(degree):
            edges = np.quantile(degree, np.arange(1, _BINS) / _BINS)
            made[there] = np.eye(_BINS, dtype=np.float32)[np.searchsorted(edges, degree, side="right")]
        return made

    def _scores(self, correlation: Floats) -> Floats:
        degree = _degrees(correlation)
        return np.outer(degree, degree)


def _degrees(correlation: Floats) -> Floats:
    """Return the number of neighbours of each gene ``(n_genes,)``."""
    pairs = correlation[np.triu_indices(len(correlation), 1)]
    if not np.isfinite(pairs).any():
        return np.zeros(len(correlation))
    strong = correlation >= np.nanquantile(pairs, 1 - _STRONGEST)
    np.fill_diagonal(strong, False)
    return np.asarray(strong.sum(axis=1), dtype=np.float64)


def _places(cells: AnnData, genes: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where each gene is among ``cells.var_names``, -1 for none, and which ones are there."""
    place = np.asarray(cells.var_names.get_indexer(list(genes)), dtype=np.intp)
    return place, place >= 0

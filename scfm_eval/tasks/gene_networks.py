"""Gene networks: whether what a model says of pairs of genes are the edges of a network that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.networks import Measured, check_first_line, load_network, measured, network_of
from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.gene_networks import (
    RankedPairs,
    chance_edge_auprc,
    early_precision,
    early_precision_ratio,
    edge_auprc,
    edge_auroc,
)
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.models.protocols import GeneEmbedder, GenePairScorer
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.task import N_RESAMPLES, Answers, Scored, lacks

Floats = NDArray[np.floating[Any]]
_FEWEST_REGULATORS = 3


@dataclass(frozen=True)
class GeneNetwork:
    """Scores of ordered pairs of a regulator and a gene, held against the edges of a network (BEELINE).

    A model that scores pairs answers for itself, from cells of the dataset; of another one, the cosine of the vectors
    of the two genes is taken, which knows no direction. Pairs of which the model says nothing come last, all tied. The
    pairs are the regulators times the genes of the network that the dataset measures, without self loops, the same for
    every model. Intervals are over regulators.

    Parameters
    ----------
    network
        ``""`` the network that the dataset states, ``"collectri"``, or a .csv file of regulator and target.
    max_genes
        Most genes: all regulators, and the others that the most cells express.
    max_cells
        Most cells that pairs are scored from, drawn evenly.
    """

    network: str = ""
    max_genes: int = 1000
    max_cells: int = 1000

    name: ClassVar[str] = "gene_networks"
    capability: ClassVar[type] = GenePairScorer
    headline: ClassVar[tuple[str, ...]] = ("auprc", "epr")

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys that a dataset needs: a network, unless one was named."""
        return () if self.network else ("network",)

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: it neither scores pairs of genes nor has vectors of them."""
        missing = [lacks(model, GenePairScorer), lacks(model, GeneEmbedder)]
        return f"{missing[0]}, and {missing[1]}" if all(missing) else ""

    def reads(self) -> str:
        """Return which network decides the scores, where it is not the dataset's own."""
        return load_network(self.network).release if self.network else ""

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for a bad network, or one with fewer than three regulators in the dataset."""
        if self.network:
            check_first_line(load_network(self.network), [str(gene) for gene in cells.var_names])
        found = _measured(self, cells)
        if found.n_regulators < _FEWEST_REGULATORS:
            raise InvalidInputError(
                asked=f"{dataset} with a network of at least {_FEWEST_REGULATORS} regulators",
                found=f"{found.n_regulators} of whose edges both genes are measured, {found.n_absent} edges of others",
                remedy="give a network of genes that the dataset measures, of the same organism and kind of names",
            )

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score what the model says of pairs of genes over seeds."""
        whole = _measured(self, cells)
        asked = _most_expressed(whole, cells, most=self.max_genes)
        rows = np.unique(np.linspace(0, cells.n_obs - 1, min(cells.n_obs, self.max_cells)).round().astype(np.intp))
        by_itself = answers.can(GenePairScorer)
        pairs = [
            RankedPairs.of(
                _scored(answers, asked, rows=rows, seed=seed, by_itself=by_itself),
                adjacency=asked.adjacency,
                n_regulators=asked.n_regulators,
            )
            for seed in seeds
        ]
        unscored = int(np.isnan(pairs[0].scores).sum())
        details = {
            "network": load_network(self.network).release if self.network else "the dataset's own",
            "scores of pairs": "the model's own" if by_itself else "cosine of gene vectors",
            "n_regulators": asked.n_regulators,
            "n_genes": len(asked.genes),
            "n_pairs": len(pairs[0].truth),
            "n_edges": int(pairs[0].truth.sum()),
            "density": pairs[0].density,
            "n_pairs_without_score": unscored,
            "n_cells": len(rows),
        }
        return Scored(_scores(pairs), details, _notes(whole, asked, details, unscored=unscored))


def _measured(task: GeneNetwork, cells: AnnData) -> Measured:
    network = load_network(task.network) if task.network else network_of(cells)
    return measured(network, [str(gene) for gene in cells.var_names])


def _most_expressed(found: Measured, cells: AnnData, *, most: int) -> Measured:
    """Return the network of the regulators and the other genes that the most cells express."""
    if len(found.genes) <= most:
        return found
    n_cells = np.asarray((cells[:, list(found.genes)].X > 0).sum(axis=0)).ravel()
    n_cells[: found.n_regulators] = cells.n_obs + 1
    kept = np.sort(np.argsort(-n_cells, kind="stable")[: max(most, found.n_regulators)])
    adjacency = found.adjacency[np.ix_(kept, kept)]
    return Measured(
        genes=tuple(found.genes[place] for place in kept),
        n_regulators=found.n_regulators,
        adjacency=adjacency,
        n_absent=found.n_absent,
        n_loops=found.n_loops,
    )


def _scored(answers: Answers, asked: Measured, *, rows: NDArray[np.intp], seed: int, by_itself: bool) -> Floats:
    if by_itself:
        return answers.score_gene_pairs(asked.genes, rows=rows, seed=seed, truth=asked.adjacency)
    vectors = answers.embed_genes(asked.genes, seed=seed, truth=asked.adjacency).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, np.nan)
    return np.asarray(units @ units.T)


def _scores(pairs: Sequence[RankedPairs]) -> dict[str, ScoreRecord]:
    n_regulators = int(pairs[0].regulator.max()) + 1
    weights = bootstrap_weights(
        units=np.arange(n_regulators), strata=np.zeros(n_regulators), n_resamples=N_RESAMPLES, seed=0
    )

    def statistics(metric: Metric[Any]) -> list[Statistic]:
        if any(np.isnan(each.scores).all() for each in pairs):
            raise InapplicableMetricError("the model says nothing of any of the pairs")
        return [metric.statistic(each) for each in pairs]

    asked: dict[str, tuple[Metric[Any], float]] = {
        "auprc": (edge_auprc, chance_edge_auprc(pairs[0])),
        "auroc": (edge_auroc, 0.5),
        "ep": (early_precision, pairs[0].density),
        "epr": (early_precision_ratio, 1.0),
    }
    return {
        name: measure(metric, partial(statistics, metric), weights=weights, chance=partial(float, level))
        for name, (metric, level) in asked.items()
    }


def _notes(whole: Measured, asked: Measured, details: dict[str, Any], *, unscored: int) -> list[str]:
    notes = [f"{details['n_edges']} of {details['n_pairs']} pairs are edges, a density of {details['density']:.4f}"]
    if whole.n_absent or whole.n_loops:
        notes.append(f"left out: {whole.n_absent} edges of genes that are not measured, {whole.n_loops} self loops")
    if len(asked.genes) < len(whole.genes):
        notes.append(f"{len(asked.genes)} of {len(whole.genes)} genes: the regulators, and what most cells express")
    if unscored:
        notes.append(f"{unscored} pairs of which the model says nothing come last, all tied")
    if details["scores of pairs"] != "the model's own":
        notes.append("scores of pairs are the cosine of gene vectors, which knows no direction and no cells")
    return notes

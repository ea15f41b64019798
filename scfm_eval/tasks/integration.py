"""Batch integration: whether a cell type from many batches is one neighbourhood, apart from the other types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.confounding import require_labels_in_several_batches
from scfm_eval.datasets.expression import PrincipalComponents, highly_variable, log_normalised
from scfm_eval.datasets.keys import check_keys
from scfm_eval.metrics import integration as panel
from scfm_eval.metrics.clustering import ari, kmeans_clusters, nmi
from scfm_eval.metrics.metric import Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.neighbors import Neighbors, nearest_neighbors
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import ScoreRecord, combine, measure
from scfm_eval.tasks.labelled import Labelled, has_seen_labels
from scfm_eval.tasks.task import Answers, Scored, lacks, resampling_weights

BIO = ("isolated_labels", "nmi", "ari", "silhouette_label", "clisi")
"""Members of the bio-conservation mean."""
BATCH = ("bras", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
"""Members of the batch-correction mean."""
_SOURCE = "10.1038/s41592-021-01336-8"
_NEIGHBORS, _OWN_NEIGHBORS = 90, 15
"""As many as the widest metric takes; each takes its own number of them."""


@dataclass(frozen=True, eq=False)
class _OwnSpace:
    """Each cell in the principal components of its own batch, made when a metric asks for it."""

    cells: AnnData
    batch: NDArray[np.str_]
    n_components: int

    @cached_property
    def components(self) -> NDArray[np.float32]:
        names, sizes = np.unique(self.batch, return_counts=True)
        if sizes.min() <= _OWN_NEIGHBORS:
            raise UndefinedMetricError(f"batch {names[sizes.argmin()]} has {sizes.min()} cells, too few for neighbours")
        space = np.zeros((len(self.batch), self.n_components), dtype=np.float32)
        for name in names:
            rows = np.flatnonzero(self.batch == name)
            own = _components(self.cells[rows], n_components=self.n_components)
            space[rows, : own.shape[1]] = own
        return space


@dataclass(frozen=True, eq=False)
class _Space:
    """An embedding with the keys that it is judged by; rows of X are cells."""

    X: NDArray[Any]
    labels: NDArray[np.str_]
    batch: NDArray[np.str_]
    before: NDArray[Any]
    own_space: _OwnSpace
    seed: int

    @cached_property
    def neighbors(self) -> Neighbors:
        return nearest_neighbors(self.X, k=min(_NEIGHBORS, len(self.X)))

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        return kmeans_clusters(self.X, n_clusters=len(np.unique(self.labels)), seed=self.seed)


_PANEL: Mapping[str, tuple[Metric[Any], Callable[[_Space], Statistic]]] = {
    "isolated_labels": (
        panel.isolated_labels,
        lambda s: panel.isolated_labels.statistic(s.X, labels=s.labels, batch=s.batch),
    ),
    "nmi": (nmi, lambda s: nmi.statistic(s.clusters, labels=s.labels)),
    "ari": (ari, lambda s: ari.statistic(s.clusters, labels=s.labels)),
    "silhouette_label": (panel.silhouette_label, lambda s: panel.silhouette_label.statistic(s.X, labels=s.labels)),
    "clisi": (panel.clisi, lambda s: panel.clisi.statistic(s.neighbors, labels=s.labels)),
    "bras": (panel.bras, lambda s: panel.bras.statistic(s.X, labels=s.labels, batch=s.batch)),
    "ilisi": (panel.ilisi, lambda s: panel.ilisi.statistic(s.neighbors, batch=s.batch)),
    "kbet": (panel.kbet, lambda s: panel.kbet.statistic(s.neighbors, labels=s.labels, batch=s.batch)),
    "graph_connectivity": (
        panel.graph_connectivity,
        lambda s: panel.graph_connectivity.statistic(s.neighbors, labels=s.labels),
    ),
    "pcr_comparison": (
        panel.pcr_comparison,
        lambda s: panel.pcr_comparison.statistic(s.X, before=s.before, batch=s.batch),
    ),
    "pcr_comparison_unclipped": (
        panel.pcr_comparison_unclipped,
        lambda s: panel.pcr_comparison_unclipped.statistic(s.X, before=s.before, batch=s.batch),
    ),
    "pcr_batch": (panel.pcr_batch, lambda s: panel.pcr_batch.statistic(s.X, batch=s.batch)),
    "intra_type_jaccard": (
        panel.intra_type_jaccard,
        lambda s: panel.intra_type_jaccard.statistic(
            s.X, own_space=s.own_space.components, labels=s.labels, batch=s.batch
        ),
    ),
    "jaccard_published": (
        panel.jaccard_published,
        lambda s: panel.jaccard_published.statistic(s.X, own_space=s.own_space.components, batch=s.batch),
    ),
}


@dataclass(frozen=True)
class BatchIntegration:
    """The scib-metrics panel, without labels for any method; total is the weighted mean of both sides.

    Chance is the value after the rows of the embedding were permuted: nothing is known about any cell, and batches are
    mixed perfectly. Intervals are over donors where there are several, else over cells within batches.

    Parameters
    ----------
    n_components
        Components of the space before integration, and of each batch's own space.
    """

    n_components: int = 50

    name: ClassVar[str] = "batch_integration"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label", "batch")
    headline: ClassVar[tuple[str, ...]] = ("total", "bio", "batch", "ilisi")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that has seen the labels it is scored by."""
        return has_seen_labels(model) or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label or batch only, for a class with one cell, or confounded keys."""
        check_keys(cells, keys=self.keys, dataset=dataset)
        require_labels_in_several_batches(cells, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score the panel over seeds; unlabelled cells are left out."""
        known = Labelled.of(cells)
        labels, batch, kept = known.labels, known.values(cells, "batch"), cells[known.among_all]
        before = _components(kept, n_components=self.n_components)
        own = _OwnSpace(kept, batch, self.n_components)
        spaces = [_Space(known.embedded(answers, seed=seed), labels, batch, before, own, seed) for seed in seeds]
        order = np.random.default_rng(0).permutation(len(labels))
        permuted = _Space(spaces[0].X[order], labels, batch, before, own, seeds[0])
        weights = resampling_weights(donors=known.donors, strata=batch)
        scores = {
            name: measure(
                metric,
                lambda build=build: [build(space) for space in spaces],  # type: ignore[misc]
                weights=weights,
                chance=lambda build=build: build(permuted).value(),  # type: ignore[misc]
            )
            for name, (metric, build) in _PANEL.items()
        }
        return Scored(scores | _totals(scores), notes=known.notes())


def _components(cells: AnnData, *, n_components: int) -> NDArray[np.float32]:
    expression = log_normalised(cells.X)[:, highly_variable(cells)]
    return PrincipalComponents(n_components=n_components).fit(expression).transform(expression)


def _totals(scores: dict[str, ScoreRecord]) -> dict[str, ScoreRecord]:
    bio, batch = dict.fromkeys(BIO, 1 / len(BIO)), dict.fromkeys(BATCH, 1 / len(BATCH))
    whole = {name: panel.BIO_SHARE * weight for name, weight in bio.items()}
    whole |= {name: panel.BATCH_SHARE * weight for name, weight in batch.items()}
    sums = {"bio": bio, "batch": batch, "total": whole}
    return {
        name: combine(scores, weights=weights, source=_SOURCE, how={"weights": weights})
        for name, weights in sums.items()
    }

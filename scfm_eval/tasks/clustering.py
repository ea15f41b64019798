"""Clustering: whether clusters of cells in the embedding are cell types, phenotypes or ages, and not patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import folds
from scfm_eval.fits import Rows
from scfm_eval.metrics.classification import accuracy
from scfm_eval.metrics.clustering import ami, ari, asw, kmeans_clusters, nmi, patient_ari, unit_length
from scfm_eval.metrics.leiden import Clusterings, avg_bio, leiden_clusterings, nmi_leiden, nmi_leiden_oracle
from scfm_eval.metrics.metric import Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.neighbors import nearest_neighbors
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import ages
from scfm_eval.tasks.labelled import Labelled, has_seen_labels
from scfm_eval.tasks.probes import logistic_regression
from scfm_eval.tasks.small_probes import nearest
from scfm_eval.tasks.task import Answers, Scored, lacks, resampling_weights

ANNOTATIONS = ("label", "phenotype", "age", "cancer_type")
"""Keys that clusters are compared with, as far as a dataset declares them."""
_OF_CLUSTERS: tuple[Metric[Any], ...] = (ari, ami, nmi, asw)
_NEIGHBORS = 15
_FOLDS = 5
_PERMUTATIONS = 20
_OF_ALL_CELLS = (
    "the embedding is that of all cells, whose clusters are scored; the probe of phenotypes alone holds cells out"
)


@dataclass(frozen=True, eq=False)
class _Annotated(Labelled):
    """The cells that have a value of one annotation, which is their label; of ages, with the edges of the quarters."""

    edges: list[float] | None = None

    def weights(self) -> NDArray[np.int16]:
        return resampling_weights(donors=self.donors, strata=np.zeros(len(self.labels), dtype=np.int64))

    def shuffled(self) -> list[NDArray[np.str_]]:
        rng = np.random.default_rng(0)
        return [rng.permutation(self.labels) for _ in range(_PERMUTATIONS)]


@dataclass(frozen=True)
class Clustering:
    """Clusters against annotations as in GenePT (10.1038/s41551-024-01284-6), and Leiden as in scIB and AvgBIO.

    k-means with as many clusters as the annotation has values, on rows of unit length, against every annotation that
    the dataset declares: ``ari``, ``ami``, ``nmi``, ``asw`` of the label, and the same with the prefix ``phenotype_``,
    ``age_`` (in quarters of the cells) or ``cancer_type_``. Leiden of the 15 nearest cells against the label.
    With donors, ``patient_ari`` of k-means with as many clusters as donors; lower is better. With phenotypes,
    ``phenotype_accuracy`` of logistic regression that learned from 80 % of the cells, each cell predicted once. A cell
    is then tested beside cells of its own donor: ``phenotype_accuracy_unseen_donors`` holds out whole donors.

    Chance is the mean over 20 permutations of the annotation with the first seed, for ``avg_bio`` the value of one of
    them. Where an age is not a number, the scores of ages are undefined and name it. Intervals are over donors where
    there are several, else over cells; for ``patient_ari`` over the cells of each donor.
    """

    name: ClassVar[str] = "clustering"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = ("ari", "ami", "asw", "nmi_leiden", "avg_bio")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that has seen the labels it is scored by."""
        return has_seen_labels(model) or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label only, or a class with one cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score clusters over seeds; cells without a value of an annotation are left out of its scores."""
        cells_of = {seed: answers.embed_rows(seed=seed) for seed in seeds}
        embeddings = {seed: rows.values for seed, rows in cells_of.items()}
        annotated = {
            key: _Annotated.of(cells, key=key)
            for key in ANNOTATIONS
            if key in cells.obs and cells.obs[key].notna().any()
        }
        scores: dict[str, ScoreRecord] = {}
        if "age" in annotated:
            try:
                annotated["age"] = _in_quarters(annotated["age"])
            except UndefinedMetricError as undefined:
                del annotated["age"]
                scores |= _undefined("age_", reason=str(undefined))
        for key, kept in annotated.items():
            prefix = "" if key == "label" else f"{key}_"
            scores |= {prefix + name: record for name, record in _table(embeddings, kept).items()}
        scores |= _leiden(embeddings, annotated["label"])
        if "donor" in cells.obs:
            scores["patient_ari"] = _patients(embeddings, cells.obs["donor"].to_numpy().astype(str))
        if "phenotype" in annotated:
            scores |= _phenotypes(cells, cells_of, annotated["phenotype"])
        about = {key: _about(kept) for key, kept in annotated.items()}
        return Scored(scores, {"annotations": about}, _notes(annotated, cells))


def _in_quarters(aged: _Annotated) -> _Annotated:
    groups, edges = ages.quartiles(ages.years(aged.labels))
    return replace(aged, labels=groups, edges=edges)


def _undefined(prefix: str, *, reason: str) -> dict[str, ScoreRecord]:
    def statistics() -> list[Statistic]:
        raise UndefinedMetricError(reason)

    return {prefix + metric.name: measure(metric, statistics, weights=np.empty((0, 0))) for metric in _OF_CLUSTERS}


def _table(embeddings: dict[int, NDArray[np.float32]], kept: _Annotated) -> dict[str, ScoreRecord]:
    spaces = {seed: unit_length(X[kept.among_all]) for seed, X in embeddings.items()}
    k = len(np.unique(kept.labels))
    clusters = [kmeans_clusters(X, n_clusters=k, seed=seed) for seed, X in spaces.items()]
    given: dict[Metric[Any], list[NDArray[Any]]] = {
        metric: [*spaces.values()] if metric is asw else clusters for metric in _OF_CLUSTERS
    }
    weights, shuffled = kept.weights(), kept.shuffled()
    return {
        metric.name: measure(
            metric,
            lambda metric=metric, inputs=inputs: [metric.statistic(x, labels=kept.labels) for x in inputs],  # type: ignore[misc]
            weights=weights,
            chance=_mean_over(shuffled, lambda names, metric=metric, x=inputs[0]: metric(x, labels=names)),  # type: ignore[misc]
        )
        for metric, inputs in given.items()
    }


def _leiden(embeddings: dict[int, NDArray[np.float32]], kept: _Annotated) -> dict[str, ScoreRecord]:
    of_cells = {seed: X[kept.among_all] for seed, X in embeddings.items()}
    spaces = [(X, _clusterings(X, seed=seed), seed) for seed, X in of_cells.items()]

    def in_halves(space: tuple[NDArray[np.float32], Clusterings, int], labels: NDArray[np.str_]) -> Statistic:
        half = folds(labels, n_folds=2, seed=space[2]).fold == 0
        return nmi_leiden.statistic(space[1], labels=labels, half=half)

    builds: dict[Metric[Any], Callable[..., Statistic]] = {
        nmi_leiden: in_halves,
        nmi_leiden_oracle: lambda space, labels: nmi_leiden_oracle.statistic(space[1], labels=labels),
        avg_bio: lambda space, labels: avg_bio.statistic(space[1], X=space[0], labels=labels),
    }
    weights, shuffled = kept.weights(), kept.shuffled()
    # the silhouette of AvgBIO needs the distances of all pairs, and hardly varies: one permutation has to do
    orders = {nmi_leiden: shuffled, nmi_leiden_oracle: shuffled, avg_bio: shuffled[:1]}
    return {
        metric.name: measure(
            metric,
            lambda build=build: [build(space, kept.labels) for space in spaces],  # type: ignore[misc]
            weights=weights,
            chance=_mean_over(orders[metric], lambda names, build=build: build(spaces[0], names).value()),  # type: ignore[misc]
        )
        for metric, build in builds.items()
    }


def _clusterings(X: NDArray[np.float32], *, seed: int) -> Clusterings:
    return leiden_clusterings(nearest_neighbors(X, k=_NEIGHBORS), seed=seed)


def _patients(embeddings: dict[int, NDArray[np.float32]], donors: NDArray[np.str_]) -> ScoreRecord:
    def statistics() -> list[Statistic]:
        k = len(np.unique(donors))
        found = [kmeans_clusters(unit_length(X), n_clusters=k, seed=seed) for seed, X in embeddings.items()]
        return [patient_ari.statistic(clusters, patients=donors) for clusters in found]

    # a donor drawn twice would be one large patient
    return measure(patient_ari, statistics, weights=resampling_weights(donors=None, strata=donors))


@dataclass(frozen=True, eq=False)
class _Probed:
    """Phenotypes as probes predict them that have not seen the cell, nor its donor where donors are given."""

    cells: AnnData
    embeddings: dict[int, Rows]
    kept: _Annotated
    donors: NDArray[np.str_] | None

    @cached_property
    def predictions(self) -> list[NDArray[np.str_]]:
        return [self._predicted(rows[self.kept.among_all], seed=seed) for seed, rows in self.embeddings.items()]

    def _predicted(self, cells: Rows, *, seed: int) -> NDArray[np.str_]:
        values = self.kept.labels
        split = folds(values, donors=self.donors, n_folds=_FOLDS, seed=seed)
        self.kept.require_apart(self.cells, [split], asked="phenotypes by a probe")
        found, cells = values.copy(), replace(cells, labels=values, donors=self.donors).allowed(_OF_ALL_CELLS)
        for fold in range(split.n_folds):
            train, test = split.fold != fold, split.fold == fold
            if len(np.unique(values[train])) < 2:
                raise UndefinedMetricError(
                    f"the cells to learn from have one phenotype only when fold {fold} is held out"
                )
            # the fits are small: BLAS on several threads only waits
            with threadpool_limits(1):
                found[test] = nearest(logistic_regression(cells[train], cells[test].labelled(None), seed=seed))
        return found


def _phenotypes(cells: AnnData, embeddings: dict[int, Rows], kept: _Annotated) -> dict[str, ScoreRecord]:
    weights, shuffled, classes = kept.weights(), kept.shuffled(), np.unique(kept.labels)
    probed = {"phenotype_accuracy": _Probed(cells, embeddings, kept, donors=None)}
    if kept.donors is not None:
        probed["phenotype_accuracy_unseen_donors"] = _Probed(cells, embeddings, kept, donors=kept.donors)
    return {
        name: measure(
            accuracy,
            lambda probe=probe: [  # type: ignore[misc]
                accuracy.statistic(kept.labels, found, classes=classes) for found in probe.predictions
            ],
            weights=weights,
            chance=_mean_over(
                shuffled,
                lambda names, probe=probe: accuracy(names, probe.predictions[0], classes=classes),  # type: ignore[misc]
            ),
        )
        for name, probe in probed.items()
    }


def _mean_over(shuffled: list[NDArray[np.str_]], value: Callable[[NDArray[np.str_]], float]) -> Callable[[], float]:
    return lambda: float(np.mean([value(names) for names in shuffled]))


def _about(kept: _Annotated) -> dict[str, Any]:
    names, sizes = np.unique(kept.labels, return_counts=True)
    about: dict[str, Any] = {"cells": dict(zip(names.tolist(), sizes.tolist(), strict=True))}
    return about if kept.edges is None else about | {"edges": kept.edges}


def _notes(annotated: dict[str, _Annotated], cells: AnnData) -> list[str]:
    missing = {key: cells.n_obs - len(kept.labels) for key, kept in annotated.items()}
    return [f"{n} cells have no {key}, and were left out of its scores" for key, n in missing.items() if n]

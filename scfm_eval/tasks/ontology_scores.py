"""Scores of the ontology task: of predicted terms, and of distances between types in the embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import PrincipalComponents, highly_variable, log_normalised
from scfm_eval.metrics import ontology as panel
from scfm_eval.metrics import scgraph, semantic
from scfm_eval.metrics.metric import Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.permutation import permutation_null, type_orders
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.metrics.scgraph import TypeDistances
from scfm_eval.metrics.weighted import ratio
from scfm_eval.models.protocols import LabelTrainable
from scfm_eval.ontology import LabelMap, Ontology
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.task import N_RESAMPLES, Answers

N_GENES, N_COMPONENTS = 1000, 10
"""Variable genes and principal components of a batch's own space."""

Terms = NDArray[np.str_]

_BY_REFERENCE: Mapping[Literal["batches", "ontology"], tuple[Metric[Any], ...]] = {
    "batches": (scgraph.scgraph, scgraph.scgraph_published),
    "ontology": (scgraph.scgraph_ontorwr, scgraph.scgraph_ontorwr_spearman),
}
_SHUFFLES = 20
_SHOWN_TYPES, _DIGITS = 40, 3
_DEALT_OUT = "of expected counts if true and predicted term were independent, first seed; so is the null"
_OF_CELLS = "mean of null_of_cells, first seed; so are both nulls"


@dataclass(frozen=True, eq=False)
class Called:
    """True and predicted terms of the cells whose label has a term.

    Parameters
    ----------
    truth
        True term of each cell ``(n_cells,)``.
    runs
        Predicted terms ``(n_cells,)`` by seed.
    lineages
        Lineages of all of them.
    types
        Terms of labels, sorted; a prediction can also be the root, for a label without a term.
    """

    truth: Terms
    runs: Sequence[Terms]
    lineages: panel.Lineages
    types: Terms

    @classmethod
    def of(cls, labels: Terms, runs: Sequence[Terms], *, mapping: LabelMap, ontology: Ontology) -> Called:
        """Translate labels into terms."""
        types = np.unique(list(mapping.terms.values()))
        beside = [ontology.root] if mapping.unmapped else []
        lineages = panel.Lineages.of([*types.tolist(), *beside], ontology)
        truth, *predicted = (_terms_of(given, mapping, otherwise=ontology.root) for given in (labels, *runs))
        return cls(truth, predicted, lineages, types)

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """Number of cells of the first seed by true and predicted term, ``(n_terms, n_terms)``."""
        n = len(self.lineages.types)
        pairs = self.lineages.codes(self.truth) * n + self.lineages.codes(self.runs[0])
        return np.bincount(pairs, minlength=n**2).reshape(n, n).astype(np.float64)

    @cached_property
    def permuted_counts(self) -> NDArray[np.float64]:
        """``counts`` after predicted types were taken for each other, ``(n_permutations, n_terms ** 2)``."""
        movable = self.lineages.codes(self.types)
        orders = type_orders(len(movable))
        columns = np.tile(np.arange(len(self.counts)), (len(orders), 1))
        columns[:, movable] = movable[orders]
        return np.asarray(self.counts[:, columns].transpose(1, 0, 2).reshape(len(orders), -1))

    @cached_property
    def independent_counts(self) -> NDArray[np.float64]:
        """What ``counts`` would be if predictions were dealt out to cells at random, ``(1, n_terms ** 2)``."""
        margins = np.outer(self.counts.sum(axis=1), self.counts.sum(axis=0))
        return np.asarray(margins.reshape(1, -1) / self.counts.sum())


@dataclass(frozen=True, eq=False)
class Geometry:
    """Distances between types in the embeddings of all labelled cells, one per seed, beside those of the references.

    Parameters
    ----------
    answers
        The model's answers.
    cells
        Labelled cells.
    labelled
        Which cells of the dataset these are.
    seeds
        Seeds.
    mapping, ontology
        Term by label, and where the terms are from.
    """

    answers: Answers
    cells: AnnData
    labelled: NDArray[np.bool_]
    seeds: tuple[int, ...]
    mapping: LabelMap
    ontology: Ontology

    @cached_property
    def labels(self) -> Terms:
        """Label of each cell."""
        return np.asarray(self.cells.obs["label"].to_numpy().astype(str))

    @cached_property
    def terms(self) -> Terms:
        """Term of each cell whose label has one."""
        return _terms_of(self.labels[self._has_term], self.mapping, otherwise="")

    @cached_property
    def by_batches(self) -> list[TypeDistances]:
        """Distances by seed, beside those in the batches' own expression; raises :class:`UndefinedMetricError`."""
        return [self._beside_batches(X) for X in self._embeddings]

    @cached_property
    def by_ontology(self) -> list[TypeDistances]:
        """Distances by seed, beside those in the ontology; raises :class:`UndefinedMetricError`."""
        return [self._beside_ontology(X) for X in self._embeddings]

    @cached_property
    def shuffled_by_batches(self) -> list[TypeDistances]:
        """As ``by_batches``, with the cells of the first embedding taken for each other, several times."""
        return [self._beside_batches(X) for X in self._shuffled()]

    @cached_property
    def shuffled_by_ontology(self) -> list[TypeDistances]:
        """As ``by_ontology``, with the cells of the first embedding taken for each other, several times."""
        return [self._beside_ontology(X) for X in self._shuffled()]

    def _beside_batches(self, X: NDArray[np.float32]) -> TypeDistances:
        return scgraph.batch_distances(X, own_space=self._own_space, labels=self.labels, batch=self._batch)

    def _beside_ontology(self, X: NDArray[np.float32]) -> TypeDistances:
        return scgraph.ontology_distances(X[self._has_term], terms=self.terms, ontology=self.ontology)

    def _shuffled(self) -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(0)
        return (self._embeddings[0][rng.permutation(self.cells.n_obs)] for _ in range(_SHUFFLES))

    @cached_property
    def _embeddings(self) -> list[NDArray[np.float32]]:
        if self.answers.can(LabelTrainable):
            raise UndefinedMetricError("it learns from labels, and all labels of these cells would be known to it")
        return [self.answers.embed(seed=seed)[self.labelled] for seed in self.seeds]

    @cached_property
    def _own_space(self) -> NDArray[np.float32]:
        return _own_space(self.cells, self._batch)

    @cached_property
    def _has_term(self) -> NDArray[np.bool_]:
        return np.isin(self.labels, list(self.mapping.terms))

    @cached_property
    def _batch(self) -> Terms:
        stated = "batch" in self.cells.obs
        return self.cells.obs["batch"].to_numpy().astype(str) if stated else np.full(self.cells.n_obs, "all")


def call_scores(called: Called, *, weights: NDArray[Any]) -> dict[str, ScoreRecord]:
    """Score predicted terms.

    Chance is the value of predictions dealt out to cells at random: true and predicted term as often as they are, and
    independent. It is computed from these expected counts, and for the null in ``how`` predicted types are taken for
    each other; both are of the first seed, and ``how`` says so.

    Parameters
    ----------
    called
        True and predicted terms.
    weights
        Bootstrap weights of the same cells ``(n_resamples, n_cells)``.
    """
    types = np.array(called.lineages.types)
    every_pair = np.repeat(types, len(types)), np.tile(types, len(types))
    scores = {}
    for name, (metric, arguments) in _call_metrics(called).items():

        def build(
            truth: Terms, predicted: Terms, of: Metric[Any] = metric, known: Mapping[str, Any] = arguments
        ) -> Statistic:
            return of.statistic(truth, predicted, **known)

        def statistics(build: Callable[..., Statistic] = build, metric: Metric[Any] = metric) -> list[Statistic]:
            made = [build(called.truth, run) for run in called.runs]
            permuted = build(*every_pair).of_weights(called.permuted_counts)
            null = permutation_null(made[0].value(), permuted, higher_is_better=metric.higher_is_better)
            return _with(made, chance=_DEALT_OUT, null=null, n_types=len(called.types))

        def chance(build: Callable[..., Statistic] = build) -> float:
            return float(build(*every_pair).of_weights(called.independent_counts)[0])

        scores[name] = measure(metric, statistics, weights=weights, chance=chance)
    return scores


def geometry_scores(geometry: Geometry) -> dict[str, ScoreRecord]:
    """Score distances between types.

    Two nulls of the first seed are in ``how``: one takes types for each other; the other, whose mean is chance, takes
    cells for each other. The latter need not be near 0: the centroids of small types are noisy, and so far from all
    others, and the reference may have small types far from the others too. Only a value that beats both says something.
    """
    return {
        metric.name: _graph_score(metric, geometry, by=by)
        for by, metrics in _BY_REFERENCE.items()
        for metric in metrics
    }


def type_distances(geometry: Geometry) -> dict[str, Any] | None:
    """Return what scGraph compares, of the first seed: distances between types, as lists to 3 digits.

    ``embedding`` and ``reference`` ``(n_types, n_types)`` have each column relative to its largest distance, null is a
    pair that the reference does not know; ``types`` are the 40 with most cells, at most. ``None`` where scGraph is
    undefined.
    """
    try:
        found = geometry.by_batches[0]
    except UndefinedMetricError:
        return None
    sizes = [int((geometry.labels == name).sum()) for name in found.types]
    kept = np.sort(np.argsort(sizes, kind="stable")[::-1][:_SHOWN_TYPES])
    relative = ratio(found.embedding, np.broadcast_to(found.embedding.max(axis=0), found.embedding.shape))
    matrices = {"embedding": relative, "reference": found.reference}
    return {"types": [found.types[i] for i in kept]} | {
        name: _listed(matrix[np.ix_(kept, kept)]) for name, matrix in matrices.items()
    }


def _listed(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), _DIGITS) for value in row] for row in matrix]


def _call_metrics(called: Called) -> dict[str, tuple[Metric[Any], dict[str, Any]]]:
    lineages = called.lineages
    plain = (
        panel.lcad_symmetric,
        panel.lcad,
        panel.hierarchical_precision,
        panel.hierarchical_recall,
        panel.hierarchical_f1,
        semantic.wang,
    )
    information = {
        "": semantic.annotation_information(lineages.ontology, called.truth),
        "_intrinsic": semantic.intrinsic_information(lineages.ontology),
    }
    found: dict[str, tuple[Metric[Any], dict[str, Any]]] = {
        metric.name: (metric, {"lineages": lineages}) for metric in plain
    }
    for suffix, content in information.items():
        for metric in (semantic.resnik, semantic.lin, semantic.jiang_conrath):
            found[metric.name + suffix] = (metric, {"lineages": lineages, "information": content})
    return found


def _graph_score(metric: Metric[Any], geometry: Geometry, *, by: Literal["batches", "ontology"]) -> ScoreRecord:
    def distances() -> list[TypeDistances]:
        return geometry.by_batches if by == "batches" else geometry.by_ontology

    def statistics() -> list[Statistic]:
        made = [metric.statistic(one) for one in distances()]
        first = distances()[0]
        permuted = [metric(first.permuted(order)) for order in type_orders(len(first.types))]
        by_types, by_cells = (
            permutation_null(made[0].value(), values, higher_is_better=metric.higher_is_better)
            for values in (permuted, shuffled())
        )
        return _with(made, chance=_OF_CELLS, null=by_types, null_of_cells=by_cells)

    def shuffled() -> list[float]:
        found = geometry.shuffled_by_batches if by == "batches" else geometry.shuffled_by_ontology
        return [metric(one) for one in found]

    def chance() -> float:
        return float(np.mean(shuffled()))

    n_types = len(scgraph.counted_types(geometry.labels if by == "batches" else geometry.terms))
    return measure(metric, statistics, weights=_type_weights(n_types), chance=chance)


def _type_weights(n_types: int) -> NDArray[np.int16]:
    if n_types < 2:
        return np.ones((1, n_types), dtype=np.int16)
    return bootstrap_weights(units=np.arange(n_types), strata=np.zeros(n_types), n_resamples=N_RESAMPLES, seed=0)


def _with(made: list[Statistic], **known: Any) -> list[Statistic]:
    """State what is known of the first of the statistics, which speaks for all seeds."""
    return [replace(made[0], how=made[0].how | known), *made[1:]]


def _terms_of(labels: Terms, mapping: LabelMap, *, otherwise: str) -> Terms:
    names, codes = np.unique(labels, return_inverse=True)
    return np.array([mapping.terms.get(str(name), otherwise) for name in names], dtype=np.str_)[codes]


def _own_space(cells: AnnData, batch: Terms) -> NDArray[np.float32]:
    """Return each cell in the principal components of its batch; zeros in batches too small to count."""
    space = np.zeros((cells.n_obs, N_COMPONENTS), dtype=np.float32)
    names, sizes = np.unique(batch, return_counts=True)
    for name in names[sizes >= scgraph.MIN_BATCH]:
        rows = np.flatnonzero(batch == name)
        own = cells[rows]
        expression = log_normalised(own.X)[:, highly_variable(own, n_top=N_GENES)]
        made = PrincipalComponents(n_components=N_COMPONENTS).fit(expression).transform(expression)
        space[rows, : made.shape[1]] = made
    return space

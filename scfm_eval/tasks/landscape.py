"""Landscape: how rough cell types lie in the embedding, and whether that foretells errors of annotation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Any, ClassVar, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy.stats import rankdata

from scfm_eval.datasets.keys import check_keys
from scfm_eval.metrics.metric import Metric, Statistic
from scfm_eval.metrics.rogi import Trees, rogi, rogi_xd
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import Result, measure
from scfm_eval.tasks.labelled import Labelled, has_seen_labels
from scfm_eval.tasks.task import Answers, Scored, lacks

_METRICS: tuple[Metric[Any], ...] = (rogi, rogi_xd)
_PERMUTATIONS = 20
_FEWEST_MODELS = 4
_EXACT_UP_TO = 8


_ENDS = ("random", "oracle")


@dataclass(frozen=True)
class Landscape:
    """Roughness of "is of this type" over all types; lower is better, and chance is that of permuted labels.

    Intervals come from halves of the cells, drawn without replacement within types, or of the donors where there are
    several: drawing with replacement would put cells on top of each other, which a tree of nearest merges takes for
    structure. The spread of half-samples, as it is, is that of the value on all cells (the delete-half jackknife); it
    errs on the wide side. All models have the same halves.

    Parameters
    ----------
    max_cells
        With more cells than this, the value is the mean over stratified subsamples of this size.
    n_subsamples
        Number of subsamples.
    n_halves
        Number of half-samples.
    """

    max_cells: int = 5000
    n_subsamples: int = 5
    n_halves: int = 200

    name: ClassVar[str] = "landscape"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = ("rogi_xd", "rogi")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that has seen the labels it is scored by."""
        return has_seen_labels(model) or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label only, or for a class with one cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score roughness over seeds and subsamples; unlabelled cells are left out."""
        known = Labelled.of(cells)
        labels = known.labels
        samples = self._samples(labels)
        embeddings = [known.embedded(answers, seed=seed) for seed in seeds]
        grown = [(rows, Trees(X[rows])) for X in embeddings for rows in samples]
        halves, unit = self._halves(labels, donors=known.donors)
        rng = np.random.default_rng(0)
        rows, trees = grown[0]
        shuffled = [rng.permutation(labels[rows]) for _ in range(_PERMUTATIONS)]
        scores = {
            metric.name: measure(
                metric,
                lambda metric=metric: [_among(rows, metric, trees, labels) for rows, trees in grown],  # type: ignore[misc]
                weights=halves,
                chance=lambda metric=metric: float(np.mean([metric(trees, labels=names) for names in shuffled])),  # type: ignore[misc]
            )
            for metric in _METRICS
        }
        details = {"cells_per_sample": len(rows), "n_samples": len(samples), "halves_of": unit}
        return Scored(scores, details, _notes(known, rows))

    def _samples(self, labels: NDArray[np.str_]) -> list[NDArray[np.intp]]:
        if len(labels) <= self.max_cells:
            return [np.arange(len(labels))]
        return [_subsample(labels, n_cells=self.max_cells, seed=seed) for seed in range(self.n_subsamples)]

    def _halves(
        self, labels: NDArray[np.str_], *, donors: NDArray[np.str_] | None
    ) -> tuple[NDArray[np.int8], Literal["donors", "cells"]]:
        one, each = np.zeros(len(labels), dtype=np.int64), np.arange(len(labels))
        if donors is not None and len(np.unique(donors)) > 1:
            return half_samples(units=donors, strata=one, n_samples=self.n_halves, seed=0), "donors"
        return half_samples(units=each, strata=labels, n_samples=self.n_halves, seed=0), "cells"


def _among(rows: NDArray[np.intp], metric: Metric[Any], trees: Trees, labels: NDArray[np.str_]) -> Statistic:
    """Return the metric on some of the cells as a statistic of all."""
    of_rows = metric.statistic(trees, labels=labels[rows])
    return Statistic(lambda weights: of_rows.of_weights(weights[:, rows]), n_cells=len(labels), how=of_rows.how)


def _subsample(labels: NDArray[np.str_], *, n_cells: int, seed: int) -> NDArray[np.intp]:
    """Return sorted positions of ``n_cells`` cells, of each label its share and at least two."""
    place, sizes = _places(labels, np.random.default_rng(seed).random(len(labels)))
    share = np.where(place < 2, 0.0, (place + 0.5) / sizes)
    return np.sort(np.argsort(share, kind="stable")[:n_cells])


def half_samples(*, units: NDArray[Any], strata: NDArray[Any], n_samples: int, seed: int) -> NDArray[np.int8]:
    """Draw half of the units of each stratum without replacement, again and again.

    Parameters
    ----------
    units
        Unit of each cell ``(n_cells,)``: the cell's own name, or its donor; all cells of a unit are drawn together.
    strata
        Stratum of each cell ``(n_cells,)``; a unit lies in one.
    n_samples
        Number of samples.
    seed
        Seed; the same samples serve all models, so that their differences are paired.

    Returns
    -------
    ``(n_samples, n_cells)``: 1 where a cell is drawn, else 0. Of an odd number, one half or the other by chance.
    """
    _, first, unit_of_cell = np.unique(units, return_index=True, return_inverse=True)
    stratum_of_unit = np.asarray(strata)[first]
    rng = np.random.default_rng(seed)
    drawn = np.empty((n_samples, len(units)), dtype=np.int8)
    for row in drawn:
        place, sizes = _places(stratum_of_unit, rng.random(len(first)))
        row[:] = (place < (sizes + rng.integers(2)) // 2)[unit_of_cell]
    return drawn


def _places(groups: NDArray[Any], keys: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the place of each member in its group by increasing key, and the size of its group."""
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.lexsort((keys, codes))
    place = np.empty(len(codes), dtype=np.intp)
    place[order] = np.arange(len(codes)) - (np.cumsum(sizes) - sizes)[codes[order]]
    return place, sizes[codes]


def _notes(known: Labelled, rows: NDArray[np.intp]) -> list[str]:
    n_labelled, notes = len(known.labels), known.notes()
    if len(rows) < n_labelled:
        notes.append(f"each sample holds {len(rows)} of {n_labelled} cells, of each label its share")
    return notes


@dataclass(frozen=True)
class LandscapeCorrelation:
    """Whether rougher landscapes go with more errors of annotation, over the models of one dataset.

    Parameters
    ----------
    dataset
        Name of the dataset.
    models
        Models that have both results, in the order of their names.
    rho
        Spearman correlation of roughness and error; ``None`` is undefined.
    p
        Share of permutations of the models with a correlation at least as high (one-sided).
    reason
        Why it is undefined; empty where it is not.
    """

    dataset: str
    models: tuple[str, ...]
    rho: float | None = None
    p: float | None = None
    reason: str = ""

    @property
    def n(self) -> int:
        """Number of models."""
        return len(self.models)


def landscape_correlation(
    results: Iterable[Result], *, roughness: str = "rogi_xd", accuracy: str = "macro_f1"
) -> list[LandscapeCorrelation]:
    """Return the rank correlation of roughness and annotation error over models, for each dataset with both.

    Noise and the labels themselves are left out: one at either end, they make any two scores agree.

    Parameters
    ----------
    results
        Results of a report; other tasks are passed over. The last of a model counts.
    roughness, accuracy
        Scores of the tasks ``landscape`` and ``annotation``; the error is ``1 − accuracy``.

    Returns
    -------
    One per dataset, by name. Undefined with fewer than four models, or where all are level.
    """
    found: dict[str, dict[str, dict[str, float]]] = {"landscape": {}, "annotation": {}}
    wanted = {"landscape": roughness, "annotation": accuracy}
    for result in results:
        record = result.scores.get(wanted.get(result.task, ""))
        if result.model.name not in _ENDS and record is not None and record.value is not None:
            found[result.task].setdefault(result.dataset.name, {})[result.model.name] = record.value
    rough, right = found["landscape"], found["annotation"]
    return [_correlated(name, rough[name], right[name]) for name in sorted(rough.keys() & right.keys())]


def _correlated(dataset: str, rough: dict[str, float], right: dict[str, float]) -> LandscapeCorrelation:
    models = tuple(sorted(rough.keys() & right.keys()))
    if len(models) < _FEWEST_MODELS:
        why = f"{len(models)} models have both results; a rank correlation of fewer than {_FEWEST_MODELS} says nothing"
        return LandscapeCorrelation(dataset, models, reason=why)
    x = rankdata([rough[model] for model in models])
    y = rankdata([1 - right[model] for model in models])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return LandscapeCorrelation(dataset, models, reason="all models are level")
    x, y = ((ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean()) for ranks in (x, y))
    rho = float(x @ y)
    at_least = (x @ y[_orders(len(models))].T) >= rho - 1e-12
    return LandscapeCorrelation(dataset, models, rho=rho, p=float(at_least.mean()))


def _orders(n: int) -> NDArray[np.intp]:
    """Return all orders of ``n`` things, or 10,000 random ones and the given one where there are too many."""
    if n <= _EXACT_UP_TO:
        return np.array(list(permutations(range(n)))).reshape(factorial(n), n)
    rng = np.random.default_rng(0)
    return np.array([np.arange(n), *(rng.permutation(n) for _ in range(10_000))])

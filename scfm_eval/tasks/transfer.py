"""Transfer: whether a probe that learned on one dataset reads the cell types of another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from anndata import AnnData
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Split, folds
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import Rows
from scfm_eval.metrics import classification
from scfm_eval.metrics.metric import Metric, Statistic
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.metrics.transfer import domain_accuracy, macro_f1_drop
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import probes, small_probes
from scfm_eval.tasks.labelled import Labelled, has_seen_cells, split_details
from scfm_eval.tasks.predictions import prediction_details
from scfm_eval.tasks.sides import Sides, require_sides_apart
from scfm_eval.tasks.task import N_RESAMPLES, Answers, Scored, lacks, resampling_weights

_DOMAINS = ("source", "target")
_PERMUTATIONS = 20
_AS_IT_IS = "domain_accuracy asks of the embedding as it is, learned from the source, how far the domains lie apart"


@dataclass(frozen=True, eq=False)
class _Known(Labelled):
    """The labelled cells with the domain of each."""

    domain: NDArray[np.str_]

    @classmethod
    def of(cls, cells: AnnData, *, key: str = "label") -> Self:
        known = Labelled.of(cells, key=key)
        return cls(known.among_all, known.labels, known.donors, known.values(cells, "domain"))

    @property
    def target(self) -> NDArray[np.bool_]:
        return np.asarray(self.domain == "target")

    @property
    def donors_by_domain(self) -> dict[str, NDArray[np.str_] | None]:
        """Donors of the cells of each domain that has several; ``None`` where cells have to do."""
        found = {name: self.donors_of(self.domain == name) for name in _DOMAINS}
        return {name: None if donors is None or len(set(donors)) < 2 else donors for name, donors in found.items()}

    def units_by_domain(self) -> NDArray[np.intp]:
        """Return what is drawn within each domain, ``(n_cells,)``: a donor, named by its first cell, or the cell."""
        units = np.arange(len(self.labels))
        for name, donors in self.donors_by_domain.items():
            if donors is not None:
                _, first, code = np.unique(donors, return_index=True, return_inverse=True)
                units[self.domain == name] = np.flatnonzero(self.domain == name)[first[code]]
        return units

    def folds_by_domain(self, *, n_folds: int, seed: int) -> NDArray[np.int64]:
        """Return as many folds of each domain, donors whole where it has several, so that both are learned from."""
        by_domain = self.donors_by_domain
        n_donors = [len(set(donors)) for donors in by_domain.values() if donors is not None]
        fold = np.empty(len(self.labels), dtype=np.int64)
        for name, donors in by_domain.items():
            of = self.domain == name
            fold[of] = folds(self.labels[of], donors=donors, n_folds=min([n_folds, *n_donors]), seed=seed).fold
        return fold


@dataclass(frozen=True)
class _Run:
    """Predictions for one seed: labels of the target's cells by three probes, and the domain of all cells."""

    transferred: NDArray[np.str_]
    centroid: NDArray[np.str_]
    within: NDArray[np.str_]
    domain: NDArray[np.str_]

    def permuted(self, order: NDArray[np.intp]) -> _Run:
        """Return the run with the target's predictions in another ``order``."""
        return replace(
            self, transferred=self.transferred[order], centroid=self.centroid[order], within=self.within[order]
        )


_BY_LABEL: Mapping[str, tuple[Metric[Any], Callable[[_Run], NDArray[np.str_]]]] = {
    "macro_f1": (classification.macro_f1, lambda run: run.transferred),
    "balanced_accuracy": (classification.balanced_accuracy, lambda run: run.transferred),
    "accuracy": (classification.accuracy, lambda run: run.transferred),
    "centroid_macro_f1": (classification.macro_f1, lambda run: run.centroid),
    "within_macro_f1": (classification.macro_f1, lambda run: run.within),
}


@dataclass(frozen=True)
class Transfer:
    """A probe learns on the source's cells and predicts the target's; so do methods that learn from the dataset.

    Beside it stand what the same embedding allows within the target (``within_macro_f1``: the same probe, every cell
    predicted without its fold), the difference of the two (``macro_f1_drop``), and how well a classifier tells the
    domain of cells of one type (``domain_accuracy``; no cell's donor is among those learned from, where its domain has
    several donors). Intervals are over the target's donors, or its cells; for ``domain_accuracy`` over the donors, or
    the cells, of each domain. Chance is that of the first seed.

    Parameters
    ----------
    n_folds
        Folds within the target, and of the domain classifier.
    """

    n_folds: int = 5

    name: ClassVar[str] = "transfer"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label", "domain")
    headline: ClassVar[tuple[str, ...]] = ("macro_f1", "within_macro_f1", "macro_f1_drop", "domain_accuracy")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that would have seen the target's cells."""
        return has_seen_cells(model, scored="the target's cells") or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` unless the domains are source and target, and share two labels."""
        check_keys(cells, keys=self.keys, dataset=dataset)
        domain = cells.obs["domain"].astype(str)
        labels = [set(cells.obs["label"][domain == name].dropna()) for name in _DOMAINS]
        if set(domain) != set(_DOMAINS) or len(labels[0] & labels[1]) < 2:
            raise InvalidInputError(
                asked=f"{dataset} with two labels that are in the domains source and target",
                found=f"domains {', '.join(sorted(set(domain)))}; common: {', '.join(sorted(labels[0] & labels[1]))}",
                remedy="join two datasets: --dataset 'SOURCE->TARGET'",
            )

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score the transfer over seeds; unlabelled cells are left out."""
        known = _Known.of(cells)
        of_target = known.labels[known.target]
        splits = [
            folds(of_target, donors=known.donors_of(known.target), n_folds=self.n_folds, seed=seed) for seed in seeds
        ]
        _require_apart(cells, known, splits, asked=self.name)
        runs = [self._run(answers, known, split=split, seed=seed) for split, seed in zip(splits, seeds, strict=True)]
        scores = _scores(known, runs, strata=splits[0].fold)
        joined = dict(cells.uns.get("joined", {}))
        return Scored(scores, _details(known, runs[0], split=splits[0]) | joined, _notes(known, splits[0], joined))

    def _run(self, answers: Answers, known: _Known, *, split: Split, seed: int) -> _Run:
        source, target = ~known.target, known.target
        cells = known.rows(answers, seed=seed, train=source)
        fold = np.full(len(cells), -1)
        fold[target] = split.fold
        tests = [target, *(fold == i for i in range(split.n_folds))]
        trains = [source, *(target & ~test for test in tests[1:])]
        # BLAS stays on one thread: two levels of threads on a few cores stall each other
        with threadpool_limits(1):
            found = Parallel(n_jobs=os.cpu_count(), prefer="threads")(
                delayed(_predicted)(cells[train], cells[test].labelled(None), seed=seed)
                for train, test in zip(trains, tests, strict=True)
            )
            domain = self._domain(cells, known=known, seed=seed)
        within = np.empty(len(cells), dtype=known.labels.dtype)
        for test, predicted in zip(tests[1:], found[1:], strict=True):
            within[test] = predicted
        similar = small_probes.centroid_similarity(cells[source], cells[target].labelled(None))
        centroid = small_probes.nearest(similar)
        return _Run(transferred=found[0], centroid=centroid, within=within[target], domain=domain)

    def _domain(self, cells: Rows, *, known: _Known, seed: int) -> NDArray[np.str_]:
        """Return the domain of each cell as predicted without its fold."""
        fold = known.folds_by_domain(n_folds=self.n_folds, seed=seed)
        found, of_domain = np.empty_like(known.domain), cells.labelled(known.domain).allowed(_AS_IT_IS)
        for test in (fold == name for name in np.unique(fold)):
            scaled = small_probes.standardised(of_domain, by=~test)
            fitted = small_probes.logistic_regression(scaled[~test], scaled[test].labelled(None))
            found[test] = small_probes.nearest(fitted)
        return found


def _require_apart(cells: AnnData, known: _Known, splits: Sequence[Split], *, asked: str) -> None:
    target = np.flatnonzero(known.target)
    within = [target[split.fold == fold] for split in splits for fold in range(split.n_folds)]
    tests = [np.isin(np.arange(len(known.labels)), rows) for rows in within]
    sides = [Sides(train=known.placed(known.target & ~test), test=known.placed(test)) for test in tests]
    over = Sides(train=known.placed(~known.target), test=known.placed(known.target))
    require_sides_apart(cells, [over], unit="cell", asked=asked)
    require_sides_apart(cells, sides, unit=splits[0].unit, asked=f"{asked} within the target")


def _predicted(train: Rows, test: Rows, *, seed: int) -> NDArray[np.str_]:
    return small_probes.nearest(probes.logistic_regression(train, test, seed=seed))


def _scores(known: _Known, runs: list[_Run], *, strata: NDArray[np.int64]) -> dict[str, ScoreRecord]:
    truth, classes = known.labels[known.target], np.unique(known.labels)
    weights = resampling_weights(donors=known.donors_of(known.target), strata=strata)
    rng = np.random.default_rng(0)
    permuted = [runs[0].permuted(rng.permutation(len(truth))) for _ in range(_PERMUTATIONS)]

    def recorded(metric: Metric[Any], of: Callable[[_Run], Statistic]) -> ScoreRecord:
        def chance() -> float:
            return float(np.mean([of(run).value() for run in permuted]))

        return measure(metric, lambda: [of(run) for run in runs], weights=weights, chance=chance)

    def by_label(metric: Metric[Any], predicted: Callable[[_Run], NDArray[np.str_]]) -> ScoreRecord:
        return recorded(metric, lambda run: metric.statistic(truth, predicted(run), classes=classes))

    def drop(run: _Run) -> Statistic:
        return macro_f1_drop.statistic(truth, within=run.within, transferred=run.transferred, classes=classes)

    def by_domain(run: _Run) -> Statistic:
        made = domain_accuracy.statistic(known.domain, predicted=run.domain, labels=known.labels)
        return replace(made, how=made.how | {"unit": _units(known)})

    everywhere = bootstrap_weights(units=known.units_by_domain(), strata=known.domain, n_resamples=N_RESAMPLES, seed=0)
    return {name: by_label(metric, predicted) for name, (metric, predicted) in _BY_LABEL.items()} | {
        "macro_f1_drop": recorded(macro_f1_drop, drop),
        "domain_accuracy": measure(domain_accuracy, lambda: [by_domain(run) for run in runs], weights=everywhere),
    }


def _units(known: _Known) -> dict[str, str]:
    return {name: "cell" if donors is None else "donor" for name, donors in known.donors_by_domain.items()}


def _details(known: _Known, run: _Run, *, split: Split) -> dict[str, Any]:
    truth, classes = known.labels[known.target], np.unique(known.labels)
    tested = known.placed(known.target)
    return prediction_details(truth, run.transferred, classes=classes, tested=tested) | {
        "cells": {name: int((known.domain == name).sum()) for name in _DOMAINS},
        "per_class_within": dict(classification.per_class(truth, run.within, classes=classes)),
        "split": split_details(split),
    }


def _notes(known: _Known, split: Split, joined: Mapping[str, Any]) -> list[str]:
    new = np.setdiff1d(known.labels[known.target], known.labels[~known.target])
    unseen = [f"{label} is not in the source: its cells in the target count as errors" for label in new]
    left_out = [
        f"left out of the {domain}: " + ", ".join(f"{n} cells {label}" for label, n in labels.items())
        for domain, labels in joined.get("left_out", {}).items()
        if labels
    ]
    cells = [name for name, unit in _units(known).items() if known.donors is not None and unit == "cell"]
    one = [f"one donor in the {name}: domain_accuracy is split and drawn by cell there" for name in cells]
    return [*filter(None, [split.note]), *one, *unseen, *left_out]

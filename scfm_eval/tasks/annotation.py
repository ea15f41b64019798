"""Annotation: whether a small classifier can read the cell type from the frozen embedding."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Split, folds
from scfm_eval.metrics import classification
from scfm_eval.metrics.metric import Metric, Statistic
from scfm_eval.models.protocols import Embedder, card
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import probes
from scfm_eval.tasks.task import Answers, Scored, lacks, resampling_weights

_PROBES: dict[str, probes.Probe] = {
    "": probes.logistic_regression,
    "knn_": probes.nearest_neighbors,
    "xgboost_": probes.boosted_trees,
}
_BY_PREDICTION: tuple[Metric[Any], ...] = (
    classification.macro_f1,
    classification.balanced_accuracy,
    classification.accuracy,
)
_BY_PROBABILITY: tuple[Metric[Any], ...] = (classification.log_loss, classification.expected_calibration_error)
_PERMUTATIONS = 20


@dataclass(frozen=True)
class _Predictions:
    """Out-of-fold predictions of one probe for one seed; ``probabilities`` is (n_cells, n_classes)."""

    labels: NDArray[np.str_]
    probabilities: NDArray[np.float64]

    def permuted(self, order: NDArray[np.intp]) -> _Predictions:
        return _Predictions(self.labels[order], self.probabilities[order])


@dataclass(frozen=True)
class Annotation:
    """Frozen probe: every cell is predicted by a probe that was fitted without its fold.

    With donors, all cells of a donor are in one fold, and intervals are over donors. Methods that learn from the
    dataset itself learn from the training folds only, as do scaling, gene selection and PCA.

    Parameters
    ----------
    n_folds
        Folds of the outer split.
    """

    n_folds: int = 5

    name: ClassVar[str] = "annotation"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = ("macro_f1", "accuracy", "knn_macro_f1", "xgboost_macro_f1")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that would have seen the test cells."""
        if card(model).transductive:
            return "it cannot place cells that it has not seen, so its embedding would have seen the test cells"
        return lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label only, or for a class with one cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Fit and score the probes over folds and seeds; unlabelled cells are left out."""
        labelled = cells.obs["label"].notna().to_numpy()
        labels = cells.obs["label"].to_numpy()[labelled].astype(str)
        donors = cells.obs["donor"].to_numpy()[labelled].astype(str) if "donor" in cells.obs else None
        splits = [folds(labels, donors=donors, n_folds=self.n_folds, seed=seed) for seed in seeds]
        runs = [
            self._predict(answers, labelled, labels=labels, donors=donors, split=split, seed=seed)
            for split, seed in zip(splits, seeds, strict=True)
        ]
        weights = resampling_weights(donors=donors, strata=splits[0].fold)
        classes = np.unique(labels)
        scores: dict[str, ScoreRecord] = {}
        for prefix in _PROBES:
            scores |= _scores(prefix, labels, [run[prefix] for run in runs], classes=classes, weights=weights)
        return Scored(
            scores, _details(labels, runs[0][""], classes=classes, split=splits[0]), _notes(splits[0], labels)
        )

    def _predict(
        self,
        answers: Answers,
        labelled: NDArray[np.bool_],
        *,
        labels: NDArray[np.str_],
        donors: NDArray[np.str_] | None,
        split: Split,
        seed: int,
    ) -> dict[str, _Predictions]:
        jobs = []
        for fold in range(split.n_folds):
            train = split.fold != fold
            seen = np.zeros(len(labelled), dtype=bool)
            seen[np.flatnonzero(labelled)[train]] = True
            embedding = answers.embed(seed=seed, train=seen)[labelled]
            group = None if donors is None else donors[train]
            jobs += [(prefix, fold, embedding[train], labels[train], embedding[~train], group) for prefix in _PROBES]
        # BLAS and XGBoost stay on one thread each: two levels of threads on a few cores stall each other
        with threadpool_limits(1):
            answered = Parallel(n_jobs=os.cpu_count(), prefer="threads")(
                delayed(_PROBES[prefix])(train_x, train_y, test_x, donors=group, seed=seed)
                for prefix, _, train_x, train_y, test_x, group in jobs
            )
        return _gathered(answered, jobs, labels=labels, split=split)


def _gathered(
    answered: list[tuple[NDArray[np.str_], NDArray[np.float64]]],
    jobs: list[tuple[Any, ...]],
    *,
    labels: NDArray[np.str_],
    split: Split,
) -> dict[str, _Predictions]:
    classes = np.unique(labels)
    found = {prefix: np.zeros((len(labels), len(classes))) for prefix in _PROBES}
    for (prefix, fold, *_), (known, probabilities) in zip(jobs, answered, strict=True):
        rows = np.flatnonzero(split.fold == fold)
        found[prefix][np.ix_(rows, np.searchsorted(classes, known))] = probabilities
    return {prefix: _Predictions(classes[values.argmax(axis=1)], values) for prefix, values in found.items()}


def _scores(
    prefix: str,
    labels: NDArray[np.str_],
    runs: list[_Predictions],
    *,
    classes: NDArray[np.str_],
    weights: NDArray[Any],
) -> dict[str, ScoreRecord]:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(labels)) for _ in range(_PERMUTATIONS)]
    scores = {}
    for metric in (*_BY_PREDICTION, *_BY_PROBABILITY):

        def statistic(run: _Predictions, metric: Metric[Any] = metric) -> Statistic:
            if metric in _BY_PROBABILITY:
                return metric.statistic(labels, probabilities=run.probabilities, classes=classes)
            return metric.statistic(labels, run.labels, classes=classes)

        def statistics(of: Callable[[_Predictions], Statistic] = statistic) -> list[Statistic]:
            return [of(run) for run in runs]

        def chance(of: Callable[[_Predictions], Statistic] = statistic) -> float:
            return float(np.mean([of(runs[0].permuted(order)).value() for order in orders]))

        scores[prefix + metric.name] = measure(metric, statistics, weights=weights, chance=chance)
    return scores


def _details(labels: NDArray[np.str_], run: _Predictions, *, classes: NDArray[np.str_], split: Split) -> dict[str, Any]:
    return {
        "classes": classes.tolist(),
        "confusion_matrix": classification.confusion_matrix(labels, run.labels, classes=classes).tolist(),
        "per_class": dict(classification.per_class(labels, run.labels, classes=classes)),
        "split": {"unit": split.unit, "n_folds": split.n_folds, "note": split.note},
    }


def _notes(split: Split, labels: NDArray[np.str_]) -> list[str]:
    unseen = [
        f"{label} has no training cell when fold {fold} is predicted: its cells there count as errors"
        for fold in range(split.n_folds)
        for label in np.setdiff1d(labels[split.fold == fold], labels[split.fold != fold])
    ]
    return ([split.note] if split.note else []) + unseen

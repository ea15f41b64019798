"""Annotation: whether a small classifier can read the cell type from the frozen embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Split
from scfm_eval.metrics import classification
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic
from scfm_eval.models.protocols import Embedder, members_of
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import probes
from scfm_eval.tasks.labelled import Labelled, has_seen_cells, split_details
from scfm_eval.tasks.out_of_fold import out_of_fold
from scfm_eval.tasks.predictions import prediction_details
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
_POOLED = "knn_"
"""The probe whose answers are pooled over the members of an ensemble."""
_DIGITS = 9
_NO_EMBEDDING = "an ensemble has no one embedding that this probe could read; the votes of its neighbours are scored"


@dataclass(frozen=True)
class _Predictions:
    """Out-of-fold predictions of one probe for one seed; ``probabilities`` is (n_cells, n_classes)."""

    labels: NDArray[np.str_]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], classes: NDArray[np.str_]) -> _Predictions:
        return cls(classes[probabilities.argmax(axis=1)], probabilities)

    def permuted(self, order: NDArray[np.intp]) -> _Predictions:
        return _Predictions(self.labels[order], self.probabilities[order])


@dataclass(frozen=True)
class Annotation:
    """Frozen probe: every cell is predicted by a probe that was fitted without its fold.

    With donors, all cells of a donor are in one fold, and intervals are over donors. Methods that learn from the
    dataset itself learn from the training folds only, as do scaling, gene selection and PCA.

    Of an ensemble, the votes of the nearest neighbours in each member's embedding are pooled, all alike; the other
    probes have no one embedding to read. Of labels with as many votes, the first in alphabetical order is predicted.

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
        lacking = (lacks(member, Embedder) for member in members_of(model))
        return has_seen_cells(model) or next(filter(None, lacking), "")

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label only, or for a class with one cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Fit and score the probes over folds and seeds; unlabelled cells are left out."""
        known = Labelled.of(cells)
        labels, classes = known.labels, np.unique(known.labels)
        splits = known.splits(n_folds=self.n_folds, seeds=seeds)
        known.require_apart(cells, splits, asked=self.name)
        members = answers.members()
        probes = _PROBES if len(members) == 1 else {_POOLED: _PROBES[_POOLED]}
        # member by member, so that each is loaded once
        by_member = [
            [
                out_of_fold(member, known, probes=probes, split=split, seed=seed)
                for split, seed in zip(splits, seeds, strict=True)
            ]
            for member in members
        ]
        by_seed = [_pooled(of_members) for of_members in zip(*by_member, strict=True)]
        runs = {prefix: [_Predictions.of(run[prefix], classes) for run in by_seed] for prefix in probes}
        weights = resampling_weights(donors=known.donors, strata=splits[0].fold)
        scores: dict[str, ScoreRecord] = {}
        for prefix in _PROBES:
            scores |= _scores(prefix, labels, runs.get(prefix, []), classes=classes, weights=weights)
        shown = runs[min(probes)][0].labels
        told = prediction_details(labels, shown, classes=classes, tested=known.among_all)
        return Scored(scores, told | {"split": split_details(splits[0])}, _notes(splits[0], labels))


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
            if not runs:
                raise InapplicableMetricError(_NO_EMBEDDING)
            return [of(run) for run in runs]

        def chance(of: Callable[[_Predictions], Statistic] = statistic) -> float:
            return float(np.mean([of(runs[0].permuted(order)).value() for order in orders]))

        scores[prefix + metric.name] = measure(metric, statistics, weights=weights, chance=chance)
    return scores


def _pooled(of_members: Sequence[dict[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Return the mean over members of what they give each label, the same whatever their order."""
    if len(of_members) == 1:
        return of_members[0]
    # rounded, or as many votes in another order of addition would be no tie
    return {prefix: np.mean([one[prefix] for one in of_members], axis=0).round(_DIGITS) for prefix in of_members[0]}


def _notes(split: Split, labels: NDArray[np.str_]) -> list[str]:
    unseen = [
        f"{label} has no training cell when fold {fold} is predicted: its cells there count as errors"
        for fold in range(split.n_folds)
        for label in np.setdiff1d(labels[split.fold == fold], labels[split.fold != fold])
    ]
    return ([split.note] if split.note else []) + unseen

"""Few-shot annotation: how much of the cell type can be read when a class has one, five, ten or fifty known cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Split
from scfm_eval.metrics.classification import macro_f1
from scfm_eval.metrics.metric import InapplicableMetricError, Statistic
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import small_probes
from scfm_eval.tasks.draws import mean_over_draws, ranks_in_class
from scfm_eval.tasks.labelled import Labelled, has_seen_cells, split_details
from scfm_eval.tasks.task import Answers, Scored, lacks, learns_labels, resampling_weights

SHOTS = (1, 5, 10, 50)
"""Known cells of each class."""
_PREFIXES = ("", "centroid_")
_PERMUTATIONS = 4
"""Of the predictions of every draw."""

_Predictions = dict[tuple[str, int], NDArray[np.str_]]
"""Class of each cell by draw, ``(n_draws, n_cells)``, for each probe (its prefix) and number of known cells."""


@dataclass(frozen=True)
class FewShot:
    """Every cell is predicted by probes that know ``k`` cells of each class of the other folds, k = 1, 5, 10 and 50.

    The folds are those of the annotation task, so that methods which learn from the dataset itself learn once for both.
    In every fold the k cells are drawn anew ``n_draws`` times; those for a smaller k are among those for a larger one,
    and all models get the same. A class with fewer than k cells gives all that it has, which the notes say. Macro F1 is
    that over all cells, averaged over draws; intervals are over donors or cells, with the draws as they are. Chance is
    the mean over 4 permutations of the cells with the first seed.

    Two probes: logistic regression (inputs standardised by the training folds, which needs no labels; C fixed, as a
    handful of cells cannot choose it), and the class whose mean is nearest by cosine.

    Parameters
    ----------
    n_folds
        Folds of the outer split.
    n_draws
        Draws of the known cells in each fold.
    """

    n_folds: int = 5
    n_draws: int = 5

    name: ClassVar[str] = "annotation_few_shot"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = tuple(f"macro_f1_{k}" for k in SHOTS)

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that has seen test cells or all labels."""
        learns = "it learns from the labels of all training cells, and here a few of each class are known"
        return has_seen_cells(model) or (learns if learns_labels(model) else "") or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label only, or for a class with one cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score both probes by the number of known cells; unlabelled cells are left out."""
        known = Labelled.of(cells)
        splits = known.splits(n_folds=self.n_folds, seeds=seeds)
        known.require_apart(cells, splits, asked=self.name)
        runs = [
            self._predict(answers, known, split=split, seed=seed) for split, seed in zip(splits, seeds, strict=True)
        ]
        weights = resampling_weights(donors=known.donors, strata=splits[0].fold)
        labels, sizes = known.labels, _known_sizes(known.labels, splits)
        scores = {
            f"{prefix}macro_f1_{k}": _score(labels, [run[prefix, k] for run in runs], k=k, sizes=sizes, weights=weights)
            for prefix in _PREFIXES
            for k in SHOTS
        }
        return Scored(scores, _details(labels, runs[0], split=splits[0]), _notes(splits[0], sizes))

    def _predict(self, answers: Answers, known: Labelled, *, split: Split, seed: int) -> _Predictions:
        labels = known.labels
        found: _Predictions = {
            (prefix, k): np.empty((self.n_draws, len(labels)), dtype=labels.dtype)
            for prefix in _PREFIXES
            for k in SHOTS
        }
        for fold in range(split.n_folds):
            train, test = split.fold != fold, split.fold == fold
            plain = known.rows(answers, seed=seed, train=train)
            scaled = small_probes.standardised(plain, by=train)
            for draw in range(self.n_draws):
                rank = ranks_in_class(labels, train, rng=np.random.default_rng([seed, fold, draw]))
                for k in SHOTS:
                    few = (rank >= 0) & (rank < k)
                    with threadpool_limits(1):
                        fitted = small_probes.logistic_regression(scaled[few], scaled[test].labelled(None))
                    found["", k][draw, test] = small_probes.nearest(fitted)
                    centroids = small_probes.centroid_similarity(plain[few], plain[test].labelled(None))
                    found["centroid_", k][draw, test] = small_probes.nearest(centroids)
        return found


def _known_sizes(labels: NDArray[np.str_], splits: list[Split]) -> dict[str, int]:
    """Return how many cells each class has outside the fold in which it has most."""
    return {
        str(name): min(
            int(((labels == name) & (split.fold != fold)).sum()) for split in splits for fold in range(split.n_folds)
        )
        for name in np.unique(labels)
    }


def _score(
    labels: NDArray[np.str_],
    runs: list[NDArray[np.str_]],
    *,
    k: int,
    sizes: dict[str, int],
    weights: NDArray[Any],
) -> ScoreRecord:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(labels)) for _ in range(_PERMUTATIONS)]

    def statistics() -> list[Statistic]:
        if max(sizes.values()) < k:
            raise InapplicableMetricError(f"no class has {k} training cells; the largest has {max(sizes.values())}")
        return [_over_draws(labels, run) for run in runs]

    def chance() -> float:
        return float(np.mean([_over_draws(labels, runs[0][:, order]).value() for order in orders]))

    return measure(macro_f1, statistics, weights=weights, chance=chance)


def _over_draws(labels: NDArray[np.str_], predicted: NDArray[np.str_]) -> Statistic:
    """Return the mean over draws of macro F1; ``predicted`` is ``(n_draws, n_cells)``."""
    classes = np.unique(labels)
    return mean_over_draws([macro_f1.statistic(labels, draw, classes=classes) for draw in predicted])


def _details(labels: NDArray[np.str_], run: _Predictions, *, split: Split) -> dict[str, Any]:
    classes = np.unique(labels)
    curve = {
        f"{prefix}macro_f1": {
            str(k): [macro_f1(labels, draw, classes=classes) for draw in run[prefix, k]] for k in SHOTS
        }
        for prefix in _PREFIXES
    }
    return {
        "classes": classes.tolist(),
        "curve": curve,
        "penalty": small_probes.PENALTY,
        "split": split_details(split),
    }


def _notes(split: Split, sizes: dict[str, int]) -> list[str]:
    few = {name: n for name, n in sizes.items() if n < max(SHOTS)}
    said = ", ".join(f"{name} {n}" for name, n in few.items())
    return [
        *filter(None, [split.note]),
        *([f"classes with fewer than {max(SHOTS)} training cells: {said}"] if few else []),
    ]

"""Unseen types: whether cells of a type that the probe has never met stand out from those of the types it knows."""

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
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import unseen
from scfm_eval.metrics.metric import Statistic
from scfm_eval.metrics.novelty import auroc, novelty_auroc
from scfm_eval.models.protocols import Embedder
from scfm_eval.results import measure
from scfm_eval.tasks import probes, small_probes
from scfm_eval.tasks.labelled import TOO_FEW_DONORS, Labelled, has_seen_cells, split_details, weights_of_tested
from scfm_eval.tasks.task import Answers, Scored, lacks

_SCORES = ("novelty_auroc", "distance_auroc")
_AT_LEAST = 2
"""Test cells from which a type is held out."""


@dataclass(frozen=True)
class _Run:
    """Novelty of the test cells for one seed, ``(n_held_out, n_cells)`` by score; NaN where a cell was not scored."""

    held_out: list[str]
    novelty: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class NovelTypes:
    """One type after the other is held out; cells of the test fold should tell by their score whether they are of it.

    For each type, the probe (that of the annotation task) and methods that learn from the dataset itself learn from the
    training folds without the type's cells: what learns here is fitted once per type and seed. Novelty is 1 − the
    largest probability (``novelty_auroc``), or the cosine distance to the nearest class mean (``distance_auroc``).
    The score is the AUROC of the type's test cells against those of the known types, averaged over types. Intervals are
    over test cells, or over test donors where each seed has enough of them: 2, or with several seeds 4.

    Parameters
    ----------
    n_folds
        Folds of the outer split, the first of which is the test part: by default half of the cells, or of the donors.
    """

    n_folds: int = 2

    name: ClassVar[str] = "annotation_novel_types"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = _SCORES

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that would have seen the held-out type."""
        return has_seen_cells(model, scored="the held-out type") or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for fewer than three labels, or for one with a single cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)
        labels = sorted(cells.obs["label"].dropna().unique())
        if len(labels) < 3:
            raise InvalidInputError(
                asked=f"{dataset} with a type to hold out and two to know",
                found=f"two labels: {' and '.join(labels)}",
                remedy="declare a finer label, or choose another dataset",
            )

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score the novelty of every type that has at least two test cells; unlabelled cells are left out."""
        known = Labelled.of(cells)
        labels = known.labels
        splits = known.splits(n_folds=self.n_folds, seeds=seeds)
        known.require_apart(cells, splits, asked=self.name, tested=[0])
        runs = [_run(answers, known, split=split, seed=seed) for split, seed in zip(splits, seeds, strict=True)]
        weights, by_donor = _weights(known, splits)

        def statistics(name: str) -> list[Statistic]:
            return [novelty_auroc.statistic(run.novelty[name], labels=labels, held_out=run.held_out) for run in runs]

        scores = {
            name: measure(novelty_auroc, lambda name=name: statistics(name), weights=weights)  # type: ignore[misc]
            for name in _SCORES
        }
        few = [TOO_FEW_DONORS] if splits[0].unit == "donor" and not by_donor else []
        return Scored(
            scores, _details(labels, runs[0], split=splits[0]), _notes(labels, runs[0], split=splits[0]) + few
        )


def _weights(known: Labelled, splits: Sequence[Split]) -> tuple[NDArray[np.int16], bool]:
    """Return weights of all labelled cells, 0 for those that no seed tests, and whether donors were drawn."""
    tests = [split.fold == 0 for split in splits]
    drawn, by_donor = weights_of_tested(known, tests, unit=splits[0].unit)
    weights = np.zeros((len(drawn), len(known.labels)), dtype=drawn.dtype)
    weights[:, np.any(tests, axis=0)] = drawn
    return weights, by_donor


def _run(answers: Answers, known: Labelled, *, split: Split, seed: int) -> _Run:
    labels, test = known.labels, split.fold == 0
    held_out = _held_out(labels, test)
    novelty = {name: np.full((len(held_out), len(labels)), np.nan) for name in _SCORES}
    for row, name in enumerate(held_out):
        train = ~test & (labels != name)
        cells = known.rows(answers, seed=seed, train=train)
        # a test cell of a type that no training cell has is as new as those of the held-out one
        scored = test & ((labels == name) | np.isin(labels, labels[train]))
        asked = cells[scored].labelled(None)
        with threadpool_limits(1):
            _, shares = probes.logistic_regression(cells[train], asked, seed=seed)
        novelty["novelty_auroc"][row, scored] = 1 - unseen(shares).max(axis=1)
        _, similar = small_probes.centroid_similarity(cells[train], asked)
        novelty["distance_auroc"][row, scored] = 1 - unseen(similar).max(axis=1)
    return _Run(held_out, novelty)


def _held_out(labels: NDArray[np.str_], test: NDArray[np.bool_]) -> list[str]:
    """Return the types with test cells enough, and two known types with both training and test cells beside them."""
    trained = np.unique(labels[~test])
    known = np.intersect1d(trained, labels[test])
    names, sizes = np.unique(labels[test], return_counts=True)
    return [
        str(name)
        for name in names[sizes >= _AT_LEAST]
        if len(np.setdiff1d(trained, [name])) >= 2 and len(np.setdiff1d(known, [name])) >= 1
    ]


def _details(labels: NDArray[np.str_], run: _Run, *, split: Split) -> dict[str, Any]:
    per_type = {
        name: {"test_cells": int(((labels == name) & (split.fold == 0)).sum())}
        | {score: _auroc_of_type(run.novelty[score][row], labels == name) for score in _SCORES}
        for row, name in enumerate(run.held_out)
    }
    return {"per_type": per_type, "split": split_details(split)}


def _auroc_of_type(novelty: NDArray[np.float64], novel: NDArray[np.bool_]) -> float:
    scored = ~np.isnan(novelty)
    return auroc(novelty[scored], positive=novel[scored])


def _notes(labels: NDArray[np.str_], run: _Run, *, split: Split) -> list[str]:
    left = np.setdiff1d(labels, run.held_out)
    why = f"not held out, for fewer than {_AT_LEAST} test cells or a lack of known types beside: {', '.join(left)}"
    return [*filter(None, [split.note]), *([why] if len(left) else [])]

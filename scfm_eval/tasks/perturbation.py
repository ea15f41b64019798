"""Perturbation: what does a perturbation that was not seen do to the expression of the other genes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.counts import some
from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.perturbation_conditions import Condition, Perturbed, perturbed, unreadable
from scfm_eval.datasets.perturbation_splits import KINDS, Fold, Kind, folds_by_seed, possible_kinds
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import unseen
from scfm_eval.models.protocols import (
    Embedder,
    GeneEmbedder,
    PerturbationPredictor,
    Perturber,
    learns_here,
)
from scfm_eval.results import ScoreRecord
from scfm_eval.tasks import perturbation_heads as heads
from scfm_eval.tasks.labelled import has_seen_cells
from scfm_eval.tasks.perturbation_scores import (
    HEADLINE,
    PANEL,
    SHORT,
    SPLITS,
    Asked,
    Part,
    Predictions,
    Truth,
    not_asked,
    parts_of,
    scores_of,
    variance_ratio,
)
from scfm_eval.tasks.sides import Sides, require_sides_apart
from scfm_eval.tasks.task import Answers, Scored, lacks

_LOW_VARIANCE, _FEW_NEIGHBORS = 0.1, 0.25
_STRONGEST, _MOST_PAIRS, _DIGITS = 20, 300, 4


@dataclass(frozen=True, eq=False)
class _Answered:
    """Predictions of one kind under one seed, and why others are missing."""

    predictions: Predictions
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Perturbation:
    """Mean expression of held-out perturbations, single genes, pairs of genes and contexts, against control.

    A model that predicts perturbations answers for itself. Of another, frozen embeddings are compared under one and the
    same head, fitted on the training conditions: ridge regression from the mean embedding of the control cells beside
    the sum of the vectors of the perturbed genes, and (``mlp_…``) a perceptron of two layers. A model that perturbs its
    own input also answers ``in_silico_…``: ridge regression from the shift of its control cells; without gene vectors
    that is its only answer.

    A condition without a prediction (an unknown gene) is not left out, since a model would gain by choosing: the mean
    of the training perturbations stands in, and the condition is counted and named. Without any prediction in a split,
    as of the additive model for single genes, its scores are undefined. Against the mean of the training perturbations
    a missing answer counts 0.

    Intervals are over perturbations. The perturbed genes are no part of the scores; the value with them stands in
    ``how``. ``ceiling_…`` takes one half of the true cells as the prediction of the other, ``oracle_…`` the truth
    itself.

    Parameters
    ----------
    splits
        What is held out; ``None`` for all that the dataset allows.
    n_folds
        Most folds of each split and effect.
    min_cells
        Conditions with fewer cells are not tested.
    max_cells
        Most cells of a condition in tests and distances between cells.
    n_in_silico
        Most control cells that a model perturbs.
    """

    splits: tuple[Kind, ...] | None = None
    n_folds: int = 5
    min_cells: int = 10
    max_cells: int = 300
    n_in_silico: int = 32

    name: ClassVar[str] = "perturbation"
    capability: ClassVar[type] = PerturbationPredictor
    keys: ClassVar[tuple[str, ...]] = ("perturbation",)
    headline: ClassVar[tuple[str, ...]] = tuple(f"{split}_{name}" for split in SPLITS for name in HEADLINE)

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part.

        It neither predicts nor has what a head or a perturbation needs; or its embedding learns from the dataset, which
        gene vectors and perturbations of the input do not, or has seen all cells.
        """
        if not lacks(model, PerturbationPredictor):
            return ""
        ways = ((PerturbationPredictor,), (Embedder, GeneEmbedder), (Embedder, Perturber))
        missing = [", ".join(filter(None, (lacks(model, part) for part in way))) for way in ways]
        if all(missing):
            return f"{missing[0]}, and as an embedding {missing[1]}, or {missing[2]}"
        if learns_here(model):
            return "it learns from the dataset, and gene vectors and perturbed cells are asked for without that"
        return has_seen_cells(model, scored="the perturbed cells")

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` where nothing can be held out.

        That is without control cells (in any context), with one perturbation only, with combinations that are not
        written ``A+B``, or when a split of ``splits`` would be empty.
        """
        check_keys(cells, keys=self.keys, dataset=dataset)
        names = cells.obs["perturbation"].astype(str).unique().tolist()
        refused = unreadable(names, measured=frozenset(cells.var_names))
        if refused:
            raise InvalidInputError(
                asked=f"{dataset} with perturbations written as 'A' or 'A+B'",
                found=f"{len(refused)} others: {some(sorted(refused))}",
                remedy="write the genes of a combination with '+' between them, each once, and nothing else",
            )
        table = perturbed(cells)
        if len({condition.genes for condition in table.conditions}) < 2:
            raise InvalidInputError(
                asked=f"{dataset} with several perturbations",
                found=f"{len(table.conditions)}: {some([condition.name for condition in table.conditions])}",
                remedy="one perturbation leaves nothing to learn from: give a dataset with more",
            )
        self._folds(table, dataset=dataset, seeds=(0,))

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Ask for every held-out condition, and score each split."""
        truth = Truth(cells, self.max_cells)
        asked = self._asked(truth, seeds=seeds)
        sides = [_sides(fold, truth.table) for each in asked for fold in each.folds]
        require_sides_apart(cells, sides, unit="cell", asked=self.name)
        answered = [self._answered(answers, each) for each in asked]
        scores: dict[str, ScoreRecord] = {}
        details: dict[str, Any] = {"splits": _splits(asked[0]), "no_answer": {}}
        for prefix in answered[0]:
            runs = [
                parts_of(each, each.responses(own[prefix].predictions))
                for each, own in zip(asked, answered, strict=True)
            ]
            names = SHORT if prefix else PANEL
            scores |= _by_split(runs, prefix=prefix, names=names, without=_reasons(answered[0][prefix]))
            details["no_answer"][prefix or "own"] = dict(answered[0][prefix].missing)
            if not prefix:
                details["collapse"] = _collapse(scores, runs)
                details["deltas"] = _deltas(asked[0], answered[0][prefix].predictions)
        oracle = [parts_of(each, each.responses(_truths(each))) for each in asked]
        ceiling = [parts_of(each, each.ceiling()) for each in asked]
        scores |= _by_split(oracle, prefix="oracle_", names=HEADLINE)
        scores |= _by_split(ceiling, prefix="ceiling_", names=HEADLINE)
        scores |= not_asked(oracle[0])
        return Scored(scores, details, _notes(self, truth, asked[0], details))

    def _folds(self, table: Perturbed, *, dataset: str, seeds: Sequence[int]) -> list[list[Fold]]:
        """Return the folds of all kinds for each seed."""
        known = {"n_folds": self.n_folds, "min_cells": self.min_cells}
        kinds = self.splits or possible_kinds(table, **known, seeds=seeds)
        if not kinds:
            raise InvalidInputError(
                asked=f"{dataset} with conditions that can be held out",
                found=f"{len(table.conditions)} conditions, none of {', '.join(KINDS)}",
                remedy=f"give at least two perturbations of {self.min_cells} cells or more, and two to learn from",
            )
        by_kind = [folds_by_seed(table, kind=kind, **known, seeds=seeds) for kind in kinds]
        return [[fold for folds in of_seed for fold in folds] for of_seed in zip(*by_kind, strict=True)]

    def _asked(self, truth: Truth, *, seeds: Sequence[int]) -> list[Asked]:
        folds = self._folds(truth.table, dataset="the dataset", seeds=seeds)
        return [Asked(truth, of_seed, seed) for of_seed, seed in zip(folds, seeds, strict=True)]

    def _answered(self, answers: Answers, asked: Asked) -> dict[str, _Answered]:
        """Return the model's predictions under the prefix of their scores."""
        if answers.can(PerturbationPredictor):
            return {"": _own(answers, asked)}
        found: dict[str, _Answered] = {}
        if answers.can(GeneEmbedder):
            frozen = partial(_frozen, answers, asked)
            found = {"": _by_head(heads.ridge, frozen, asked), "mlp_": _by_head(heads.perceptron, frozen, asked)}
        if answers.can(Perturber):
            moved = heads.in_silico_inputs(
                answers,
                asked.truth.table,
                column=_names(asked.truth),
                conditions=_used(asked),
                n_cells=self.n_in_silico,
                seed=asked.seed,
            )
            found["in_silico_"] = _by_head(heads.ridge, lambda _: moved, asked)
            found.setdefault("", found["in_silico_"])
        return found


_InputsOf = Callable[[int], heads.Inputs]


def _frozen(answers: Answers, asked: Asked, number: int) -> heads.Inputs:
    fold = asked.folds[number]
    return heads.frozen_inputs(answers, asked.truth.table, column=_names(asked.truth), fold=fold, seed=asked.seed)


def _sides(fold: Fold, table: Perturbed) -> Sides:
    return Sides(train=fold.training_cells(table), test=table.rows_of(frozenset(fold.test), controls_of=()))


def _own(answers: Answers, asked: Asked) -> _Answered:
    predictions: dict[tuple[int, Condition], NDArray[np.float64]] = {}
    missing: dict[str, str] = {}
    for number, fold in enumerate(asked.folds):
        names = [condition.name for condition in fold.test]
        table = asked.truth.table
        found = answers.predict_rows(names, train=fold.training_cells(table), seed=asked.seed)
        said = unseen(replace(found, fits=heads.by_condition(found.fits, table)))
        for condition, row in zip(fold.test, np.asarray(said, dtype=np.float64), strict=True):
            if np.isfinite(row).all():
                predictions[number, condition] = row
            else:
                missing[asked.name(number, condition)] = "the model has no answer"
    return _Answered(predictions, missing)


def _by_head(head: heads.Head, inputs_of: _InputsOf, asked: Asked) -> _Answered:
    predictions: dict[tuple[int, Condition], NDArray[np.float64]] = {}
    missing: dict[str, str] = {}
    for number, fold in enumerate(asked.folds):
        inputs = inputs_of(number)
        found = heads.predicted_by(head, inputs, means=asked.truth.means, fold=fold, seed=asked.seed)
        predictions |= {(number, condition): row for condition, row in found.items()}
        for condition in fold.test:
            if condition not in found:
                why = inputs.missing.get(condition, "too few training conditions have inputs")
                missing[asked.name(number, condition)] = why
    return _Answered(predictions, missing)


def _names(truth: Truth) -> dict[str, str]:
    """Return the dataset's name of each gene that has a column."""
    return {gene: str(truth.cells.var_names[column]) for gene, column in truth.column.items()}


def _used(asked: Asked) -> list[Condition]:
    return sorted({condition for fold in asked.folds for condition in (*fold.train, *fold.test)})


def _truths(asked: Asked) -> Predictions:
    means = asked.truth.means
    return {
        (number, condition): means.control[condition.context] + means.changes[condition]
        for number, condition in asked.questions
    }


def _by_split(
    runs: Sequence[Mapping[str, Part]], *, prefix: str, names: Sequence[str], without: str = ""
) -> dict[str, ScoreRecord]:
    return {
        f"{prefix}{split}_{name}": record
        for split in runs[0]
        for name, record in scores_of([run[split] for run in runs], names=names, without=without).items()
    }


def _reasons(answered: _Answered) -> str:
    return "; ".join(sorted(set(answered.missing.values())))


def _splits(asked: Asked) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for fold in asked.folds:
        held = {"test": [condition.name for condition in fold.test], "n_training_conditions": len(fold.train)}
        table.setdefault(fold.kind, []).append(held)
    return table


def _collapse(scores: Mapping[str, ScoreRecord], runs: Sequence[Mapping[str, Part]]) -> dict[str, Any]:
    """Return the guard of each split: predictions that hardly differ are flagged, however well they correlate."""
    found = {}
    for split in runs[0]:
        defined, distinct = (scores[f"{split}_{name}"].value for name in ("variance_error", "distinct_neighbors"))
        if defined is not None and distinct is not None:
            variance = variance_ratio([run[split] for run in runs])
            flagged = variance < _LOW_VARIANCE or distinct < _FEW_NEIGHBORS
            found[split] = {"variance_ratio": variance, "distinct_neighbors": distinct, "flagged": flagged}
    return found


def _deltas(asked: Asked, predictions: Predictions) -> dict[str, list[Any]]:
    """Return true and predicted changes of a sample of pairs of a question and a gene, the same for every model.

    Genes are the 20 of each question that truly change most and were not perturbed; a question without an answer has
    no predicted change.
    """
    responses = asked.responses(predictions)
    true = np.where(responses.scored, responses.true_change, 0.0)
    strongest = np.argsort(-np.abs(true), axis=1, kind="stable")[:, :_STRONGEST]
    rows, genes = np.repeat(np.arange(len(true)), strongest.shape[1]), strongest.ravel()
    drawn = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(true[rows, genes]))[:_MOST_PAIRS])
    rows, genes = rows[drawn], genes[drawn]
    var = asked.truth.cells.var
    predicted = responses.predicted_change[rows, genes].round(_DIGITS).tolist()
    answered = responses.answered[rows].tolist()
    return {
        "kind": asked.kinds[rows].tolist(),
        "condition": responses.conditions[rows].tolist(),
        "gene": var.get("symbol", var.index).to_numpy().astype(str)[genes].tolist(),
        "true": true[rows, genes].round(_DIGITS).tolist(),
        "predicted": [change if known else None for change, known in zip(predicted, answered, strict=True)],
    }


def _notes(task: Perturbation, truth: Truth, asked: Asked, details: Mapping[str, Any]) -> list[str]:
    table = truth.table
    few = [condition.name for condition in table.conditions if table.n_cells[condition] < task.min_cells]
    unmeasured = sorted({gene for condition in table.conditions for gene in condition.genes} - set(truth.column))
    absent = [kind for kind in KINDS if kind not in set(asked.kinds.tolist())]
    flagged = [split for split, guard in details["collapse"].items() if guard["flagged"]]
    missing = {name: len(reasons) for name, reasons in details["no_answer"].items() if reasons}
    notes = {
        f"not asked, since the dataset or the task does not allow it: {', '.join(absent)}": absent,
        f"{len(few)} conditions of fewer than {task.min_cells} cells were learned from, not tested: {some(few)}": few,
        f"perturbed genes that were not measured: {some(unmeasured)}": unmeasured,
        "no effect is declared: genes are perturbed in silico as in a knockdown": not any(table.effect.values()),
        f"predictions collapse (variance ratio below {_LOW_VARIANCE} or distinct neighbours below {_FEW_NEIGHBORS}): "
        + ", ".join(flagged): flagged,
        "ceiling: one half of a condition's cells predicts the other, so it has twice the noise of a mean": True,
    }
    stands_in = [
        f"{number} questions without an answer ({name}): the mean of the training perturbations stands in, unless all "
        "of a split are without"
        for name, number in missing.items()
    ]
    return [note for note, holds in notes.items() if holds] + stands_in

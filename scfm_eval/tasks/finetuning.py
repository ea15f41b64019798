"""Fine-tuned annotation: whether training the whole model tells cell types apart better than a probe of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Parts, parts
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import Rows, unseen
from scfm_eval.metrics import classification, gains
from scfm_eval.metrics.metric import Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.significance import mcnemar, wilcoxon_over_seeds
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Embedder, FineTuner, FineTuning, missing_methods
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import probes
from scfm_eval.tasks.labelled import TOO_FEW_DONORS, Labelled, has_seen_cells, weights_of_tested
from scfm_eval.tasks.predictions import packed, prediction_details
from scfm_eval.tasks.sides import Sides, require_sides_apart
from scfm_eval.tasks.task import Answers, Scored, lacks

_BY_PREDICTION: tuple[Metric[Any], ...] = (
    classification.macro_f1,
    classification.balanced_accuracy,
    classification.accuracy,
)
_BY_PROBABILITY: tuple[Metric[Any], ...] = (classification.log_loss, classification.expected_calibration_error)
_BESIDE: dict[str, tuple[Metric[Any], ...]] = {
    "frozen_": (classification.macro_f1, classification.accuracy),
    "xgboost_": (classification.macro_f1,),
    "from_scratch_": (classification.macro_f1,),
}
_GAINS = {"": classification.accuracy, "macro_f1_": classification.macro_f1}
_GAIN_KINDS: tuple[Metric[Any], ...] = (gains.gain_absolute, gains.gain_relative_percent)
"""Note of a result whose cells are split, but not drawn, by donor."""
_COMPARED = {
    "tuned": "the trained head on the pooled last layer",
    "frozen": "logistic regression on embed, which may be another layer or scaled otherwise",
}
_PERMUTATIONS = 20


@dataclass
class _Run:
    """What was said of the test cells of one seed.

    ``places`` are those of the test cells among the test cells of all seeds; ``said`` has the probabilities
    ``(n_test, n_classes)`` by prefix of the scores, and ``history`` that of the trainings.
    """

    split: Parts
    truth: NDArray[np.str_]
    classes: NDArray[np.str_]
    places: NDArray[np.intp]
    n_places: int
    said: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    history: dict[str, dict[str, Any]] = field(default_factory=dict)

    def predicted(self, prefix: str) -> NDArray[np.str_]:
        return self.classes[self.said[prefix].argmax(axis=1)]  # type: ignore[no-any-return]

    def right(self, prefix: str) -> NDArray[np.bool_]:
        return self.predicted(prefix) == self.truth  # type: ignore[no-any-return]

    def statistic(self, metric: Metric[Any], prefix: str, order: NDArray[np.intp] | None = None) -> Statistic:
        """Return the metric as a function of weights of the test cells of all seeds; predictions may be permuted."""
        order = np.arange(len(self.truth)) if order is None else order
        if metric in _BY_PROBABILITY:
            own = metric.statistic(self.truth, probabilities=self.said[prefix][order], classes=self.classes)
        else:
            own = metric.statistic(self.truth, self.predicted(prefix)[order], classes=self.classes)
        return Statistic(lambda weights: own.of_weights(weights[:, self.places]), self.n_places, own.how)

    def add(self, prefix: str, known: NDArray[np.str_], said: Rows) -> None:
        every = np.zeros((len(self.truth), len(self.classes)))
        every[:, np.searchsorted(self.classes, known)] = unseen(said)
        self.said[prefix] = every


@dataclass(frozen=True)
class FineTunedAnnotation:
    """Every model is fine-tuned on 80 % of the cells, chosen on 10 % and scored once on the other 10 %.

    With three donors or more, donors stay whole. Beside it stand the probe of the frozen model, fitted on the same
    training cells, and the same architecture fine-tuned from random weights. Baselines, and controls that cannot be
    fine-tuned, are scored by probes on the same training cells: ``macro_f1`` is that of the logistic regression. The
    gains are in accuracy, and with ``macro_f1_`` before their name in macro F1. Intervals are over test cells, or over
    test donors where there are enough of them. Chance is that of the first seed.

    Fine-tuning pools the last layer, each coordinate standardised. The frozen probe is another classifier, and reads
    what ``embed`` gives: maybe another layer (by default the last but one in Geneformer), or rows of unit length
    (scGPT). A gain has all of this in it; ``from_scratch_macro_f1`` differs from ``macro_f1`` in what it starts from.

    Parameters
    ----------
    how
        How the model is fine-tuned, in the mode of the task; what is left open is what the model's class states. What
        was really used is in the report, beside the history of each training.

    Raises
    ------
    InvalidInputError
        If ``how`` is of another mode.
    """

    how: FineTuning = field(default=FineTuning())

    name: ClassVar[str] = "annotation_finetuned"
    capability: ClassVar[type] = FineTuner
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = ("macro_f1", "accuracy", "frozen_macro_f1", "from_scratch_macro_f1")

    def __post_init__(self) -> None:
        mode = type(self).how.mode
        if self.how.mode != mode:
            raise InvalidInputError(
                asked=f"{self.name} with mode {self.how.mode!r}",
                found=f"a task of mode {mode!r}",
                remedy=f"name {mode!r} beside the other settings, or take the task of the other mode",
            )

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part; baselines and controls need an embedding only."""
        if card(model).role == "model" or not missing_methods(model, FineTuner):
            return lacks(model, FineTuner)
        return has_seen_cells(model) or lacks(model, Embedder)

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for one label only, or for too few cells of a label to divide 80/10/10."""
        check_keys(cells, keys=self.keys, dataset=dataset)
        known = Labelled.of(cells)
        parts(known.labels, donors=known.donors, seed=0)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Fine-tune, predict and score over seeds, each with a split of its own; unlabelled cells are left out."""
        known = Labelled.of(cells)
        splits = [parts(known.labels, donors=known.donors, seed=seed) for seed in seeds]
        sides = [Sides(train=known.placed(~split.test), test=known.placed(split.test)) for split in splits]
        require_sides_apart(cells, sides, unit=splits[0].unit, asked=self.name)
        tested = np.flatnonzero(np.any([split.test for split in splits], axis=0))
        runs = [self._run(answers, known, split, seed, tested) for split, seed in zip(splits, seeds, strict=True)]
        weights, by_donor = weights_of_tested(known, [split.test for split in splits], unit=splits[0].unit)
        scores = _scores(runs, weights)
        scores |= _gain_scores(runs, weights) if "frozen_" in runs[0].said else _undefined(answers)
        notes = _notes(runs, seeds)
        if splits[0].unit == "donor" and not by_donor:
            notes.append(TOO_FEW_DONORS)
        return Scored(scores, _details(runs, scores, known, seeds), notes)

    def _run(self, answers: Answers, known: Labelled, split: Parts, seed: int, tested: NDArray[np.intp]) -> _Run:
        places = np.searchsorted(tested, np.flatnonzero(split.test))
        run = _Run(split, known.labels[split.test], np.unique(known.labels), places, len(tested))
        tunes = answers.can(FineTuner)
        if tunes:
            _tune_both(run, answers, known, how=self.how, seed=seed)
        if answers.can(Embedder):
            _probe(run, answers, known, seed=seed, prefixes=("frozen_",) if tunes else ("", "xgboost_"))
        return run


@dataclass(frozen=True)
class HeadAnnotation(FineTunedAnnotation):
    """Only the classification head is trained, on the pooled last layer; see :class:`FineTunedAnnotation`."""

    how: FineTuning = field(default=FineTuning(mode="head"))
    name: ClassVar[str] = "annotation_finetuned_head"


@dataclass(frozen=True)
class LastBlocksAnnotation(FineTunedAnnotation):
    """The last two blocks, or ``how.n_blocks``, are trained; see :class:`FineTunedAnnotation`."""

    how: FineTuning = field(default=FineTuning(mode="last"))
    name: ClassVar[str] = "annotation_finetuned_last_blocks"


@dataclass(frozen=True)
class LoraAnnotation(FineTunedAnnotation):
    """Low-rank updates of less than 1 % of the parameters are trained; see :class:`FineTunedAnnotation`."""

    how: FineTuning = field(default=FineTuning(mode="lora"))
    name: ClassVar[str] = "annotation_finetuned_lora"


@dataclass(frozen=True)
class AdapterAnnotation(FineTunedAnnotation):
    """Bottlenecks of less than 1 % of the parameters are trained; see :class:`FineTunedAnnotation`."""

    how: FineTuning = field(default=FineTuning(mode="adapter"))
    name: ClassVar[str] = "annotation_finetuned_adapter"


def _tune_both(run: _Run, answers: Answers, known: Labelled, *, how: FineTuning, seed: int) -> None:
    """Fine-tune the model as it is, and from random weights: one and the same where it has no others."""
    _tune(run, "", answers, known, how=how, seed=seed)
    if run.history[""].get("from_scratch"):
        run.said["from_scratch_"] = run.said[""]
    else:
        _tune(run, "from_scratch_", answers, known, how=replace(how, from_scratch=True), seed=seed)


def _tune(run: _Run, prefix: str, answers: Answers, known: Labelled, *, how: FineTuning, seed: int) -> None:
    train, validation, test = (known.placed(p) for p in (run.split.train, run.split.validation, run.split.test))
    labels = np.full(len(known.among_all), "", dtype=known.labels.dtype)
    labels[known.among_all] = known.labels
    tuned = answers.fine_tune(labels=labels, train=train, validation=validation, test=test, how=how, seed=seed)
    run.add(prefix, tuned.classes, Rows(tuned.probabilities, np.flatnonzero(test), fits=tuned.fits))
    run.history[prefix] = tuned.history


def _probe(run: _Run, answers: Answers, known: Labelled, *, seed: int, prefixes: tuple[str, ...]) -> None:
    """Fit logistic regression, and for the second prefix boosted trees, on the training cells of the split."""
    train, test = run.split.train, run.split.test
    cells = known.rows(answers, seed=seed, train=train)
    kinds = (probes.logistic_regression, probes.boosted_trees)[: len(prefixes)]
    with threadpool_limits(1):
        made = Parallel(n_jobs=os.cpu_count(), prefer="threads")(
            delayed(kind)(cells[train], cells[test].labelled(None), seed=seed) for kind in kinds
        )
    for prefix, (classes, said) in zip(prefixes, made, strict=True):
        run.add(prefix, classes, said)


def _scores(runs: Sequence[_Run], weights: NDArray[Any]) -> dict[str, ScoreRecord]:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(runs[0].truth)) for _ in range(_PERMUTATIONS)]
    wanted = {"": (*_BY_PREDICTION, *_BY_PROBABILITY), **_BESIDE}
    scores = {}
    for prefix in runs[0].said:
        for metric in wanted[prefix]:

            def statistics(metric: Metric[Any] = metric, prefix: str = prefix) -> list[Statistic]:
                return [run.statistic(metric, prefix) for run in runs]

            def chance(metric: Metric[Any] = metric, prefix: str = prefix) -> float:
                return float(np.mean([runs[0].statistic(metric, prefix, order).value() for order in orders]))

            scores[prefix + metric.name] = measure(metric, statistics, weights=weights, chance=chance)
    return scores


def _gain_scores(runs: Sequence[_Run], weights: NDArray[Any]) -> dict[str, ScoreRecord]:
    """Return the gains over the frozen probe with paired intervals; means over seeds of the gain with each."""
    scores = {}
    for prefix, of in _GAINS.items():
        for gain in _GAIN_KINDS:

            def statistics(of: Metric[Any] = of, gain: Metric[Any] = gain) -> list[Statistic]:
                made = [gain.statistic(run.statistic(of, ""), frozen=run.statistic(of, "frozen_")) for run in runs]
                return [replace(one, how=one.how | _COMPARED) for one in made]

            scores[prefix + gain.name] = measure(gain, statistics, weights=weights)
    return scores


def _undefined(answers: Answers) -> dict[str, ScoreRecord]:
    """Return the scores that a model without an embedding, or that cannot be fine-tuned, does not have."""
    gained = [prefix + gain.name for prefix in _GAINS for gain in _GAIN_KINDS]
    names = [*(f"frozen_{metric.name}" for metric in _BESIDE["frozen_"]), *gained]
    reason = "it gives no embedding that a probe could read"
    if not answers.can(FineTuner):
        names.append("from_scratch_macro_f1")
        reason = "it cannot be fine-tuned: its other scores are those of probes"
    return {name: ScoreRecord(value=None, reason=reason, applies=False) for name in names}


def _details(
    runs: Sequence[_Run], scores: dict[str, ScoreRecord], known: Labelled, seeds: Sequence[int]
) -> dict[str, Any]:
    run = runs[0]
    tested = known.placed(run.split.test)
    details = prediction_details(run.truth, run.predicted(""), classes=run.classes, tested=tested) | {
        "split": {"unit": run.split.unit, "notes": list(run.split.notes)}
        | {name: int(getattr(run.split, name).sum()) for name in ("train", "validation", "test")},
        "training": {str(seed): r.history.get("") for seed, r in zip(seeds, runs, strict=True) if r.history},
        "correct": {
            "n_cells": len(known.labels),
            "seeds": {
                str(seed): {"test": packed(r.split.test), "right": packed(r.right(""))}
                for seed, r in zip(seeds, runs, strict=True)
            },
        },
    }
    return details | ({"against_frozen": _against_frozen(run, scores)} if "frozen_" in run.said else {})


def _against_frozen(run: _Run, scores: dict[str, ScoreRecord]) -> dict[str, Any]:
    """Return McNemar's test on the first split, and the signed-rank test of macro F1 over seeds, with reasons."""
    tests: dict[str, Callable[[], Any]] = {
        "mcnemar": lambda: asdict(mcnemar(run.right(""), run.right("frozen_"))),
        "wilcoxon_p": lambda: wilcoxon_over_seeds(scores["macro_f1"].per_seed, scores["frozen_macro_f1"].per_seed),
    }
    found: dict[str, Any] = {}
    for name, test in tests.items():
        try:
            found[name] = test()
        except UndefinedMetricError as undefined:
            found |= {name: None, f"{name}_reason": str(undefined)}
    return found


def _notes(runs: Sequence[_Run], seeds: Sequence[int]) -> list[str]:
    notes = list(dict.fromkeys(note for run in runs for note in run.split.notes))
    for run, seed in zip(runs, seeds, strict=True):
        for prefix, history in run.history.items():
            step, kept = history.get("diverged_at_step"), history.get("chosen_epoch")
            if step is not None:
                what = prefix.replace("_", " ") + "training"
                notes.append(f"{what} diverged at step {step} (seed {seed}): the state after epoch {kept} is used")
    return notes

"""Zero-shot annotation: whether the labels that a model brings along are right, without one labelled cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.joined import stated_terms
from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Split
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Annotator, missing_methods
from scfm_eval.ontology import load_ontology
from scfm_eval.tasks import small_probes
from scfm_eval.tasks.draws import ranks_in_class
from scfm_eval.tasks.few_shot import FewShot
from scfm_eval.tasks.labelled import Labelled, split_details
from scfm_eval.tasks.ontology import OntologyConsistency
from scfm_eval.tasks.predictions import prediction_details
from scfm_eval.tasks.task import Answers, Scored, lacks, resampling_weights
from scfm_eval.tasks.zero_shot_scores import Calls, OwnCalls, coverage, scores_of, without_term

_ONE_SHOT = "it brings no labels: the scores are those of one known cell of each type"


@dataclass(frozen=True)
class ZeroShotAnnotation:
    """A model that brings its own labels names every cell, and has seen no cell of the dataset.

    Labels of both sides are matched by spelling and through the Cell Ontology, also to an ancestor, as in the transfer
    task. The probability of a label of the dataset is the sum over the model's labels that stand for it, and the
    largest decides. ``macro_f1``, ``balanced_accuracy`` and ``accuracy`` are over all labelled cells and the dataset's
    own labels: cells whose label has no counterpart among the model's, or one that it does not tell from others, are
    errors. ``matched_…`` leave out cells whose label has no counterpart, and labels that the model does not tell apart
    are one class. ``lcad_symmetric`` is over cells whose label has a term: edges from it to the predicted term, which
    is the root for a label without.

    A baseline or control that brings no labels stands beside it with one known cell of each type: the same cells are
    predicted by the logistic regression of :class:`~scfm_eval.tasks.few_shot.FewShot` for one shot. Intervals are over
    donors or cells; chance is the mean over 20 permuted predictions with the first seed.

    Parameters
    ----------
    ontology
        Path of an .obo file; ``""`` is the packaged Cell Ontology.
    n_folds, n_draws
        Folds, and draws of the known cell in each, for what brings no labels.
    """

    ontology: str = ""
    n_folds: int = 5
    n_draws: int = 5

    name: ClassVar[str] = "annotation_zero_shot"
    capability: ClassVar[type] = Annotator
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = (
        "macro_f1", "matched_macro_f1", "balanced_accuracy", "accuracy", "lcad_symmetric",
    )  # fmt: skip

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no labels of its own; a baseline that cannot learn from one cell."""
        if not missing_methods(model, Annotator):
            return model.lacks_labels() if hasattr(model, "lacks_labels") else ""
        return lacks(model, Annotator) if card(model).role == "model" else FewShot().refuses(model)

    def reads(self) -> str:
        """Return which ontology decides which labels are the same."""
        return OntologyConsistency(ontology=self.ontology).reads()

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for a bad ontology, one label only, or a class with one cell."""
        check_keys(cells, keys=self.keys, dataset=dataset)
        load_ontology(self.ontology)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score the labels over seeds; unlabelled cells are left out."""
        known, ontology, terms = Labelled.of(cells), load_ontology(self.ontology), stated_terms(cells)
        splits = known.splits(n_folds=self.n_folds, seeds=seeds)
        termless = without_term(known.labels, ontology=ontology, terms=terms)
        if answers.can(Annotator):
            said = OwnCalls.of(
                answers, known.labels, among_all=known.among_all, seeds=seeds, ontology=ontology, terms=terms
            )
            strict, matched, details, notes = said.strict, said.matched, said.details(), said.notes(termless=termless)
        else:
            known.require_apart(cells, splits, asked=self.name)
            pairs = list(zip(splits, seeds, strict=True))
            runs = [self._one_shot(answers, known, split=split, seed=seed) for split, seed in pairs]
            strict = matched = Calls(known.labels, runs, np.ones(len(known.labels), dtype=bool))
            details, notes = {"split": split_details(splits[0])}, [_ONE_SHOT]
        weights = resampling_weights(donors=known.donors, strata=splits[0].fold)
        scores = scores_of(strict, matched, weights=weights, ontology=ontology, terms=terms)
        covered = coverage(termless, n_cells=len(known.labels))
        told = prediction_details(strict.truth, strict.runs[0][0], classes=strict.classes, tested=known.among_all)
        return Scored(scores, told | details, [*notes, *covered, *known.notes()])

    def _one_shot(self, answers: Answers, known: Labelled, *, split: Split, seed: int) -> NDArray[np.str_]:
        """Return what one known cell of each class of the other folds predicts, ``(n_draws, n_labelled)``."""
        labels = known.labels
        found = np.empty((self.n_draws, len(labels)), dtype=labels.dtype)
        for fold in range(split.n_folds):
            train, test = split.fold != fold, split.fold == fold
            scaled = small_probes.standardised(known.rows(answers, seed=seed, train=train), by=train)
            for draw in range(self.n_draws):
                one = ranks_in_class(labels, train, rng=np.random.default_rng([seed, fold, draw])) == 0
                with threadpool_limits(1):
                    fitted = small_probes.logistic_regression(scaled[one], scaled[test].labelled(None))
                found[draw, test] = small_probes.nearest(fitted)
        return found

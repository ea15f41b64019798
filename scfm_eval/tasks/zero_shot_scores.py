"""Scores of zero-shot annotation: what was called what, by the dataset's own labels and by common names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import classification
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic
from scfm_eval.metrics.ontology import Lineages, lcad_symmetric
from scfm_eval.ontology import Ontology, map_labels
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.draws import mean_over_draws
from scfm_eval.tasks.own_labels import OwnLabels
from scfm_eval.tasks.task import Answers

MATCHED = "matched_"
"""Before the names of scores that leave out cells whose label has no counterpart."""
_BY_LABEL: tuple[Metric[Any], ...] = (
    classification.macro_f1,
    classification.balanced_accuracy,
    classification.accuracy,
)
_PERMUTATIONS = 20
"""Of the predictions of the first seed, over all its draws together."""
STATE_TERMS = "state the terms: ontology=COLUMN of an own file, or `ontology_terms` in the declaration of the dataset"
"""How labels that map to no term by their spelling are given one."""
_NOTHING_MATCHED = "no label of the dataset has a counterpart among the model's own labels"

_Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Calls:
    """What was called what.

    Parameters
    ----------
    truth
        True labels ``(n_cells,)``.
    runs
        Labels that the cells were given, by seed, ``(n_draws, n_cells)``.
    rows
        Which of the labelled cells these are, ``(n_labelled,)``.
    reason
        Why no score says anything of the model; empty where scores do.
    """

    truth: _Names
    runs: Sequence[_Names]
    rows: NDArray[np.bool_]
    reason: str = ""

    @cached_property
    def classes(self) -> _Names:
        """Every label that occurs, sorted."""
        return np.unique(np.concatenate([self.truth, *(run.ravel() for run in self.runs)]))

    def among(self, rows: NDArray[np.bool_]) -> Calls:
        """Return what some of the cells were called."""
        placed = self.rows.copy()
        placed[self.rows] = rows
        return Calls(self.truth[rows], [run[:, rows] for run in self.runs], placed, self.reason)


@dataclass(frozen=True, eq=False)
class OwnCalls:
    """What a model called the cells by labels of its own.

    Parameters
    ----------
    own
        Its labels beside those of the dataset.
    strict
        By labels of the dataset, over all labelled cells.
    matched
        By common names, over cells whose label has a counterpart.
    """

    own: OwnLabels
    strict: Calls
    matched: Calls

    @classmethod
    def of(
        cls,
        answers: Answers,
        labels: _Names,
        *,
        among_all: NDArray[np.bool_],
        seeds: Sequence[int],
        ontology: Ontology,
        terms: Mapping[str, str],
    ) -> OwnCalls:
        """Ask the model.

        Parameters
        ----------
        answers
            Of the model.
        labels, among_all
            Labels of the labelled cells, and which of all cells these are.
        seeds, ontology, terms
            Seeds, and the terms of the dataset's labels.

        Raises
        ------
        InvalidInputError
            The labels are not the same for every seed.
        """
        said = [answers.annotate(seed=seed) for seed in seeds]
        _check_same([names for names, _ in said])
        own = OwnLabels.of(said[0][0].tolist(), np.unique(labels).tolist(), ontology=ontology, terms=terms)
        shares = [probabilities[among_all] for _, probabilities in said]
        rows, reason = np.ones(len(labels), dtype=bool), "" if own.common_of else _NOTHING_MATCHED
        common = np.array([own.common_of.get(label, label) for label in labels.tolist()], dtype=np.str_)
        strict = Calls(labels, [own.named(share)[None] for share in shares], rows, reason)
        matched = Calls(common, [own.commonly_named(share)[None] for share in shares], rows, reason)
        return cls(own, strict, matched.among(np.isin(labels, list(own.common_of))))

    def details(self) -> dict[str, Any]:
        """Return what each label was taken for, and which labels have no counterpart, with their cells."""
        return {
            "own_labels": dict(zip(self.own.own.tolist(), self.own.meant.tolist(), strict=True)),
            "common_names": dict(self.own.common_of),
            "not_told_apart": {label: list(found) for label, found in self.own.several.items()},
            "without_counterpart": self._without(),
        }

    def notes(self, *, termless: Mapping[str, int]) -> list[str]:
        """Return which labels have no counterpart or are not told apart, and what that does to the scores.

        Parameters
        ----------
        termless
            As of :func:`without_term`.
        """
        without, called = self._without(), self.strict.runs[0][0]
        others = int((~np.isin(called, self.strict.truth)).sum())
        unknown = {label: n for label, n in without.items() if label not in termless}
        unmatched = {label: n for label, n in without.items() if label in termless}
        cost = f"errors in macro_f1, left out of {MATCHED}macro_f1"
        lost = [f"the model has no label for {_counted(unknown)}: {cost}"] if unknown else []
        if unmatched:
            lost.append(
                f"no Cell Ontology term is known for {_counted(unmatched)}, and no label of the model has the same "
                f"spelling, so that nothing is matched: {cost}; {STATE_TERMS}"
            )
        coarse = [
            f"{label} does not tell {' and '.join(found)} apart: an error in macro_f1, one class in {MATCHED}macro_f1"
            for label, found in self.own.several.items()
        ]
        strange = f"{others} cells were given a label that none of the dataset's cells has"
        return [*lost, *coarse, *([strange] if others else [])]

    def _without(self) -> dict[str, int]:
        names, sizes = np.unique(self.strict.truth, return_counts=True)
        return {str(label): int(n) for label, n in zip(names, sizes, strict=True) if label not in self.own.common_of}


def without_term(labels: _Names, *, ontology: Ontology, terms: Mapping[str, str]) -> dict[str, int]:
    """Return the labels ``(n_cells,)`` that map to no term, with their numbers of cells."""
    names, sizes = np.unique(labels, return_counts=True)
    mapped = map_labels(names.tolist(), ontology, table=terms).terms
    return {str(label): int(n) for label, n in zip(names, sizes, strict=True) if label not in mapped}


def _counted(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({n} cells)" for label, n in labels.items())


def coverage(termless: Mapping[str, int], *, n_cells: int) -> list[str]:
    """Return over how many of ``n_cells`` labelled cells LCAD is; nothing where it is over all of them.

    Parameters
    ----------
    termless
        As of :func:`without_term`.
    """
    n_left = n_cells - sum(termless.values())
    left_out = f"left out, without a Cell Ontology term: {_counted(termless)}"
    said = f"{lcad_symmetric.name} is over {n_left} of {n_cells} labelled cells; {left_out}; {STATE_TERMS}"
    return [said] if termless else []


def _check_same(labels: Sequence[_Names]) -> None:
    other = [place for place, names in enumerate(labels) if names.tolist() != labels[0].tolist()]
    if other:
        raise InvalidInputError(
            asked=f"the model's own labels for {len(labels)} seeds",
            found=f"others for the seed in place {other[0]} than for the first",
            remedy="return the same labels in the same order for every seed",
        )


def scores_of(
    strict: Calls, matched: Calls, *, weights: NDArray[Any], ontology: Ontology, terms: Mapping[str, str]
) -> dict[str, ScoreRecord]:
    """Score calls by name of the score.

    Parameters
    ----------
    strict, matched
        See :class:`OwnCalls`.
    weights
        Bootstrap weights of the labelled cells ``(n_resamples, n_labelled)``.
    ontology, terms
        The terms, and those that the dataset states for its labels.
    """
    return {
        prefix + metric.name: _by_label(metric, calls, weights=weights)
        for prefix, calls in (("", strict), (MATCHED, matched))
        for metric in _BY_LABEL
    } | {lcad_symmetric.name: _by_term(strict, weights=weights, ontology=ontology, terms=terms)}


def _by_label(metric: Metric[Any], calls: Calls, *, weights: NDArray[Any]) -> ScoreRecord:
    def of(truth: _Names, given: _Names) -> Statistic:
        return metric.statistic(truth, given, classes=calls.classes)

    return _record(metric, calls, of, weights=weights)


def _by_term(calls: Calls, *, weights: NDArray[Any], ontology: Ontology, terms: Mapping[str, str]) -> ScoreRecord:
    found = map_labels(calls.classes.tolist(), ontology, table=terms).terms
    lineages = Lineages.of([*found.values(), ontology.root], ontology)

    by_class = np.array([found.get(name, ontology.root) for name in calls.classes.tolist()], dtype=np.str_)

    def of(truth: _Names, given: _Names) -> Statistic:
        pair = (by_class[np.searchsorted(calls.classes, names)] for names in (truth, given))
        return lcad_symmetric.statistic(*pair, lineages=lineages)

    with_term = calls.among(np.isin(calls.truth, list(found)))
    return _record(lcad_symmetric, with_term, of, weights=weights, empty="no label of the dataset has a term")


def _record(
    metric: Metric[Any],
    calls: Calls,
    of: Callable[[_Names, _Names], Statistic],
    *,
    weights: NDArray[Any],
    empty: str = "",
) -> ScoreRecord:
    rng = np.random.default_rng(0)
    n_draws = len(calls.runs[0])
    orders = [rng.permutation(len(calls.truth)) for _ in range(max(1, _PERMUTATIONS // n_draws))]

    def over_draws(run: _Names) -> Statistic:
        return mean_over_draws([of(calls.truth, draw) for draw in run])

    def statistics() -> list[Statistic]:
        if calls.reason or not len(calls.truth):
            raise InapplicableMetricError(calls.reason or empty)
        return [over_draws(run) for run in calls.runs]

    def chance() -> float:
        return float(np.mean([over_draws(calls.runs[0][:, order]).value() for order in orders]))

    return measure(metric, statistics, weights=weights[:, calls.rows], chance=chance)

"""The scores of perturbation: what was asked, what is true, and the panel of metrics over each split."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import log_normalised
from scfm_eval.datasets.perturbation_conditions import (
    Condition,
    Perturbed,
    Pseudobulk,
    mean_by_condition,
    mean_over,
    perturbed,
)
from scfm_eval.datasets.perturbation_splits import Fold
from scfm_eval.metrics import differential, discrimination, distributions, perturbation
from scfm_eval.metrics.differential import Differential
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.metrics.responses import Responses, named
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.perturbation_heads import some_rows
from scfm_eval.tasks.task import N_RESAMPLES

Floats = NDArray[np.float64]
Predictions = Mapping[tuple[int, Condition], Floats]
"""Mean expression ``(n_genes,)`` by fold and condition; what is missing has no prediction."""

SPLITS: Mapping[str, tuple[str, ...]] = {
    "single": ("single",),
    "combination": ("combination0", "combination1", "combination2"),
    "combination0": ("combination0",),
    "combination1": ("combination1",),
    "combination2": ("combination2",),
    "context": ("context",),
}
"""Kinds of held-out conditions that are scored under each name."""
HEADLINE = ("pearson_delta", "pearson_delta_centroid", "pds_l1")
SHORT = (*HEADLINE, "mae")
"""Scores of the answers that stand beside the headline answer, and of splits that are not asked."""
_TOP = 20
_WIDTH = "median squared distance of true and control cells: the same for every prediction"
_SHIFTED = "control cells of the context, shifted by the predicted change"
_RANKED = "absolute z: of the Wilcoxon rank sum for true cells, of the z test of moved control cells for the prediction"


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of the dataset, whatever is held out.

    Parameters
    ----------
    cells
        Canonical form.
    max_cells
        Most cells of a condition, and of the controls of a context, in what is computed from cells.
    """

    cells: AnnData
    max_cells: int
    _found: dict[Condition, tuple[Floats, NDArray[np.bool_]]] = field(default_factory=dict, init=False, repr=False)
    _widths: dict[Condition, float] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def table(self) -> Perturbed:
        """Conditions of the dataset."""
        return perturbed(self.cells)

    @cached_property
    def means(self) -> Pseudobulk:
        """Mean expression by condition."""
        return mean_by_condition(self.expression, of=self.table)

    @cached_property
    def column(self) -> dict[str, int]:
        """Column of each gene by its name, and by its symbol where the file has symbols."""
        symbols = self.cells.var["symbol"].astype(str) if "symbol" in self.cells.var else []
        by_symbol = {symbol: i for i, symbol in enumerate(symbols)}
        return by_symbol | {str(name): i for i, name in enumerate(self.cells.var_names)}

    @cached_property
    def expression(self) -> Any:
        """Log-normalised cells, CSR."""
        return log_normalised(self.cells.X)

    def dense(self, rows: NDArray[np.intp]) -> Floats:
        """Return log expression ``(at most max_cells, n_genes)`` of some of the cells in ``rows``."""
        return np.asarray(self.expression[some_rows(rows, n=self.max_cells, seed=0)].todense(), dtype=np.float64)

    def targets(self, condition: Condition) -> NDArray[np.bool_]:
        """Return which genes were perturbed ``(n_genes,)``."""
        mask = np.zeros(self.cells.n_vars, dtype=bool)
        mask[[self.column[gene] for gene in condition.genes if gene in self.column]] = True
        return mask

    def differential(self, condition: Condition) -> tuple[Floats, NDArray[np.bool_]]:
        """Return z of the rank-sum test, and whether a gene is differential, ``(n_genes,)`` each; no target is."""
        if condition not in self._found:
            others = ~self.targets(condition)
            cells, control = (self.dense(rows) for rows in (self.rows(condition), self.controls(condition)))
            z, p = differential.rank_sum(cells, control)
            called = np.zeros_like(others)
            called[others] = differential.significant(p[others])
            self._found[condition] = (np.where(others, z, 0.0), called)
        return self._found[condition]

    def kernel_width(self, condition: Condition) -> float:
        """Return the median squared distance of true and control cells over the genes that were not perturbed."""
        if condition not in self._widths:
            genes = ~self.targets(condition)
            sets = (self.dense(rows)[:, genes] for rows in (self.rows(condition), self.controls(condition)))
            self._widths[condition] = distributions.kernel_width(*sets)
        return self._widths[condition]

    def rows(self, condition: Condition) -> NDArray[np.intp]:
        """Return the rows of the cells of a condition."""
        return self.table.cells(condition)

    def controls(self, condition: Condition) -> NDArray[np.intp]:
        """Return the rows of the control cells of its context."""
        return self.table.controls(condition.context)


@dataclass(frozen=True, eq=False)
class Asked:
    """Everything that is asked under one seed: test conditions of all folds, in order of kind and condition."""

    truth: Truth
    folds: Sequence[Fold]
    seed: int

    @cached_property
    def questions(self) -> list[tuple[int, Condition]]:
        """Fold and condition of each question; the conditions are in the same order for every seed."""
        found = [(number, condition) for number, fold in enumerate(self.folds) for condition in fold.test]
        return sorted(found, key=lambda question: (self.folds[question[0]].kind, question[1]))

    @cached_property
    def kinds(self) -> NDArray[np.str_]:
        """Kind of each question."""
        return np.array([self.folds[number].kind for number, _ in self.questions])

    def name(self, number: int, condition: Condition) -> str:
        """Return what a question is called: its kind and its condition."""
        return f"{self.folds[number].kind} {condition.name}"

    @property
    def names(self) -> list[str]:
        """Name of each question."""
        return [self.name(*question) for question in self.questions]

    @cached_property
    def _centroids(self) -> dict[tuple[int, str], Floats]:
        trained = [self.truth.means.of(frozenset(fold.train)) for fold in self.folds]
        asked = {(number, condition.context) for number, condition in self.questions}
        return {(number, context): trained[number].centroid(context) for number, context in asked}

    def responses(self, predictions: Predictions) -> Responses:
        """Return truth and predictions; the centroid stands where there is no prediction."""
        means, conditions = self.truth.means, [condition for _, condition in self.questions]
        control = np.array([means.control[condition.context] for condition in conditions])
        centroid = np.array([self._centroids[number, condition.context] for number, condition in self.questions])
        own = [predictions.get(question) for question in self.questions]
        answered = np.array([answer is not None for answer in own])
        return Responses(
            conditions=np.array([condition.name for condition in conditions]),
            truth=control + np.array([means.changes[condition] for condition in conditions]),
            predicted=np.array(
                [stand_in if answer is None else answer for answer, stand_in in zip(own, centroid, strict=True)]
            ),
            control=control,
            centroid=centroid,
            scored=~np.array([self.truth.targets(condition) for condition in conditions]),
            groups=np.array([f"{number}|{condition.context}" for number, condition in self.questions]),
            answered=answered,
        )

    def ceiling(self) -> Responses:
        """Return one half of the true cells of each condition as the answer to the other half."""
        rng = np.random.default_rng(self.seed)
        halves = {
            condition: self._halves(condition, rng) for condition in sorted({asked for _, asked in self.questions})
        }
        known = self.responses({question: halves[question[1]][0] for question in self.questions})
        return replace(known, truth=np.array([halves[condition][1] for _, condition in self.questions]))

    def _halves(self, condition: Condition, rng: np.random.Generator) -> tuple[Floats, Floats]:
        rows = rng.permutation(self.truth.rows(condition))
        one, other = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        return mean_over(self.truth.expression, rows=one), mean_over(self.truth.expression, rows=other)


@dataclass(frozen=True, eq=False)
class Part:
    """Questions of one split under one seed, with their answers."""

    asked: Asked
    rows: NDArray[np.intp]
    responses: Responses

    @cached_property
    def conditions(self) -> list[Condition]:
        """Condition of each question."""
        return [self.asked.questions[row][1] for row in self.rows]

    @cached_property
    def differential(self) -> Differential:
        """What truly differs from control."""
        found = [self.asked.truth.differential(condition) for condition in self.conditions]
        return Differential(np.array([z for z, _ in found]), np.array([called for _, called in found]))

    @cached_property
    def predicted_differential(self) -> Differential:
        """What the prediction says differs from control, as far as a shift of the control cells can be told."""
        truth, found = self.asked.truth, []
        for condition, change in zip(self.conditions, self.responses.predicted_change, strict=True):
            n_cells = min(len(truth.rows(condition)), truth.max_cells)
            others = ~truth.targets(condition)
            z, p = differential.shift_test(change, truth.dense(truth.controls(condition)), n_cells=n_cells)
            called = np.zeros_like(others)
            called[others] = differential.significant(p[others])
            found.append((z, called))
        return Differential(np.array([z for z, _ in found]), np.array([called for _, called in found]))

    @cached_property
    def strongest(self) -> NDArray[np.bool_]:
        """Return the 20 genes with the largest absolute z of the true cells ``(n_conditions, n_genes)``."""
        strength = np.where(self.responses.scored, np.abs(self.differential.strength), -1.0)
        ranks = Differential(strength, np.ones_like(self.responses.scored)).ranks()
        return np.asarray(ranks < _TOP)

    def pairs(self) -> Iterator[tuple[Floats, Floats]]:
        """Give true and predicted cells of each condition, over the scored genes."""
        truth, rows = self.asked.truth, self.responses
        for condition, change, genes in zip(self.conditions, rows.predicted_change, rows.scored, strict=True):
            control = truth.dense(truth.controls(condition))
            yield truth.dense(truth.rows(condition))[:, genes], (control + change)[:, genes]


Builder = Callable[[Part], Statistic]


def _of_responses(metric: Metric[Any]) -> tuple[Metric[Any], Builder]:
    return metric, lambda part: metric.statistic(part.responses)


def _of_differential(metric: Metric[Any]) -> tuple[Metric[Any], Builder]:
    return metric, lambda part: metric.statistic(
        part.differential,
        predicted=part.predicted_differential,
        conditions=part.responses.conditions,
        ranked_by=_RANKED,
    )


def _mmd(part: Part) -> Statistic:
    statistic = distributions.mmd.statistic(
        part.pairs(),
        conditions=part.responses.conditions,
        predicted_cells=_SHIFTED,
        widths=[part.asked.truth.kernel_width(condition) for condition in part.conditions],
    )
    return replace(statistic, how=statistic.how | {"width": _WIDTH})


def _of_strongest(part: Part) -> Statistic:
    statistic = perturbation.pearson_delta.statistic(part.responses.restricted(part.strongest))
    significant = (part.strongest & part.differential.significant).sum(axis=1)
    how = {
        "genes": f"the {_TOP} of the largest absolute z of true cells, significant or not",
        "most_cells_of_z": part.asked.truth.max_cells,
        "mean_significant_genes": float(significant.mean()),
    }
    return replace(statistic, how=statistic.how | how)


def _told_apart(metric: Metric[Any]) -> tuple[Metric[Any], Builder]:
    return metric, lambda part: metric.statistic(part.responses.comparable())


_FROM_MEANS: Mapping[str, tuple[Metric[Any], Builder]] = {
    "pearson_delta": _of_responses(perturbation.pearson_delta),
    "pearson_delta_centroid": _of_responses(perturbation.pearson_delta_centroid),
    "pds_l1": _told_apart(discrimination.pds_l1),
    "mae": _of_responses(perturbation.mae),
    "mse": _of_responses(perturbation.mse),
    "l2_top1000": _of_responses(perturbation.l2_top1000),
    "centroid_accuracy": _told_apart(discrimination.centroid_accuracy),
    "effect_size_error": _of_responses(perturbation.effect_size_error),
}
_OTHERS: Mapping[str, tuple[Metric[Any], Builder]] = {
    "pearson_delta_top20": (perturbation.pearson_delta, _of_strongest),
    "direction_match": (
        perturbation.direction_match,
        lambda part: perturbation.direction_match.statistic(part.responses, changed=part.differential.significant),
    ),
    "de_overlap": _of_differential(differential.de_overlap),
    "de_precision": _of_differential(differential.de_precision),
    "e_distance": (
        distributions.e_distance,
        lambda part: distributions.e_distance.statistic(
            part.pairs(), conditions=part.responses.conditions, predicted_cells=_SHIFTED
        ),
    ),
    "mmd": (distributions.mmd, _mmd),
    "variance_error": (
        discrimination.variance_error,
        lambda part: discrimination.variance_error.statistic(_across_folds(part)),
    ),
    "distinct_neighbors": (
        discrimination.distinct_neighbors,
        lambda part: discrimination.distinct_neighbors.statistic(_across_folds(part)),
    ),
}
PANEL = (*_FROM_MEANS, *_OTHERS)
"""Names of all scores of a split."""


def variance_ratio(parts: Sequence[Part]) -> float:
    """Return the variance of predicted changes over that of true ones, mean over seeds.

    Raises ``UndefinedMetricError`` where true changes do not differ.
    """
    ratios = [discrimination.variance_error.statistic(_across_folds(part)).how["ratio"] for part in parts]
    return float(np.mean(ratios))


def parts_of(asked: Asked, responses: Responses) -> dict[str, Part]:
    """Return the questions of each split that has any."""
    rows = {name: np.flatnonzero(np.isin(asked.kinds, kinds)) for name, kinds in SPLITS.items()}
    return {name: Part(asked, which, responses.rows(which)) for name, which in rows.items() if which.size}


def not_asked(splits: Collection[str]) -> dict[str, ScoreRecord]:
    """Return undefined records of those splits that are not among ``splits``."""
    panel = {**_FROM_MEANS, **_OTHERS}
    return {
        f"{split}_{name}": measure(panel[name][0], _never, weights=np.ones((0, 0)))
        for split in SPLITS
        for name in SHORT
        if split not in splits
    }


def _never() -> list[Statistic]:
    raise InapplicableMetricError("not asked: the dataset or the task does not allow this split")


def scores_of(
    parts: Sequence[Part], *, names: Sequence[str] = PANEL, without: str = "the model gave none"
) -> dict[str, ScoreRecord]:
    """Score one split.

    Parameters
    ----------
    parts
        Its questions and answers, one for each seed.
    names
        Scores that are wanted, of :data:`PANEL`.
    without
        Why there are no predictions, should there be none.

    Returns
    -------
    Records with intervals over perturbations; what a perturbation was asked under several kinds is drawn together.
    """
    units = np.array([condition.perturbation for condition in parts[0].conditions])
    weights = bootstrap_weights(units=units, strata=np.zeros(len(units), int), n_resamples=N_RESAMPLES, seed=0)
    panel = {**_FROM_MEANS, **_OTHERS}
    scores = {}
    for name in names:
        metric, build = panel[name]

        def statistics(build: Builder = build, with_target: bool = name in _FROM_MEANS) -> list[Statistic]:
            return [_answered(part, build, with_target=with_target, without=without) for part in parts]

        record = measure(metric, statistics, weights=weights)
        scores[name] = record.model_copy(update=_chance(metric, name, parts[0], record))
    return scores


def _chance(metric: Metric[Any], name: str, part: Part, record: ScoreRecord) -> dict[str, Any]:
    """Return what the same answers score when conditions that were held out together exchange them, and how.

    For one answer to everything, that is what it scores anyway.
    """
    if metric is discrimination.pds_l1:
        known = {"of": "any constant prediction", "seed": part.asked.seed}
        return {"chance": discrimination.pds_chance(part.responses), "how": record.how | {"chance": known}}
    if record.chance is not None or record.value is None or name not in _FROM_MEANS:
        return {}
    values = [_value(partial(metric.statistic, exchanged)) for exchanged in part.responses.exchanged()]
    defined = [value for value in values if value is not None]
    known = {
        "of": "predictions exchanged between conditions that were held out together",
        "seed": part.asked.seed,
        "n_exchanges": len(values),
        "undefined_exchanges": len(values) - len(defined),
    }
    every = len(defined) == len(values) > 0
    return {"chance": float(np.mean(defined)) if every else None, "how": record.how | {"chance": known}}


def _answered(part: Part, build: Builder, *, with_target: bool, without: str) -> Statistic:
    """Return the statistic, with the value that includes the perturbed genes and the missing answers beside it."""
    answered, conditions = part.responses.answered, part.responses.conditions
    if not answered.any():
        raise UndefinedMetricError(f"no prediction for any of {named(conditions)}: {without}")
    statistic = build(part)
    how = dict(statistic.how)
    if with_target:
        how["with_perturbed_genes"] = _value(lambda: build(replace(part, responses=part.responses.with_targets())))
    if not answered.all():
        how["no_answer"] = {
            "stands_in": "mean of the training perturbations",
            "conditions": conditions[~answered].tolist(),
        }
    return replace(statistic, how=how)


def _value(build: Callable[[], Statistic]) -> float | None:
    try:
        return build().value()
    except UndefinedMetricError:
        return None


def _across_folds(part: Part) -> Responses:
    """Return responses in which all conditions of a kind and context are candidates, of whichever fold."""
    kinds = part.asked.kinds[part.rows]
    wide = [f"{kind}|{condition.context}" for kind, condition in zip(kinds, part.conditions, strict=True)]
    return replace(part.responses, groups=np.array(wide)).comparable()

"""From frozen embeddings to predicted changes: one and the same heads for all models, fitted on training conditions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scfm_eval.datasets.perturbation_conditions import Condition, Perturbed, Pseudobulk
from scfm_eval.datasets.perturbation_splits import Fold, Kind
from scfm_eval.errors import UnknownGeneError
from scfm_eval.fits import Fit, Rows, fitted, unseen
from scfm_eval.models.protocols import Effect
from scfm_eval.tasks.task import Answers

Floats = NDArray[np.float64]
_PENALTIES = np.logspace(-3, 3, 13)
_EQUAL = 1e-6
_HIDDEN = 64
_INNER_FOLDS = 10
_FEWEST = 3
"""Training conditions without which no head is fitted."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a head learns from, and what it is asked.

    Parameters
    ----------
    known
        Inputs of the training conditions ``(n_train, d)``, labelled with their changes ``(n_train, n_genes)``.
    wanted
        Inputs of the test conditions ``(n_test, d)``.
    held
        Which training conditions are learned from and which are predicted in each inner fold, two masks ``(n_train,)``.
    seed
        Seed of what is random.
    """

    known: Rows
    wanted: Rows
    held: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
    seed: int


Head = Callable[[Lesson], Rows]
"""Returns the predicted changes ``(n_test, n_genes)``."""


def ridge(lesson: Lesson) -> Rows:
    """Ridge regression on standardised inputs; the penalty, 0.001 to 1,000, by the squared error of the inner folds."""
    scaled, others = _standardised(lesson)
    losses, chosen_by = np.zeros(len(_PENALTIES)), list[Fit]()
    for seen, held in lesson.held:
        for i, found in enumerate(_ridge_path(scaled[seen], scaled[held], _PENALTIES)):
            judged = fitted("the choice of the penalty", found, _squared_error)
            losses[i] += judged.made
            chosen_by += judged.fits
    # among equals the strongest penalty
    best = int(np.flatnonzero(losses <= losses.min() * (1 + _EQUAL)).max())
    return _ridge_path(scaled, others, _PENALTIES[best : best + 1])[0].resting_on(chosen_by)


def perceptron(lesson: Lesson) -> Rows:
    """Perceptron of two layers (64 rectified units, then linear) on standardised inputs, with an L2 penalty.

    It reads the principal components of the training inputs and answers in those of the training changes: neither loses
    anything that could be learned, and the work does not depend on the width of the embedding.
    """
    scaled, others = _standardised(lesson)
    fit = fitted("the head by a perceptron", scaled, lambda rows: _taught(rows, seed=lesson.seed))
    return fit.on(others, fit.made)


def _taught(known: Rows, *, seed: int) -> Callable[[Floats], Floats]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    changes = known.known_labels
    read, reads = _components(known.values)
    spoken, speaks = _components(changes - changes.mean(axis=0))
    scale = float(np.sqrt((spoken**2).sum() / len(spoken))) or 1.0
    model = MLPRegressor(hidden_layer_sizes=(_HIDDEN,), solver="lbfgs", alpha=1.0, max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        # the number of steps is part of the definition
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(read, spoken / scale)

    def predict(others: Floats) -> Floats:
        found = np.asarray(model.predict(others @ reads.T)).reshape(len(others), -1)
        return np.asarray(changes.mean(axis=0) + scale * found @ speaks)

    return predict


def inner_folds(conditions: Sequence[Condition], *, kind: Kind) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Hold out training conditions as the test conditions are held out, so that a penalty is chosen for that.

    Parameters
    ----------
    conditions
        Training conditions, ``n_train``.
    kind
        What is unseen about the test conditions. For a gene, all its conditions are left out together, and those are
        predicted that are like the test: alone, with another unseen gene, or, where there are any, with a seen one.

    Returns
    -------
    At most 10 pairs of masks ``(n_train,)``: what is learned from, and what is predicted.
    """
    owners = _owners(conditions, kind=kind)
    names = sorted(set().union(*owners))
    used = min(_INNER_FOLDS, len(names))
    found = []
    for hidden in (set(names[start::used]) for start in range(used)):
        left_out = np.array([bool(owner & hidden) for owner in owners])
        whole = np.array([owner <= hidden for owner in owners])
        single = np.array([len(condition.genes) == 1 for condition in conditions])
        asked = {"single": whole & single, "combination0": whole, "combination1": left_out & ~whole}.get(kind, left_out)
        found.append((~left_out, asked if asked.any() else whole))
    return [(seen, asked) for seen, asked in found if seen.sum() > 1 and asked.any()]


def _owners(conditions: Sequence[Condition], *, kind: Kind) -> list[set[str]]:
    """Return what has to be left out together with each condition: its genes, its context, or itself only."""
    if kind == "context" and len({condition.context for condition in conditions}) > 1:
        return [{condition.context} for condition in conditions]
    if kind in ("combination2", "context"):
        return [{condition.name} for condition in conditions]
    return [set(condition.genes) for condition in conditions]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the heads see of each condition.

    Parameters
    ----------
    of
        Vector ``(d,)`` by condition; conditions without one are missing.
    missing
        Why a condition has none, by condition.
    fits
        What the vectors rest on, by names of conditions.
    """

    of: Mapping[Condition, Floats]
    missing: Mapping[Condition, str] = field(default_factory=dict)
    fits: tuple[Fit, ...] = ()

    def rows(self, conditions: Sequence[Condition]) -> Rows:
        """Return the vectors of conditions by their names."""
        return Rows(
            np.array([self.of[condition] for condition in conditions]),
            names_of(conditions),
            fits=self.fits,
            of="conditions",
        )


def frozen_inputs(answers: Answers, table: Perturbed, *, column: Mapping[str, str], fold: Fold, seed: int) -> Inputs:
    """Return mean control embedding of the context beside the sum of the vectors of the perturbed genes.

    Parameters
    ----------
    answers
        The model's.
    table
        Conditions of the dataset.
    column
        Name in the dataset of each perturbed gene that was measured.
    fold
        What may be learned from; conditions of both its sides get inputs.
    seed
        Seed of the embedding.
    """
    found = answers.embed_rows(seed=seed, train=fold.training_cells(table))
    cells = np.asarray(found.values, dtype=np.float64)
    conditions = [*fold.train, *fold.test]
    genes = sorted({gene for condition in table.conditions for gene in condition.genes})
    vectors = np.asarray(answers.embed_genes([column.get(gene, gene) for gene in genes], seed=seed), dtype=np.float64)
    vector = dict(zip(genes, vectors, strict=True))
    place = {context: cells[table.controls(context)].mean(axis=0) for context in fold.contexts}
    made = {
        condition: np.concatenate(
            [place[condition.context], np.sum([vector[gene] for gene in condition.genes], axis=0)]
        )
        for condition in conditions
    }
    without = {gene for gene in genes if not np.isfinite(vector[gene]).all()}
    missing = {
        condition: f"no vector of {', '.join(sorted(without & set(condition.genes)))}"
        for condition in conditions
        if without & set(condition.genes)
    }
    kept = {condition: row for condition, row in made.items() if condition not in missing}
    return Inputs(kept, missing, by_condition(found.fits, table))


def in_silico_inputs(
    answers: Answers,
    table: Perturbed,
    *,
    column: Mapping[str, str],
    conditions: Sequence[Condition],
    n_cells: int,
    seed: int,
) -> Inputs:
    """Return how far control cells move, on average, when the genes are perturbed in the model's own input.

    Parameters
    ----------
    answers
        The model's.
    table
        Conditions of the dataset; where it states no effect, genes are knocked down.
    column
        Name in the dataset of each perturbed gene that was measured.
    conditions
        Which get inputs.
    n_cells
        Most control cells of a context, drawn by ``seed``.
    seed
        Seed of the embedding and of the draw. The embedding must not learn from the cells: it is asked for without a
        training part.
    """
    unperturbed = answers.embed_rows(seed=seed)
    before = unperturbed.values
    rows = {context: some_rows(table.controls(context), n=n_cells, seed=seed) for context in table.effect}
    made: dict[Condition, Floats] = {}
    missing: dict[Condition, str] = {}
    for condition in conditions:
        drawn, genes = rows[condition.context], [column.get(gene, gene) for gene in condition.genes]
        try:
            after = answers.perturb(seed=seed, rows=drawn, genes=genes, effect=effect_of(table, condition))
        except UnknownGeneError as refused:
            missing[condition] = refused.found
            continue
        made[condition] = (np.asarray(after, dtype=np.float64) - before[drawn]).mean(axis=0)
    return Inputs(made, missing, by_condition(unperturbed.fits, table))


def names_of(conditions: Sequence[Condition]) -> NDArray[np.str_]:
    """Return the names of conditions ``(n_conditions,)``."""
    return np.array([condition.name for condition in conditions], dtype=np.str_)


def by_condition(fits: Sequence[Fit], table: Perturbed) -> tuple[Fit, ...]:
    """Return fits that saw cells as fits that saw the conditions of these cells; controls are none."""
    names = names_of(table.conditions)
    seen = [np.unique(table.code[fit.saw]) for fit in fits]
    return tuple(Fit(fit.name, names[codes[codes >= 0]], "conditions") for fit, codes in zip(fits, seen, strict=True))


def effect_of(table: Perturbed, condition: Condition) -> Effect:
    """Return what was done to the genes of a condition; knockdown where the dataset does not say."""
    return "activation" if table.effect[condition.context] == "activation" else "knockdown"


def some_rows(rows: NDArray[np.intp], *, n: int, seed: int) -> NDArray[np.intp]:
    """Return at most ``n`` of ``rows``, in order."""
    drawn = np.random.default_rng(seed).permutation(len(rows))[:n]
    return np.sort(rows[drawn])


def predicted_by(head: Head, inputs: Inputs, *, means: Pseudobulk, fold: Fold, seed: int) -> dict[Condition, Floats]:
    """Return the predicted mean expression ``(n_genes,)`` of those test conditions of ``fold`` that have inputs."""
    train = [condition for condition in fold.train if condition in inputs.of]
    test = [condition for condition in fold.test if condition in inputs.of]
    if len(train) < _FEWEST or not test:
        return {}
    known = inputs.rows(train).labelled(np.array([means.changes[condition] for condition in train]))
    said = head(Lesson(known, inputs.rows(test), inner_folds(train, kind=fold.kind), seed))
    found = unseen(said)
    return {condition: means.control[condition.context] + change for condition, change in zip(test, found, strict=True)}


def _ridge_path(train: Rows, wanted: Rows, penalties: Floats) -> list[Rows]:
    """Return the answers ``(n_wanted, n_genes)`` under each penalty, all from one decomposition."""
    fit = fitted("the head by ridge regression", train, _decomposed)
    centre, mean, values, right, target = fit.made
    reach = (wanted.values - centre) @ right.T
    return [
        fit.on(wanted, lambda _, shrunk=values / (values**2 + penalty): mean + (reach * shrunk) @ target)  # type: ignore[misc]
        for penalty in penalties
    ]


def _decomposed(train: Rows) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    inputs, changes = train.values, train.known_labels
    centre, mean = inputs.mean(axis=0), changes.mean(axis=0)
    left, values, right = np.linalg.svd(inputs - centre, full_matrices=False)
    return centre, mean, values, right, left.T @ (changes - mean)


def _squared_error(said: Rows) -> float:
    return float(((said.values - said.known_labels) ** 2).sum())


def _components(centred: Floats) -> tuple[Floats, Floats]:
    """Return the coordinates ``(n, k)`` of the rows on their principal components ``(k, d)``, at least one of these."""
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    kept = max(1, int((values > 1e-9 * max(values[0], 1e-300)).sum()))
    return left[:, :kept] * values[:kept], right[:kept]


def _standardised(lesson: Lesson) -> tuple[Rows, Rows]:
    """Scale columns by what the training conditions say, and all by their number: penalties suit any width."""
    scaling = fitted("the scaling of a head", lesson.known, lambda rows: _scale(rows.values))
    centre, scale = scaling.made
    known, wanted = (
        scaling.on(rows, lambda values: (values - centre) / scale) for rows in (lesson.known, lesson.wanted)
    )
    return known, wanted


def _scale(inputs: Floats) -> tuple[Floats, Floats]:
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    varies = spread > 1e-9 * max(float(np.abs(inputs).max()), 1e-300)
    width = max(1.0, np.sqrt(varies.sum()))
    return centre, np.where(varies, spread, np.inf) * width

"""Simple answers to an unseen perturbation, which a model has to beat.

All of them learn mean changes from control, of the context that is asked for, and over all contexts where that one has
no training perturbations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.perturbation_conditions import Changes, Condition, pseudobulk
from scfm_eval.timing import phase

Floats = NDArray[np.float64]

_PENALTIES = np.logspace(-3, 3, 13)
_EQUAL = 1e-6


class _FromMeans:
    """Answers from the mean changes of the training conditions."""

    role = "baseline"
    revision = "1"
    licence = "BSD-3-Clause"
    trained_here = True

    def fit_perturbations(self, cells: AnnData) -> None:
        """Average the expression of control cells and of each training condition."""
        with phase("fit"):
            self._means = pseudobulk(cells)
            self._genes = {str(gene): i for i, gene in enumerate(cells.var_names)}

    def predict_perturbations(self, conditions: Sequence[str]) -> NDArray[np.float32]:
        """Return mean log1p of counts per 10,000 ``(n_conditions, n_genes)``; NaN where there is no answer."""
        asked = [Condition.named(name) for name in conditions]
        found = np.full((len(asked), len(self._genes)), np.nan)
        with phase("forward"):
            for context in sorted({condition.context for condition in asked}):
                rows = [i for i, condition in enumerate(asked) if condition.context == context]
                control, known = self._means.control[context], self._means.known_in(context)
                found[rows] = control + self._changes(known, [asked[i].genes for i in rows], control=control)
        return found.astype(np.float32)

    def _changes(self, known: Changes, asked: Sequence[tuple[str, ...]], *, control: Floats) -> Floats:
        """Return predicted changes ``(n_asked, n_genes)``, NaN without an answer."""
        raise NotImplementedError


class NoChange(_FromMeans):
    """Nothing happens: the mean of the control cells."""

    name = "no_change"

    def _changes(self, known: Changes, asked: Sequence[tuple[str, ...]], *, control: Floats) -> Floats:
        del known
        return np.zeros((len(asked), len(control)))


class TrainingMean(_FromMeans):
    """The same happens always: the mean of the training perturbations, each counted once."""

    name = "training_mean"
    citation = "10.1038/s41587-025-02777-8"

    def _changes(self, known: Changes, asked: Sequence[tuple[str, ...]], *, control: Floats) -> Floats:
        mean = np.mean(list(known.values()), axis=0)
        return np.broadcast_to(mean, (len(asked), len(control))).copy()


class Additive(_FromMeans):
    """A combination does what its genes do alone, added up; no answer for a single, or without all of its singles."""

    name = "additive"
    citation = "10.1038/s41592-025-02772-6"

    def _changes(self, known: Changes, asked: Sequence[tuple[str, ...]], *, control: Floats) -> Floats:
        found = np.full((len(asked), len(control)), np.nan)
        for i, genes in enumerate(asked):
            parts = [(gene,) for gene in genes]
            if len(parts) > 1 and all(part in known for part in parts):
                found[i] = np.sum([known[part] for part in parts], axis=0)
        return found


class LinearMap(_FromMeans):
    """A linear map from a vector of the perturbed gene to the change.

    There is no answer for a combination, for a gene that was not measured, or where no training single was measured.
    Gene vectors G are the first principal components of the mean profiles of control and training conditions, with
    genes as observations. K minimises ``‖Y − b − G K P‖² + λ‖G K‖² + λ‖K P‖² + λ²‖K‖²``, where the columns of P are the
    vectors of the perturbed genes, those of Y the changes, and b is their mean. The control is one of the columns, with
    vector and change zero.

    Parameters
    ----------
    n_components
        Width of the gene vectors; at most one per mean profile.
    penalty
        λ.
    """

    name = "linear_map"
    citation = "10.1038/s41592-025-02772-6"

    def __init__(self, *, n_components: int = 10, penalty: float = 0.1) -> None:
        self._n_components, self._penalty = n_components, penalty

    def _changes(self, known: Changes, asked: Sequence[tuple[str, ...]], *, control: Floats) -> Floats:
        profiles = np.column_stack([control, *(control + change for change in known.values())])
        vectors = _component_scores(profiles, n_components=self._n_components)
        seen = {genes[0]: change for genes, change in known.items() if len(genes) == 1 and genes[0] in self._genes}
        found = np.full((len(asked), len(control)), np.nan)
        if not seen:
            return found
        inputs = np.column_stack([np.zeros(vectors.shape[1]), *(vectors[self._genes[gene]] for gene in seen)])
        changes = np.column_stack([np.zeros(len(control)), *seen.values()])
        mean = changes.mean(axis=1)
        ridge = self._penalty * np.eye(vectors.shape[1])
        left = np.linalg.solve(vectors.T @ vectors + ridge, vectors.T @ (changes - mean[:, None]) @ inputs.T)
        between = np.linalg.solve(inputs @ inputs.T + ridge, left.T).T
        for i, genes in enumerate(asked):
            if len(genes) == 1 and genes[0] in self._genes:
                found[i] = mean + vectors @ (between @ vectors[self._genes[genes[0]]])
        return found


class RidgeOneHot(_FromMeans):
    """Ridge regression of the change on which genes were perturbed; an unseen gene is no input at all.

    The control is a training row without a gene and without a change. The penalty, one of 0.001 to 1,000, is chosen by
    leaving out one training condition at a time.
    """

    name = "ridge_one_hot"
    citation = "10.1038/s41592-025-02772-6"

    def _changes(self, known: Changes, asked: Sequence[tuple[str, ...]], *, control: Floats) -> Floats:
        genes = sorted({gene for parts in known for gene in parts})
        inputs = np.array([[gene in parts for gene in genes] for parts in [(), *known]], dtype=np.float64)
        changes = np.vstack([np.zeros(len(control)), *known.values()])
        wanted = np.array([[gene in parts for gene in genes] for parts in asked], dtype=np.float64)
        centre, mean = inputs.mean(axis=0), changes.mean(axis=0)
        penalty = _penalty_left_one_out(inputs - centre, changes - mean)
        left, values, right = np.linalg.svd(inputs - centre, full_matrices=False)
        reach = (wanted - centre) @ right.T * (values / (values**2 + penalty))
        return np.asarray(mean + reach @ (left.T @ (changes - mean)))


def _component_scores(profiles: Floats, *, n_components: int) -> Floats:
    """Return the scores of the rows of ``profiles`` on their principal components, centred and not scaled."""
    centred = profiles - profiles.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(n_components, len(values))
    scores: Floats = left[:, :kept] * values[:kept]
    return scores


def _penalty_left_one_out(inputs: Floats, changes: Floats) -> float:
    """Return the penalty with the least squared error of rows left out one at a time, the strongest among equals."""
    left, values, _ = np.linalg.svd(inputs, full_matrices=False)
    losses = []
    for penalty in _PENALTIES:
        kept = left * (values**2 / (values**2 + penalty))
        leverage = 1 / len(inputs) + (kept * left).sum(axis=1)
        residuals = (changes - kept @ (left.T @ changes)) / (1 - leverage)[:, None]
        losses.append(float((residuals**2).sum()))
    return float(max(p for p, loss in zip(_PENALTIES, losses, strict=True) if loss <= min(losses) * (1 + _EQUAL)))

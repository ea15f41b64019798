"""True and predicted answers to perturbations, and how values by condition become one score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError
from scfm_eval.metrics.weighted import Floats, ratio

RESOLUTION = 1e-5
"""Smaller differences of log expression are rounding: predictions come in float32."""
_NAMED = 5
_EXCHANGES = 20
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Responses:
    """Mean expression by condition: as it was, as it was predicted, and what both are compared with.

    Expression is log1p of counts per 10,000. All arrays but ``conditions`` and ``groups`` are ``(n_conditions,
    n_genes)``.

    Parameters
    ----------
    conditions
        Name of each condition ``(n_conditions,)``.
    truth, predicted
        Mean over the true cells, and its prediction.
    control
        Mean over the real control cells of the condition's context; the same for both sides.
    centroid
        Mean of the training perturbations, as it is for the condition's context.
    scored
        Genes that count; the perturbed ones do not.
    groups
        Conditions of one group were held out together and are told apart from each other ``(n_conditions,)``.
    answered
        Whether the model had an answer ``(n_conditions,)``; elsewhere ``predicted`` is the centroid.

    Raises
    ------
    InvalidInputError
        Shapes differ, there is no condition, or a value is not finite.
    """

    conditions: NDArray[np.str_]
    truth: Floats
    predicted: Floats
    control: Floats
    centroid: Floats
    scored: NDArray[np.bool_]
    groups: NDArray[np.str_]
    answered: NDArray[np.bool_]

    def __post_init__(self) -> None:
        matrices = {name: getattr(self, name) for name in ("truth", "predicted", "control", "centroid", "scored")}
        rows = {name: getattr(self, name) for name in ("groups", "answered")}
        wrong = [f"{name} {values.shape}" for name, values in matrices.items() if values.shape != self.truth.shape]
        wrong += [f"{name} {values.shape}" for name, values in rows.items() if values.shape != self.truth.shape[:1]]
        wrong += [f"{name} with NaN or infinity" for name, values in matrices.items() if not np.isfinite(values).all()]
        if wrong or not self.truth.size or len(self.conditions) != len(self.truth):
            raise InvalidInputError(
                asked=f"finite expression of {len(self.conditions)} conditions, truth {self.truth.shape}",
                found=", ".join(wrong) or "another number of rows",
                remedy="give one row per condition and one column per gene, and the stand-in for a missing answer",
            )

    @property
    def true_change(self) -> Floats:
        """Difference of truth and control ``(n_conditions, n_genes)``."""
        return self.truth - self.control

    @property
    def predicted_change(self) -> Floats:
        """Difference of prediction and control ``(n_conditions, n_genes)``, 0 where it is rounding."""
        change = self.predicted - self.control
        return np.where(np.abs(change) > RESOLUTION, change, 0.0)

    def rows(self, which: NDArray[np.intp]) -> Responses:
        """Return the same for the conditions in rows ``which`` only, which may occur more than once."""
        return Responses(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def restricted(self, genes: NDArray[np.bool_]) -> Responses:
        """Return the same with only those scored genes that are in ``genes`` ``(n_conditions, n_genes)``."""
        return replace(self, scored=self.scored & genes)

    def with_targets(self) -> Responses:
        """Return the same with the perturbed genes scored too."""
        return replace(self, scored=np.ones_like(self.scored))

    def comparable(self) -> Responses:
        """Return the same with the perturbed genes of every condition of the group left out.

        Were only its own left out, the right condition would be nearer to a constant answer than the others are.
        """
        scored = np.array([self.scored[alike].all(axis=0) for alike in self.alike()])
        return replace(self, scored=scored)

    def exchanged(self) -> list[Responses]:
        """Return the same with the predictions exchanged within each group, in each cyclic order but the right one.

        Conditions that are alone in their group are left out; there is nothing to return where all are.
        """
        order = np.argsort(self.groups, kind="stable")
        _, starts, sizes = np.unique(self.groups[order], return_index=True, return_counts=True)
        start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
        shifted = []
        for shift in range(1, min(int(size.max()), _EXCHANGES + 1)):
            place = np.arange(len(order))
            other = order[start + (place - start + shift) % size]
            moves = size > shift
            answers = self.rows(other[moves])
            own = self.rows(order[moves])
            shifted.append(replace(own, predicted=answers.predicted, answered=answers.answered))
        return shifted

    def alike(self) -> NDArray[np.bool_]:
        """Return which pairs of conditions are of one group ``(n_conditions, n_conditions)``."""
        same: NDArray[np.bool_] = self.groups[:, None] == self.groups[None, :]
        return same


def over_scored(values: Floats, scored: NDArray[np.bool_]) -> Floats:
    """Return the mean of ``values`` over the scored genes of each condition ``(n_conditions,)``; nan without any."""
    return ratio(np.where(scored, values, 0.0).sum(axis=1), scored.sum(axis=1).astype(np.float64))


def mean_over_conditions(
    values: Floats,
    conditions: NDArray[np.str_],
    *,
    undefined: NDArray[np.bool_] | None = None,
    why: str = "",
    left_out: str = "",
    how: Mapping[str, Any] = _NOTHING,
) -> Statistic:
    """Return the mean over conditions as a function of how often each condition counts.

    A condition that has no value whatever is predicted, leaves the mean and is named in ``how``; it does so for every
    model. A prediction that has no value makes the whole mean undefined: else a model would gain by it.

    Parameters
    ----------
    values
        Value of each condition ``(n_conditions,)``; nan where the truth leaves it undefined.
    conditions
        Names ``(n_conditions,)``.
    undefined
        Conditions whose prediction has no value; ``None`` where there can be none.
    why
        Why such a prediction has no value.
    left_out
        Why a truth has no value.
    how
        Parameters of the metric.

    Raises
    ------
    UndefinedMetricError
        A prediction has no value, or no condition has one.
    """
    without = np.isnan(values)
    faults = np.zeros_like(without) if undefined is None else undefined & ~without
    if faults.any():
        raise UndefinedMetricError(f"{why}: {named(conditions[faults])}")
    if without.all():
        raise UndefinedMetricError(f"{left_out}: {named(conditions)}")
    made = made_with(unit="perturbation", n_conditions=int((~without).sum()), **how)
    if without.any():
        made["left_out"] = {"why": left_out, "conditions": conditions[without].tolist()}

    def of_weights(weights: Floats) -> Floats:
        defined = weights[:, ~without]
        return ratio(defined @ values[~without], defined.sum(axis=1))

    return Statistic(of_weights, n_cells=len(values), how=made)


def named(conditions: NDArray[np.str_]) -> str:
    """Return how many conditions there are and the first of them, in words."""
    more = ", …" if len(conditions) > _NAMED else ""
    return f"{len(conditions)} conditions ({', '.join(conditions[:_NAMED])}{more})"

"""What was done to which cell: conditions, their contexts, and mean expression by condition."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.counts import some
from scfm_eval.datasets.expression import log_normalised
from scfm_eval.datasets.keys import CONTROL
from scfm_eval.errors import InvalidInputError

_CONTROLS = frozenset({CONTROL, "ctrl", "non-targeting"})
_OTHER_SEPARATORS = frozenset("_,;|/&: \t")
Changes = Mapping[tuple[str, ...], NDArray[np.float64]]
"""Change from control ``(n_genes,)`` by perturbed genes."""

FEWEST_CONTROLS = 5
"""Control cells in a context, below which their mean is too noisy to measure changes from."""


@dataclass(frozen=True, order=True)
class Condition:
    """Genes that were perturbed together in one context.

    Parameters
    ----------
    context
        Cell line or the like; empty where the dataset has no contexts.
    genes
        Perturbed genes in alphabetical order.
    """

    context: str
    genes: tuple[str, ...]

    @property
    def perturbation(self) -> str:
        """``"A"`` or ``"A+B"``."""
        return "+".join(self.genes)

    @property
    def name(self) -> str:
        """``"A"``, ``"A+B"``, or ``"CONTEXT|A"`` where there are contexts."""
        return f"{self.context}|{self.perturbation}" if self.context else self.perturbation

    @classmethod
    def named(cls, name: str) -> Condition:
        """Return the condition of a :attr:`name`."""
        context, _, perturbation = name.rpartition("|")
        return cls(context, tuple(sorted(perturbation.split("+"))))


@dataclass(frozen=True, eq=False)
class Perturbed:
    """The conditions of a dataset and the cells of each.

    Parameters
    ----------
    conditions
        In order of context and genes, without the controls.
    code
        Condition of each cell ``(n_cells,)``, −1 for a control cell.
    context
        Context of each cell ``(n_cells,)``, empty strings where there are none.
    effect
        What was done in each context: ``"activation"``, ``"knockdown"``, or empty where the dataset does not say.
    """

    conditions: tuple[Condition, ...]
    code: NDArray[np.int64]
    context: NDArray[np.str_]
    effect: Mapping[str, str]

    @cached_property
    def n_cells(self) -> Mapping[Condition, int]:
        """Number of cells of each condition."""
        sizes = np.bincount(self.code[self.code >= 0], minlength=len(self.conditions))
        return dict(zip(self.conditions, sizes.tolist(), strict=True))

    def controls(self, context: str) -> NDArray[np.intp]:
        """Return the rows of the control cells of a context."""
        return np.flatnonzero((self.code < 0) & (self.context == context))

    def cells(self, condition: Condition) -> NDArray[np.intp]:
        """Return the rows of the cells of a condition."""
        return np.flatnonzero(self.code == self.conditions.index(condition))

    def rows_of(self, conditions: Collection[Condition], *, controls_of: Collection[str]) -> NDArray[np.bool_]:
        """Return which cells are of ``conditions``, or are controls of the contexts ``controls_of``, ``(n_cells,)``."""
        kept = np.array([condition in conditions for condition in self.conditions] + [False])
        return np.asarray(kept[self.code] | ((self.code < 0) & np.isin(self.context, list(controls_of))))


@dataclass(frozen=True, eq=False)
class Pseudobulk:
    """Mean log1p of counts per 10,000 by condition.

    Parameters
    ----------
    control
        Mean of the control cells of each context ``(n_genes,)``.
    changes
        Difference of each condition from the control of its context ``(n_genes,)``.
    """

    control: Mapping[str, NDArray[np.float64]]
    changes: Mapping[Condition, NDArray[np.float64]]

    def known_in(self, context: str) -> Changes:
        """Return changes by perturbed genes: those of ``context``, or the means over contexts where it has none."""
        own = {condition.genes: change for condition, change in self.changes.items() if condition.context == context}
        if own:
            return own
        seen: dict[tuple[str, ...], list[NDArray[np.float64]]] = {}
        for condition, change in self.changes.items():
            seen.setdefault(condition.genes, []).append(change)
        return {genes: np.mean(changes, axis=0) for genes, changes in seen.items()}

    def centroid(self, context: str) -> NDArray[np.float64]:
        """Return the plain mean over perturbations, each counted once, as it is for ``context`` ``(n_genes,)``."""
        mean: NDArray[np.float64] = self.control[context] + np.mean(list(self.known_in(context).values()), axis=0)
        return mean

    def of(self, conditions: Collection[Condition]) -> Pseudobulk:
        """Return the same with ``conditions`` only."""
        return Pseudobulk(self.control, {key: change for key, change in self.changes.items() if key in conditions})


def perturbed_genes(name: str, *, measured: Collection[str] = ()) -> tuple[str, ...]:
    """Return the genes that a perturbation names, in alphabetical order; none for a control.

    Parameters
    ----------
    name
        ``"A"``, ``"A+B"`` or a control; ``"A+ctrl"`` and ``"ctrl+A"``, as GEARS writes a single, are ``"A"``.
    measured
        Genes of the dataset: one that has a separator in its name is a gene.

    Raises
    ------
    InvalidInputError
        Genes are separated by another character, a part is empty, or a gene is named twice.
    """
    parts = [part for part in name.split("+") if part not in _CONTROLS]
    strange = [part for part in parts if part not in measured and (not part or _OTHER_SEPARATORS & set(part))]
    if strange or len(set(parts)) < len(parts):
        raise InvalidInputError(
            asked="perturbations written as 'A' or 'A+B'",
            found=f"{name!r}",
            remedy="write the genes of a combination with '+' between them, each once, and nothing else",
        )
    return tuple(sorted(parts))


def unreadable(names: Sequence[str], *, measured: Collection[str]) -> list[str]:
    """Return those perturbations that :func:`perturbed_genes` refuses."""
    refused = []
    for name in names:
        try:
            perturbed_genes(name, measured=measured)
        except InvalidInputError:
            refused.append(name)
    return refused


def perturbed(cells: AnnData) -> Perturbed:
    """Return the conditions of ``cells``.

    Parameters
    ----------
    cells
        ``obs["perturbation"]``, and ``obs["context"]`` and ``obs["effect"]`` where the dataset has them.

    Raises
    ------
    InvalidInputError
        A perturbation cannot be read, a context has no control cells, or several effects.
    """
    measured, names = frozenset(cells.var_names), cells.obs["perturbation"].to_numpy().astype(str)
    spellings, spelling = np.unique(names, return_inverse=True)
    genes = [perturbed_genes(name, measured=measured) for name in spellings]
    context = cells.obs["context"].to_numpy().astype(str) if "context" in cells.obs else np.full(len(names), "")
    of_cell = [Condition(place, genes[code]) for place, code in zip(context.tolist(), spelling, strict=True)]
    conditions = tuple(sorted({condition for condition in of_cell if condition.genes}))
    position = {condition: i for i, condition in enumerate(conditions)}
    code = np.array([position.get(condition, -1) for condition in of_cell], dtype=np.int64)
    _check_controls(code, context)
    return Perturbed(conditions, code, context, _effects(cells, context))


def pseudobulk(cells: AnnData) -> Pseudobulk:
    """Return mean log1p of counts per 10,000 by condition of ``cells`` (raw counts); raises as :func:`perturbed`."""
    return mean_by_condition(log_normalised(cells.X), of=perturbed(cells))


def mean_by_condition(expression: sp.csr_matrix, *, of: Perturbed) -> Pseudobulk:
    """Return the means of ``expression`` ``(n_cells, n_genes)`` over the cells of each condition."""
    control = {context: mean_over(expression, rows=of.controls(context)) for context in of.effect}
    changes = {
        condition: mean_over(expression, rows=of.cells(condition)) - control[condition.context]
        for condition in of.conditions
    }
    return Pseudobulk(control, changes)


def mean_over(expression: sp.csr_matrix, *, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean over some cells ``(n_genes,)``, summed in double precision."""
    return np.asarray(expression[rows].sum(axis=0, dtype=np.float64)).ravel() / len(rows)


def _check_controls(code: NDArray[np.int64], context: NDArray[np.str_]) -> None:
    without = sorted(set(context) - set(context[code < 0]))
    numbers = {place: int((context[code < 0] == place).sum()) for place in set(context)}
    few = sorted(place for place, number in numbers.items() if 0 < number < FEWEST_CONTROLS)
    if few and not without:
        raise InvalidInputError(
            asked=f"at least {FEWEST_CONTROLS} control cells in every context",
            found=", ".join(f"{numbers[place]} in {place or 'the only context'}" for place in few),
            remedy="every change is measured from their mean, whose noise all answers would share: add control cells",
        )
    if without:
        raise InvalidInputError(
            asked="control cells in every context" if any(without) else "control cells",
            found=f"none in {some(without)}" if any(without) else "none",
            remedy="a change is measured from control cells: add those, or remove the cells of these contexts",
        )


def _effects(cells: AnnData, context: NDArray[np.str_]) -> dict[str, str]:
    if "effect" not in cells.obs:
        return dict.fromkeys(sorted(set(context.tolist())), "")
    pairs = sorted(set(zip(context.tolist(), cells.obs["effect"].astype(str), strict=True)))
    effects = dict(pairs)
    if len(effects) < len(pairs):
        raise InvalidInputError(
            asked="one effect in each context",
            found=", ".join(f"{effect} in {place or 'the only context'}" for place, effect in pairs),
            remedy="declare a context that keeps activation and knockdown apart: context=COLUMN",
        )
    return effects

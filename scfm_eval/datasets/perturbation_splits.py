"""Which perturbations are held out: single genes, combinations by how many of their parts are seen, and contexts.

Activation and knockdown are never mixed: each fold trains and tests on contexts of one effect.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scfm_eval.datasets.perturbation_conditions import Condition, Perturbed
from scfm_eval.errors import InvalidInputError

Kind = Literal["single", "combination0", "combination1", "combination2", "context"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_TOGETHER = 4
"""Conditions of a fold, where there are enough: among fewer, telling them apart says little."""
_ASKED: dict[Kind, str] = {
    "single": "two single genes or more",
    "combination0": "two pairs of genes or more",
    "combination1": "two pairs of genes or more, one gene of each also perturbed alone",
    "combination2": "two pairs of genes or more, both genes of each also perturbed alone",
    "context": "a perturbation with the same effect in two contexts or more",
}
Genes = tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """What is learned from and what is predicted.

    Parameters
    ----------
    kind
        What is unseen about the test conditions.
    test, train
        Conditions of one effect, in order.
    contexts
        Contexts whose control cells are seen; those of the test conditions are among them.
    """

    kind: Kind
    test: tuple[Condition, ...]
    train: tuple[Condition, ...]
    contexts: tuple[str, ...]

    def training_cells(self, table: Perturbed) -> NDArray[np.bool_]:
        """Return which cells may be learned from ``(n_cells,)``."""
        return table.rows_of(frozenset(self.train), controls_of=self.contexts)


@dataclass(frozen=True)
class _Pool:
    """Conditions of one effect; those in ``enough`` have cells enough to be tested."""

    conditions: tuple[Condition, ...]
    enough: tuple[Condition, ...]
    contexts: tuple[str, ...]

    def without(self, hidden: Collection[str]) -> tuple[Condition, ...]:
        """Return the conditions in which none of the ``hidden`` genes was perturbed."""
        return tuple(condition for condition in self.conditions if not set(hidden) & set(condition.genes))

    def pairs(self, *, n_single: int) -> list[Condition]:
        """Return the pairs of which at least ``n_single`` genes were also perturbed alone in the same context."""
        alone = {condition for condition in self.conditions if len(condition.genes) == 1}
        return [
            pair
            for pair in self.enough
            if len(pair.genes) == 2
            and sum(Condition(pair.context, (gene,)) in alone for gene in pair.genes) >= n_single
        ]


def perturbation_folds(
    table: Perturbed, *, kind: Kind, n_folds: int = 5, min_cells: int = 10, seed: int = 0
) -> list[Fold]:
    """Hold out every condition that can be of this kind once.

    Parameters
    ----------
    table
        Conditions of the dataset.
    kind
        ``"single"``: the gene is in no training condition, neither alone nor combined. ``"combination2"``: a pair whose
        genes are both seen alone. ``"combination1"``: a pair of which one gene is seen alone, the other in no training
        condition. ``"combination0"``: a pair whose genes are in no training condition. ``"context"``: the context has
        control cells only, and the perturbation is seen in another one with the same effect.
    n_folds
        Most folds for each effect. There are fewer where a fold would have less than four conditions, but two where
        there are two conditions, and more where the pairs of ``"combination1"`` cannot share a fold. Contexts are held
        out one by one.
    min_cells
        Conditions with fewer cells are learned from, not tested.
    seed
        Seed of the assignment.

    Returns
    -------
    Folds with at least one test condition and two training perturbations each.

    Raises
    ------
    InvalidInputError
        Fewer than two perturbations can be held out in this way.
    """
    make = {"single": _singles, "combination0": _pairs, "combination1": _half_seen, "combination2": _pairs}
    found: list[Fold] = []
    for pool in _pools(table, min_cells=min_cells):
        found += _contexts(pool) if kind == "context" else make[kind](pool, kind, n_folds, np.random.default_rng(seed))
    kept = [fold for fold in found if fold.test and len({condition.genes for condition in fold.train}) > 1]
    if len({condition.genes for fold in kept for condition in fold.test}) < 2:
        raise InvalidInputError(
            asked=f"a split that holds out conditions as {kind!r}: {_ASKED[kind]}, of {min_cells} cells or more",
            found=f"{len(table.conditions)} conditions, of which fewer than two perturbations can be held out so",
            remedy="choose a split that the dataset allows, or give more conditions",
        )
    return kept


def folds_by_seed(
    table: Perturbed, *, kind: Kind, n_folds: int, min_cells: int, seeds: Sequence[int]
) -> list[list[Fold]]:
    """Return :func:`perturbation_folds` for each seed; all of them hold out the same conditions.

    Raises
    ------
    InvalidInputError
        As :func:`perturbation_folds`, or there are so few conditions that the seed decides which can be held out.
    """
    found = [perturbation_folds(table, kind=kind, n_folds=n_folds, min_cells=min_cells, seed=seed) for seed in seeds]
    held = [{condition for fold in folds for condition in fold.test} for folds in found]
    if any(conditions != held[0] for conditions in held):
        raise InvalidInputError(
            asked=f"a split that holds out the same conditions as {kind!r} under each of the seeds {list(seeds)}",
            found=f"from {min(map(len, held))} to {max(map(len, held))} of {len(table.conditions)} conditions",
            remedy="choose a split that the dataset allows, one seed, or more conditions",
        )
    return found


def possible_kinds(table: Perturbed, *, n_folds: int, min_cells: int, seeds: Sequence[int] = (0,)) -> tuple[Kind, ...]:
    """Return the kinds of which :func:`folds_by_seed` makes folds."""
    possible = []
    for kind in KINDS:
        try:
            folds_by_seed(table, kind=kind, n_folds=n_folds, min_cells=min_cells, seeds=seeds)
        except InvalidInputError:
            continue
        possible.append(kind)
    return tuple(possible)


def _pools(table: Perturbed, *, min_cells: int) -> list[_Pool]:
    pools = []
    for effect in sorted(set(table.effect.values())):
        contexts = tuple(sorted(context for context, own in table.effect.items() if own == effect))
        conditions = tuple(condition for condition in table.conditions if condition.context in contexts)
        enough = tuple(condition for condition in conditions if table.n_cells[condition] >= min_cells)
        pools.append(_Pool(conditions, enough, contexts))
    return pools


def _dealt(units: Collection[Genes], *, n_folds: int, rng: np.random.Generator) -> list[set[Genes]]:
    """Deal shuffled units into folds."""
    shuffled = [sorted(units)[i] for i in rng.permutation(len(units))]
    used = _n_folds(len(shuffled), n_folds=n_folds)
    return [set(shuffled[start::used]) for start in range(used)]


def _n_folds(n_units: int, *, n_folds: int) -> int:
    return max(2, min(n_folds, n_units // _TOGETHER))


def _fold(pool: _Pool, kind: Kind, *, test: Collection[Condition], train: Collection[Condition]) -> Fold:
    return Fold(kind, tuple(sorted(test)), tuple(sorted(train)), pool.contexts)


def _singles(pool: _Pool, kind: Kind, n_folds: int, rng: np.random.Generator) -> list[Fold]:
    singles = [condition for condition in pool.enough if len(condition.genes) == 1]
    return [
        _fold(
            pool,
            kind,
            test=[condition for condition in singles if condition.genes in held],
            train=pool.without({gene for genes in held for gene in genes}),
        )
        for held in _dealt({condition.genes for condition in singles}, n_folds=n_folds, rng=rng)
    ]


def _pairs(pool: _Pool, kind: Kind, n_folds: int, rng: np.random.Generator) -> list[Fold]:
    both_seen = kind == "combination2"
    pairs = pool.pairs(n_single=2 if both_seen else 0)
    folds = []
    for held in _dealt({pair.genes for pair in pairs}, n_folds=n_folds, rng=rng):
        hidden = () if both_seen else {gene for genes in held for gene in genes}
        train = [condition for condition in pool.without(hidden) if condition.genes not in held]
        folds.append(_fold(pool, kind, test=[pair for pair in pairs if pair.genes in held], train=train))
    return folds


def _half_seen(pool: _Pool, kind: Kind, n_folds: int, rng: np.random.Generator) -> list[Fold]:
    pairs = pool.pairs(n_single=1)
    units = sorted({pair.genes for pair in pairs})
    held: list[dict[Genes, str]] = [{} for _ in range(_n_folds(len(units), n_folds=n_folds))]
    for i in rng.permutation(len(units)):
        ways = _ways_to_hide(units[i], pairs=pairs, pool=pool)
        _place(units[i], [ways[j] for j in rng.permutation(len(ways))], held)
    return [
        _fold(pool, kind, test=[pair for pair in pairs if pair.genes in hidden], train=pool.without(hidden.values()))
        for hidden in held
    ]


def _ways_to_hide(genes: Genes, *, pairs: list[Condition], pool: _Pool) -> list[str]:
    """Return the genes of a pair that can be hidden: the other one is seen alone wherever the pair was made."""
    contexts = [pair.context for pair in pairs if pair.genes == genes]
    return [
        hidden
        for hidden, other in (genes, genes[::-1])
        if all(Condition(context, (other,)) in pool.conditions for context in contexts)
    ]


def _place(genes: Genes, ways: list[str], held: list[dict[Genes, str]]) -> None:
    """Put a pair into the emptiest fold where what is hidden of one pair is not what is seen of another."""
    for fold in sorted(held, key=len):
        hidden = set(fold.values())
        seen = {gene for pair in fold for gene in pair} - hidden
        for way in ways:
            other = genes[1 - genes.index(way)]
            if way not in seen and other not in hidden:
                fold[genes] = way
                return
    if ways:
        held.append({genes: ways[0]})


def _contexts(pool: _Pool) -> list[Fold]:
    folds = []
    for context in pool.contexts:
        train = [condition for condition in pool.conditions if condition.context != context]
        seen = {condition.genes for condition in train}
        test = [condition for condition in pool.enough if condition.context == context and condition.genes in seen]
        folds.append(_fold(pool, "context", test=test, train=train))
    return folds

"""Folds and parts of cells: by donor where there are donors, else by cell, every label spread over all of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from scfm_eval.errors import InvalidInputError

_HELD_OUT = 0.1
_FEWEST = 3  # cells of a label, or donors: one for each part
_DRAWS = 500


@dataclass(frozen=True)
class Split:
    """Which fold each cell is predicted in.

    Parameters
    ----------
    fold
        Fold of each cell, ``(n_cells,)``, 0 to ``n_folds - 1``.
    unit
        What was kept together: ``"cell"`` (nothing) or ``"donor"``.
    n_folds
        Number of folds, each with at least one cell.
    note
        Why it is not what was asked for; empty when it is.
    """

    fold: NDArray[np.int64]
    unit: Literal["cell", "donor"]
    n_folds: int
    note: str = ""


def folds(labels: NDArray[Any], *, donors: NDArray[Any] | None = None, n_folds: int = 5, seed: int) -> Split:
    """Assign cells to stratified folds, all cells of a donor to the same one.

    Parameters
    ----------
    labels
        One label per cell ``(n_cells,)``; unlabelled cells are left out beforehand.
    donors
        Donor of each cell; ``None`` where there are none.
    n_folds
        Folds asked for, at least 2; fewer donors or cells than that give fewer folds, which the note says.
    seed
        Seed of the assignment.

    Returns
    -------
    The folds. A label with fewer cells (or donors) than folds is in fewer of them. With one donor only, cells are
    split, which the note says.

    Raises
    ------
    ValueError
        For fewer than two folds or cells, or arrays of different length.
    """
    labels = np.asarray(labels)
    if n_folds < 2 or len(labels) < 2:
        raise ValueError(f"{len(labels)} cells cannot be split into {n_folds} folds: at least two of both are needed")
    if donors is None:
        return _by_cell(labels, n_folds=n_folds, seed=seed, note="")
    if len(donors) != len(labels):
        raise ValueError(f"{len(donors)} donors for {len(labels)} cells")
    names, group = np.unique(np.asarray(donors), return_inverse=True)
    if len(names) == 1:
        note = f"split by cell, since all cells are of one donor ({names[0]}): scores do not speak of other donors"
        return _by_cell(labels, n_folds=n_folds, seed=seed, note=note)
    return _by_donor(labels, group=group, n_folds=n_folds, seed=seed)


@dataclass(frozen=True)
class Parts:
    """Which cells are learned from, which ones choose, and which ones are scored.

    Parameters
    ----------
    train, validation, test
        Masks of the cells ``(n_cells,)``; each cell is in one of them.
    unit
        What was kept together: ``"cell"`` (nothing) or ``"donor"``.
    notes
        What a reader has to know: too few donors, labels that a part does not have, labels with one test cell.
    """

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]
    unit: Literal["cell", "donor"]
    notes: tuple[str, ...] = ()


def parts(labels: NDArray[Any], *, donors: NDArray[Any] | None = None, seed: int) -> Parts:
    """Divide cells 80/10/10 into training, validation and test part, each label alike.

    Donors stay whole where there are at least three: of 500 random divisions of the donors, the one whose parts hold
    10, 10 and 80 % of each label most nearly is taken. Otherwise the cells of each label are divided, and every label
    has at least one cell in each part.

    Parameters
    ----------
    labels
        One label per cell ``(n_cells,)``; unlabelled cells are left out beforehand.
    donors
        Donor of each cell; ``None`` where there are none.
    seed
        Seed of the division.

    Raises
    ------
    InvalidInputError
        A label has fewer than three cells, where cells are divided; or no division of the donors leaves two labels to
        learn from.
    """
    labels = np.asarray(labels).astype(str)
    group = np.zeros(len(labels), dtype=np.int64) if donors is None else np.unique(donors, return_inverse=True)[1]
    n_donors = int(group.max()) + 1
    if n_donors >= _FEWEST:
        part, notes = _donors_in_parts(labels, group=group, seed=seed)
        return Parts(part == 0, part == 1, part == 2, "donor", notes)
    part, notes = _cells_in_parts(labels, seed=seed)
    if donors is not None:
        few = f"split by cell, since there are {n_donors} donors and not {_FEWEST}: scores do not speak of other donors"
        notes = (few, *notes)
    return Parts(part == 0, part == 1, part == 2, "cell", notes)


def _cells_in_parts(labels: NDArray[np.str_], *, seed: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the part of each cell, 0 to 2, and what is to be said of it."""
    names, code, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    _refuse_rare([f"{name} ({size})" for name, size in zip(names, sizes, strict=True) if size < _FEWEST])
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(code[shuffled], kind="stable")]
    rank = np.empty(len(labels), dtype=np.int64)  # of a cell among those of its label
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held_out = np.maximum(1, np.round(_HELD_OUT * sizes)).astype(np.int64)
    part = np.where(rank < held_out[code], 2, np.where(rank < 2 * held_out[code], 1, 0))
    single = names[held_out == 1]
    note = f"one test cell decides the F1 of each of these labels: {', '.join(single)}"
    return part, (note,) if len(single) else ()


def _refuse_rare(rare: list[str]) -> None:
    if rare:
        raise InvalidInputError(
            asked="a split of 80/10/10 with every label in each part",
            found=f"labels with fewer than {_FEWEST} cells: {', '.join(rare)}",
            remedy="remove these cells, merge the labels, or set them to 'unknown'",
        )


def _donors_in_parts(
    labels: NDArray[np.str_], *, group: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    names, code = np.unique(labels, return_inverse=True)
    n_donors = int(group.max()) + 1
    cells = np.zeros((n_donors, len(names)))
    np.add.at(cells, (group, code), 1)
    held_out = max(1, round(_HELD_OUT * n_donors))
    position = np.repeat([2, 1, 0], [held_out, held_out, n_donors - 2 * held_out])
    draws = np.random.default_rng(seed).permuted(np.tile(position, (_DRAWS, 1)), axis=1)  # part of each donor
    shares = np.stack([(draws == part) @ cells for part in range(3)], axis=1) / cells.sum(axis=0)  # (draws, 3, labels)
    target = np.array([1 - 2 * _HELD_OUT, _HELD_OUT, _HELD_OUT])[:, None]
    # a label that a part has none of is worse than any share that is off
    cost = (np.abs(shares - target) + (shares == 0)).sum(axis=(1, 2))
    learnable = (shares[:, 0] > 0).sum(axis=1) > 1
    if not learnable.any():
        raise InvalidInputError(
            asked="a split by donor with two labels to learn from",
            found=f"{n_donors} donors, and cells of one label only in any training part",
            remedy="declare no donor, or use a dataset whose donors have several labels",
        )
    best = int(np.argmin(np.where(learnable, cost, np.inf)))
    absent = [
        f"no cell of {', '.join(names[shares[best, part] == 0])} is in the {name} part"
        for part, name in enumerate(("training", "validation", "test"))
        if (shares[best, part] == 0).any()
    ]
    return draws[best][group], tuple(absent)


def _by_cell(labels: NDArray[Any], *, n_folds: int, seed: int, note: str) -> Split:
    """Deal the shuffled cells of one label after the other, as cards are dealt: sizes differ by one at most."""
    rng = np.random.default_rng(seed)
    used = min(n_folds, len(labels))
    if used < n_folds:
        note = "; ".join(filter(None, [note, f"{used} folds instead of {n_folds}, one per cell"]))
    shuffled = rng.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % used
    return Split(fold=fold, unit="cell", n_folds=used, note=note)


def _by_donor(labels: NDArray[Any], *, group: NDArray[np.int64], n_folds: int, seed: int) -> Split:
    n_donors = int(group.max()) + 1
    used = min(n_folds, n_donors)
    note = f"{used} folds instead of {n_folds}: there are {n_donors} donors" if used < n_folds else ""
    codes = np.unique(labels, return_inverse=True)[1]
    if np.bincount(codes).max() < used:
        # scikit-learn refuses labels that are all rarer than the folds; donors alone then decide
        codes = np.zeros_like(codes)
    fold = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=used, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for i, (_, test) in enumerate(splitter.split(codes, codes, group)):
            fold[test] = i
    return Split(fold=fold, unit="donor", n_folds=used, note=note)

"""Folds of cells: by donor where there are donors, by cell otherwise, every label spread over all of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold


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

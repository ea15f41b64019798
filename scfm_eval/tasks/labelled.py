"""The labelled cells of a dataset, which a task learns from and scores, and models that have seen too much of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.splits import Split, folds
from scfm_eval.fits import Rows
from scfm_eval.models.card import card
from scfm_eval.tasks.sides import Sides, require_sides_apart
from scfm_eval.tasks.task import Answers, learns_labels, resampling_weights

TOO_FEW_DONORS = "too few donors in a test part: intervals are over its cells and do not speak of other donors"


@dataclass(frozen=True, eq=False)
class Labelled:
    """The cells that have a label.

    Parameters
    ----------
    among_all
        Which of all cells have a label, ``(n_cells,)``.
    labels
        Their labels ``(n_labelled,)``.
    donors
        Their donors ``(n_labelled,)``; ``None`` where the dataset declares none.
    """

    among_all: NDArray[np.bool_]
    labels: NDArray[np.str_]
    donors: NDArray[np.str_] | None

    @classmethod
    def of(cls, cells: AnnData, *, key: str = "label") -> Self:
        """Return the cells that have a value of ``key``."""
        among_all = cells.obs[key].notna().to_numpy()
        donors = cells.obs["donor"].to_numpy()[among_all].astype(str) if "donor" in cells.obs else None
        return cls(among_all, cells.obs[key].to_numpy()[among_all].astype(str), donors)

    def donors_of(self, rows: NDArray[np.bool_]) -> NDArray[np.str_] | None:
        """Return the donors of some of the labelled cells."""
        return None if self.donors is None else self.donors[rows]

    def values(self, cells: AnnData, key: str) -> NDArray[np.str_]:
        """Return another key of the same cells, ``(n_labelled,)``."""
        return cells.obs[key].to_numpy()[self.among_all].astype(str)  # type: ignore[no-any-return]

    def splits(self, *, n_folds: int, seeds: Sequence[int]) -> list[Split]:
        """Return stratified folds for each seed, donors whole."""
        return [folds(self.labels, donors=self.donors, n_folds=n_folds, seed=seed) for seed in seeds]

    def embedded(self, answers: Answers, *, seed: int, train: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return ``(n_labelled, d)``; what learns from cells learns from those in ``train`` ``(n_labelled,)`` only."""
        return self.rows(answers, seed=seed, train=train).values

    def rows(self, answers: Answers, *, seed: int, train: NDArray[np.bool_] | None = None) -> Rows:
        """Return the embedding ``(n_labelled, d)`` of the cells, with their places among all, labels and donors.

        What learns from cells learns from those in ``train`` ``(n_labelled,)`` only; which ones it really saw is known
        of the rows.
        """
        seen = None if train is None else self.placed(train)
        found = answers.embed_rows(seed=seed, train=seen)[self.among_all]
        return replace(found, labels=self.labels, donors=self.donors)

    def among(self, ids: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the places among the labelled cells of cells that are named by their places among all."""
        return np.searchsorted(np.flatnonzero(self.among_all), ids)

    def placed(self, part: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a part of the labelled cells as a part of all cells, ``(n_cells,)``."""
        mask = np.zeros(len(self.among_all), dtype=bool)
        mask[np.flatnonzero(self.among_all)[part]] = True
        return mask

    def require_apart(
        self, cells: AnnData, splits: Sequence[Split], *, asked: str, tested: Sequence[int] | None = None
    ) -> None:
        """Look for donors and copies on both sides of splits, every fold of which is tested, or those in ``tested``.

        Raises as :func:`~scfm_eval.tasks.sides.require_sides_apart`.
        """
        sides = [
            Sides(train=self.placed(split.fold != fold), test=self.placed(split.fold == fold))
            for split in splits
            for fold in (range(split.n_folds) if tested is None else tested)
        ]
        require_sides_apart(cells, sides, unit=splits[0].unit, asked=asked)

    def notes(self) -> list[str]:
        """Return how many cells have no label, in words; nothing where all have one."""
        left_out = int((~self.among_all).sum())
        return [f"{left_out} unlabelled cells were left out"] if left_out else []


def weights_of_tested(
    known: Labelled, tests: Sequence[NDArray[np.bool_]], *, unit: Literal["cell", "donor"]
) -> tuple[NDArray[np.int16], bool]:
    """Draw the cells that any seed tests, or their donors; with few donors a seed would often be left without any.

    Parameters
    ----------
    known
        The labelled cells.
    tests
        Test cells of each seed, ``(n_labelled,)``.
    unit
        What the splits kept together.

    Returns
    -------
    Weights ``(n_resamples, n_tested)`` of the cells that some seed tests, and whether donors were drawn.
    """
    tested = np.any(tests, axis=0)
    donors = known.donors_of(tested) if unit == "donor" else None
    if known.donors is not None and donors is not None:
        fewest = min(len(np.unique(known.donors[test])) for test in tests)
        donors = donors if fewest >= (2 if len(tests) == 1 else 4) else None
    strata = np.zeros(int(tested.sum()), dtype=np.int64)
    return resampling_weights(donors=donors, strata=strata), donors is not None


def split_details(split: Split) -> dict[str, Any]:
    """Return what a report says of a split."""
    return {"unit": split.unit, "n_folds": split.n_folds, "note": split.note}


def has_seen_cells(model: type, *, scored: str = "the test cells") -> str:
    """Return why the embedding of ``model`` would have learned from what is scored; empty when it need not have."""
    if card(model).transductive:
        return f"it cannot place cells that it has not seen, so its embedding would have seen {scored}"
    return ""


def has_seen_labels(model: type) -> str:
    """Return why ``model`` cannot be scored by the labels of all cells; empty when it needs none itself."""
    return (
        "it learns from labels, and the labels of all cells are what this task scores" if learns_labels(model) else ""
    )

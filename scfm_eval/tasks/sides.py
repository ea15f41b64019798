"""What must not be on both sides of a split: cells of one donor, and copies of cells."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.datasets.copies import Copies, copies, require_apart
from scfm_eval.datasets.counts import some

_found: dict[int, tuple[weakref.ref[AnnData], Copies]] = {}


@dataclass(frozen=True, eq=False)
class Sides:
    """Training and test cells of one split, or of one fold of it.

    Parameters
    ----------
    train, test
        Masks of all cells of the dataset ``(n_cells,)``.
    """

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def require_sides_apart(cells: AnnData, sides: Iterable[Sides], *, unit: Literal["cell", "donor"], asked: str) -> None:
    """Look for what is on both sides of splits: cells of one donor (guard ``donors``), and copies (``duplicates``).

    Parameters
    ----------
    cells
        Canonical form.
    sides
        All splits that are scored together.
    unit
        What the splits keep together.
    asked
        What was asked for, in messages.

    Raises
    ------
    GuardError
        The splits keep donors together, and a donor is on both sides; or more than 1 % of the test cells have a copy
        among the training cells.
    """
    every = list(sides)
    if "donor" in cells.obs:
        _require_donors_apart(cells.obs["donor"].astype(str).to_numpy(), every, unit=unit, asked=asked)
    if every and guards.is_on("duplicates"):
        train, test = (np.array([getattr(one, name) for one in every]) for name in ("train", "test"))
        require_apart(_copies_of(cells), train=train, test=test, asked=asked)


def _require_donors_apart(
    donors: NDArray[np.str_], sides: Sequence[Sides], *, unit: Literal["cell", "donor"], asked: str
) -> None:
    both = sorted(set().union(*(set(donors[one.train]) & set(donors[one.test]) for one in sides)))
    if not both:
        return
    found = f"cells of {len(both)} donors are on both sides of the split: {some(both)}"
    if unit == "donor":
        guards.refuse("donors", asked=asked, found=found, remedy="keep all cells of a donor on one side")
    else:
        guards.tell("donors", asked=asked, found=found, remedy="scores do not speak of other donors")


def _copies_of(cells: AnnData) -> Copies:
    """Return the copies among the cells, which are looked for once."""
    known = _found.get(id(cells))
    if known is None or known[0]() is not cells:
        key = id(cells)
        known = _found[key] = weakref.ref(cells, lambda _: _found.pop(key, None)), copies(cells.X)
    return known[1]

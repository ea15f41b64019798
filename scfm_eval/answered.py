"""Whether rows of the right shape are of their own cells: a model is asked for some of them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from scfm_eval import guards, timing
from scfm_eval.models.card import card

N_AGAIN = 32
"""Cells that a model is asked for again."""
_OF_THE_CALL = {"rows_follow_the_cells", "a_cell_does_not_depend_on_its_neighbours"}  # exceptions on a card
_STRANGERS = 2  # of these, from which on it is no accident
_ROWS_AT_ONCE = 4096
_NOISE = 1e-3  # of the distance of two cells
_CLEARLY = 2.0  # times as far from its own row as from another one


def own_rows(
    parts: Sequence[NDArray[np.float32]],
    ask: Callable[[AnnData], Sequence[Any]],
    cells: AnnData,
    *,
    of: type,
    name: str,
    given: Any = None,
) -> None:
    """Refuse rows that belong to other cells: some cells are asked for again, in reversed order and in one small call.

    Each of the new rows has to be nearest to the cell's own. Nothing is asked where rows were matched by name, are all
    alike, or depend on the other cells of the call by what the card says.

    Parameters
    ----------
    parts
        What the model gave for all cells, ``(n_cells, d)`` each.
    ask
        Returns the same parts for a few cells.
    cells
        All of them.
    of, name
        Class and name of the model.
    given
        The answer as the model gave it.

    Raises
    ------
    GuardError
        Two or more of the cells have the row of another cell.
    """
    if cells.n_obs <= _STRANGERS or not guards.is_on("order") or _needs_no_asking(of, given, parts):
        return
    rows = _chosen(cells.n_obs)
    asked = f"rows of {cells.n_obs} cells by {name}, each its own cell's"
    try:
        # the seconds of a model are those of its answer alone
        with timing.recording():
            again = [np.asarray(part) for part in ask(cells[rows].copy())]
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        remedy = f"let {name} answer for a few cells, or look at the order of its rows"
        guards.tell(
            "order",
            asked=asked,
            found=f"their order was not looked at: no answer for {len(rows)} of them alone: {said[:150]}",
            remedy=remedy,
        )
        return
    if any(after.shape != (len(rows), before.shape[1]) for before, after in zip(parts, again, strict=True)):
        found = f"their order was not looked at: an answer of another shape for {len(rows)} of them alone"
        guards.tell("order", asked=asked, found=found, remedy="look at the order of its rows")
        return
    for before, after in zip(parts, again, strict=True):
        strange = _strangers(before, after, rows=rows)
        if len(strange) >= _STRANGERS:
            pairs = ", ".join(f"{cells.obs_names[a]} has that of {cells.obs_names[b]}" for a, b in strange[:3])
            guards.refuse(
                "order",
                asked=asked,
                found=f"of {len(rows)} cells that were asked for again, {len(strange)} have another one's: {pairs}",
                remedy="bring rows back into the order of cells.obs_names after sorting by length, or return a table "
                "with obs_names as its index",
            )
            return


def columns_again(
    ask: Callable[[AnnData], tuple[Any, Any]], names: NDArray[np.str_], cells: AnnData
) -> list[NDArray[np.float32]]:
    """Return the probabilities ``(n_cells, C)`` that a model gives a few cells, its labels in the order of ``names``.

    Raises
    ------
    ValueError
        It leaves a label out.
    """
    given, shares = ask(cells)
    return [np.asarray(shares)[:, [list(given).index(name) for name in names]]]


def _needs_no_asking(of: type, given: Any, parts: Sequence[NDArray[np.float32]]) -> bool:
    by_name = isinstance(given, pd.DataFrame) or getattr(of, "matches_by_id", False)
    about = card(of)
    return bool(by_name or about.transductive or _OF_THE_CALL & about.exceptions.keys() or not any(map(_differ, parts)))


def _chosen(n_cells: int) -> NDArray[np.intp]:
    """Return the places of some cells, the first and last two among them, last first."""
    ends = [0, 1, n_cells - 2, n_cells - 1]
    # of few cells at most half: what turns all of them round would turn all of them back
    n_drawn = max(min(N_AGAIN, n_cells // 2), 2 * len(ends)) - len(ends)
    drawn = np.random.default_rng(0).permutation(n_cells)[:n_drawn]
    return np.unique([*ends, *drawn])[::-1].astype(np.intp)


def _differ(part: NDArray[np.float32]) -> bool:
    return bool(np.ptp(part[_spread_out(len(part), most=100)], axis=0).max() > 0)


def _spread_out(n: int, *, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))


def _strangers(before: NDArray[np.float32], after: NDArray[Any], *, rows: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return the cells whose new row is clearly nearer to the row of another cell, with that cell."""
    chunks = (before[start : start + _ROWS_AT_ONCE] for start in range(0, len(before), _ROWS_AT_ONCE))
    distance = np.concatenate([cdist(after.astype(float), chunk.astype(float)) for chunk in chunks], axis=1)
    own = distance[np.arange(len(rows)), rows]
    nearest = distance.argmin(axis=1)
    far = (own > _NOISE * np.median(distance, axis=1)) & (own > _CLEARLY * distance.min(axis=1))
    return [(int(row), int(other)) for row, other, strange in zip(rows, nearest, far, strict=True) if strange]

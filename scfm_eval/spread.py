"""Whether rows tell cells apart: how they spread, and whether they count the rows instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from scfm_eval import guards

_LOOKED_AT, _ASKED_OF = 1000, 300  # rows, spread evenly
_FEWEST_CELLS = 50
_CONSTANT = 1e-6  # of the largest value: float32 holds seven digits
_NEARLY = 1e-3
_FEW_DIRECTIONS, _FEWEST_COLUMNS = 1.05, 8
_FEW_ROWS = 0.1
_COUNTS = 0.98
_REACH, _BESIDE, _TIMES = 3, 0.25, 3.0
_MOST_GENES = 1000


@dataclass(frozen=True)
class Spread:
    """How the rows of an embedding spread.

    Parameters
    ----------
    size
        Largest difference of two cells in a column, over the largest value; 0 where all rows are equal.
    length
        Root mean square distance of a row from the mean row, over the root mean square length of a row.
    directions
        Effective number of directions: the squared sum of the eigenvalues of the covariance over the sum of squares.
    distinct
        Share of rows that are told apart at a thousandth of their root mean square distance from the mean row.
    counting
        Columns that grow, or fall, from nearly each row to the next.
    beside
        Share of rows with one at most three places away that is nearer than 1,000 others, spread evenly.
    """

    size: float
    length: float
    directions: float
    distinct: float
    counting: tuple[int, ...]
    beside: float


def spread(embedding: NDArray[np.floating]) -> Spread:
    """Return how the rows ``(n_cells, d)`` spread: their size by all of them, the rest by 1,000 at most."""
    largest = float(np.abs(embedding).max())
    size = float(np.ptp(embedding, axis=0).max()) / largest if largest else 0.0
    rows = np.asarray(embedding[_evenly(len(embedding), most=_LOOKED_AT)], dtype=np.float64)
    centred = rows - rows.mean(axis=0)
    total = float((centred**2).sum())
    length = (total / max(float((rows**2).sum()), np.finfo(float).tiny)) ** 0.5
    if size <= _CONSTANT or not total:
        return Spread(size, length, 0.0, 1 / len(rows), (), 0.0)
    # the smaller one of the two products has the same eigenvalues
    products = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    # the sum makes zeros of one kind of them
    told_apart = {row.tobytes() for row in np.round(centred / (_NEARLY * (total / len(rows)) ** 0.5)) + 0.0}
    return Spread(
        size=size,
        length=length,
        directions=total**2 / float((products**2).sum()),
        distinct=len(told_apart) / len(rows),
        counting=_counting(rows),
        beside=_beside(embedding),
    )


def require_spread(embedding: NDArray[np.float32], cells: AnnData, obs: pd.DataFrame, *, name: str) -> None:
    """Refuse rows that are all equal; tell of rows that nearly are, and of rows that count the cells.

    Parameters
    ----------
    embedding
        ``(n_cells, d)``.
    cells
        What the model was given.
    obs
        Labels, batches and donors, as far as there are any: cells that are sorted by them lie beside their like.
    name
        The model.

    Raises
    ------
    GuardError
        All rows are equal.
    """
    if cells.n_obs < 2:
        return
    found = _known(embedding)
    asked = f"rows of {cells.n_obs} cells by {name} that tell them apart"
    if found.size <= _CONSTANT:
        remedy = "look at what the model reads of the cells, and whether its weights were loaded"
        guards.refuse("collapsed", asked=asked, found="one and the same row for all of them", remedy=remedy)
        return
    if cells.n_obs < _FEWEST_CELLS:
        return
    for text in _collapse(found, width=embedding.shape[1]):
        guards.tell("collapsed", asked=asked, found=text, remedy="do not read scores of this embedding as knowledge")
    for text in _row_number(found, cells, obs):
        guards.tell("row_number", asked=asked, found=text, remedy="leave the row number out of what the model is given")


def _known(embedding: NDArray[np.float32]) -> Spread:
    # what the store keeps under one path never changes
    path = getattr(embedding, "filename", None)
    return spread(embedding) if path is None else _of_file(str(path))


@lru_cache(maxsize=256)
def _of_file(path: str) -> Spread:
    return spread(np.load(path, mmap_mode="r", allow_pickle=False))


def _collapse(found: Spread, *, width: int) -> Iterator[str]:
    if found.length < _NEARLY:
        yield f"rows that are nearly equal: they differ by {found.length:.2%} of their length"
    if found.directions < _FEW_DIRECTIONS and width >= _FEWEST_COLUMNS:
        yield f"{width} columns that all say the same: {found.directions:.2f} directions"
    if found.distinct < _FEW_ROWS:
        yield f"few different rows: {found.distinct:.1%} of those that were looked at"


def _row_number(found: Spread, cells: AnnData, obs: pd.DataFrame) -> Iterator[str]:
    sure = found.beside > _BESIDE and found.beside > _TIMES * _beside_by_chance(obs)
    if not (found.counting or sure) or _is_sorted_by_depth(cells):
        return
    if found.counting:
        yield f"a column that only counts the rows: column {found.counting[0]}, of {len(found.counting)} such"
    if sure and found.beside > _TIMES * _beside(_expression(cells)):
        yield f"the row beside as the nearest one of {found.beside:.0%} of the cells, which no label or batch explains"


def _counting(rows: NDArray[np.float64]) -> tuple[int, ...]:
    if len(rows) < _FEWEST_CELLS:
        return ()
    return tuple(np.flatnonzero(np.abs(np.sign(np.diff(rows, axis=0)).mean(axis=0)) >= _COUNTS).tolist())


def _is_sorted_by_depth(cells: AnnData) -> bool:
    places = _evenly(cells.n_obs, most=_LOOKED_AT)
    counts = cells.X[places]
    depth = np.stack([np.asarray(part.sum(axis=1), dtype=float).ravel() for part in (counts, counts > 0)], axis=1)
    return bool(_counting(depth))


def _beside(embedding: NDArray[np.floating]) -> float:
    asked, others = (_evenly(len(embedding), most=most) for most in (_ASKED_OF, _LOOKED_AT))
    rows, far = embedding[asked].astype(np.float64), embedding[others].astype(np.float64)
    distance = np.where(np.abs(others - asked[:, None]) <= _REACH, np.inf, cdist(rows, far))
    near = np.full(len(asked), np.inf)
    for place, there in _neighbours(asked, n=len(embedding)):
        gap = np.linalg.norm(embedding[place].astype(np.float64) - rows, axis=1)
        near = np.minimum(near, np.where(there, gap, np.inf))
    return float((near < distance.min(axis=1)).mean())


def _beside_by_chance(obs: pd.DataFrame) -> float:
    """Return the expected share of rows whose nearest is beside them, if it is any that has their label and batch."""
    columns = [obs[key].astype(str) for key in ("label", "batch", "donor", "perturbation") if key in obs]
    kind = pd.factorize(pd.Series(list(zip(*columns, strict=True))))[0] if columns else np.zeros(len(obs), dtype=int)
    asked, others = (_evenly(len(obs), most=most) for most in (_ASKED_OF, _LOOKED_AT))
    is_far = np.abs(others - asked[:, None]) > _REACH
    alike = (is_far & (kind[others] == kind[asked][:, None])).sum(axis=1)
    near = sum((there & (kind[place] == kind[asked])).astype(int) for place, there in _neighbours(asked, n=len(obs)))
    return float(np.mean(near / np.maximum(near + alike, 1)))


def _neighbours(asked: NDArray[np.intp], *, n: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Yield the places at each distance within reach, and which of them there are."""
    for shift in (*range(-_REACH, 0), *range(1, _REACH + 1)):
        place = asked + shift
        yield place.clip(0, n - 1), (place >= 0) & (place < n)


def _expression(cells: AnnData) -> NDArray[np.float64]:
    """Return the logarithm of counts per 10,000 of the genes with most counts ``(n_cells, n_genes)``."""
    total = np.maximum(np.asarray(cells.X.sum(axis=1), dtype=float), 1)
    frequent = np.argsort(-np.asarray(cells.X.sum(axis=0), dtype=float).ravel(), kind="stable")[:_MOST_GENES]
    shares = cells.X[:, frequent].toarray() / total.reshape(-1, 1)
    logs: NDArray[np.float64] = np.log1p(shares * 1e4)
    return logs


def _evenly(n: int, *, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))

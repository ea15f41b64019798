"""What metrics accept: finite matrices, and one category per cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError


def as_matrix(X: ArrayLike, *, name: str = "X") -> NDArray[np.float64]:
    """Return a centred float64 copy of ``X`` ``(n_cells, d)``.

    Every metric here depends on differences only or says otherwise; centring keeps their digits when all cells lie far
    from the origin.

    Raises
    ------
    InvalidInputError
        Not two-dimensional, empty, or not finite.
    """
    matrix = finite_matrix(X, name=name)
    matrix -= matrix.mean(axis=0)
    return matrix


def finite_matrix(X: ArrayLike, *, name: str = "X") -> NDArray[np.float64]:
    """Return a float64 copy of ``X`` ``(n_cells, d)`` as it is; raises as :func:`as_matrix`."""
    matrix = np.array(X, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise InvalidInputError(
            asked=f"{name} with one row per cell", found=f"shape {matrix.shape}", remedy="pass an array (n_cells, d)"
        )
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix).all(axis=1)).sum())
        raise InvalidInputError(
            asked=f"finite {name}",
            found=f"{bad} of {len(matrix)} cells with NaN or infinity",
            remedy="look at these cells in the model's output",
        )
    return matrix


def as_categories(values: ArrayLike, *, n_cells: int, name: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Return codes ``(n_cells,)`` and the sorted names of the categories; numbers are categories too.

    Raises
    ------
    InvalidInputError
        Not exactly one value per cell.
    """
    names = np.asarray(values).astype(str)
    if names.shape != (n_cells,):
        raise InvalidInputError(
            asked=f"{name} of {n_cells} cells", found=f"shape {names.shape}", remedy="pass one value per cell"
        )
    categories, codes = np.unique(names, return_inverse=True)
    return codes.astype(np.int64), categories


def require_several(categories: NDArray[np.str_], *, name: str) -> None:
    """Raise :class:`UndefinedMetricError` unless there are at least two categories of ``name``."""
    if len(categories) < 2:
        raise UndefinedMetricError(f"only one {name}: {', '.join(categories)}")

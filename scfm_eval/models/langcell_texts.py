"""Vectors of labels that LangCell's text encoder made elsewhere, read from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scfm_eval.arrays import read_npz
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import few
from scfm_eval.models.files import refusing
from scfm_eval.trial import require_survived

_REMEDY = "store finite numbers (n_labels, d), never objects, with each label once: .npz (labels, vectors) or .parquet"


def read_text_vectors(path: Path, *, width: int) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Return labels ``(C,)`` and their directions ``(C, d)``, of unit length; nothing in the file is executed.

    Parameters
    ----------
    path
        ``.npz`` with ``labels`` (text) and ``vectors``, or ``.parquet`` whose column ``label``, or index, holds the
        labels and whose other columns are the vectors.
    width
        d, the width of the space that cells are projected into.

    Raises
    ------
    InvalidInputError
        The file is absent, damaged or of another kind; there is no label, one is twice or is empty; vectors are of
        another width, not finite, or zero.
    """
    asked = f"text vectors in {path}"
    with refusing(asked=asked, remedy=_REMEDY):
        labels, vectors = _read_parquet(path) if path.suffix == ".parquet" else _read_npz(path)
    fault = _fault(labels, vectors, width=width)
    if fault:
        raise InvalidInputError(asked=asked, found=fault, remedy=_REMEDY)
    wide = vectors.astype(np.float64)
    return labels.astype(np.str_), wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _read_npz(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    arrays = read_npz(path)
    return arrays["labels"], arrays["vectors"]


def _read_parquet(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    require_survived("parquet", path)
    table = pd.read_parquet(path)
    table = table.set_index("label") if "label" in table else table
    return table.index.to_numpy(), table.to_numpy()


def _fault(labels: NDArray[np.generic], vectors: NDArray[np.generic], *, width: int) -> str:
    """Return what is wrong; empty when nothing is."""
    if labels.ndim != 1 or labels.dtype.kind not in "UO" or not all(isinstance(name, str) and name for name in labels):
        return f"labels of shape {labels.shape} and type {labels.dtype}, or an empty one"
    if vectors.shape != (len(labels), width) or vectors.dtype.kind not in "fiu":
        found = f"vectors of shape {vectors.shape} and type {vectors.dtype}"
        return f"{found} for {len(labels)} labels; the model has {width}"
    names, times = np.unique(labels.astype(str), return_counts=True)
    if (times > 1).any():
        return f"labels that are there twice: {few(list(names[times > 1]))}"
    if len(names) < 2:
        return "fewer than two labels"
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    odd = labels[~((lengths > 0) & np.isfinite(lengths))]
    return f"vectors that are zero or not finite: {few([str(name) for name in odd])}" if len(odd) else ""

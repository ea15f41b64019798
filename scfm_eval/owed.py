"""What a model owes for each thing that it is asked, checked before an answer is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Reconstruction

_SUM_ERROR = 1e-3


def checked(embedding: Any, cells: AnnData, *, name: str) -> NDArray[np.float32]:
    """Return the embedding as float32 once its shape, order, type and finiteness are what a model owes.

    Raises
    ------
    InvalidInputError
        If there is not one finite row per cell.
    GuardError
        If a table's index is not ``cells.obs_names``.
    """
    asked = f"embedding of {cells.n_obs} cells by {name}"
    if isinstance(embedding, pd.DataFrame) and not cells.obs_names.equals(embedding.index):
        guards.refuse(
            "order",
            asked=asked,
            found="a table whose index is not obs_names in their order",
            remedy="reindex it by cells.obs_names",
        )
    array = np.asarray(embedding)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    if array.ndim != 2 or array.shape[0] != cells.n_obs or array.shape[1] == 0 or array.dtype.kind != "f":
        raise InvalidInputError(
            asked=asked,
            found=f"an array of shape {array.shape} and type {array.dtype}",
            remedy="return floats of shape (n_cells, d), one row per cell in the order of obs_names",
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InvalidInputError(
            asked=asked,
            found=f"{bad.sum()} rows with NaN or infinity, first {', '.join(cells.obs_names[bad][:3])}",
            remedy="return finite values, or refuse the cells that cannot be embedded",
        )
    return array


def checked_layers(layers: Any, cells: AnnData, *, name: str) -> list[NDArray[np.float32]]:
    """Return the layers once each is an embedding and all are equally wide; raises ``InvalidInputError``."""
    several = isinstance(layers, (list, tuple)) or (isinstance(layers, np.ndarray) and layers.ndim == 3)
    if not several or len(layers) == 0:
        raise InvalidInputError(
            asked=f"layers of {cells.n_obs} cells by {name}",
            found=f"{type(layers).__name__}" if not several else "no layer",
            remedy="return a list of arrays (n_cells, d), the input embedding first",
        )
    made = [checked(layer, cells, name=name) for layer in layers]
    widths = sorted({layer.shape[1] for layer in made})
    if len(widths) > 1:
        raise InvalidInputError(
            asked=f"layers of {name}",
            found=f"widths {', '.join(map(str, widths))}",
            remedy="return layers of one width",
        )
    return made


def checked_genes(vectors: Any, genes: Sequence[str], *, name: str) -> NDArray[np.float32]:
    """Return vectors ``(n_genes, d)`` as float32; a row is NaN throughout or finite. Raises ``InvalidInputError``."""
    array = np.asarray(vectors)
    asked, remedy = f"vectors of {len(genes)} genes by {name}", "return floats (n_genes, d), NaN for a gene without one"
    if array.ndim != 2 or array.shape[0] != len(genes) or array.shape[1] == 0 or array.dtype.kind != "f":
        raise InvalidInputError(
            asked=asked, found=f"an array of shape {array.shape} and type {array.dtype}", remedy=remedy
        )
    bad = ~(np.isfinite(array).all(axis=1) | np.isnan(array).all(axis=1))
    if bad.any():
        first = ", ".join(gene for gene, wrong in zip(genes, bad, strict=True) if wrong)[:80]
        raise InvalidInputError(asked=asked, found=f"infinite or partly missing vectors of {first}", remedy=remedy)
    return array.astype(np.float32)


def checked_pairs(scores: Any, genes: Sequence[str], *, name: str) -> NDArray[np.float32]:
    """Return scores of ordered pairs ``(n_genes, n_genes)`` as float32, NaN on the diagonal and where there is none.

    Raises
    ------
    InvalidInputError
        The shape is another one, or a score is infinite.
    """
    array = np.asarray(scores)
    fault = "" if array.shape == (len(genes),) * 2 and array.dtype.kind == "f" else f"{array.shape}, {array.dtype}"
    if not fault and np.isinf(array).any():
        fault = f"{int(np.isinf(array).sum())} infinite scores"
    if fault:
        raise InvalidInputError(
            asked=f"scores of ordered pairs of {len(genes)} genes by {name}",
            found=fault,
            remedy="return floats (n_genes, n_genes), NaN for a pair without a score",
        )
    made = array.astype(np.float32)
    np.fill_diagonal(made, np.nan)
    return made


def checked_reconstruction(made: Any, *, n_cells: int, name: str) -> Reconstruction:
    """Return the reconstruction once its parts fit each other and the cells; raises ``InvalidInputError``."""
    fault = "" if isinstance(made, Reconstruction) else f"{type(made).__name__}, which is no Reconstruction"
    if not fault:
        target, cell, layers = (np.asarray(part) for part in (made.target, made.cell, made.layers))
        fault = _reconstruction_fault(target, cell, layers, n_cells=n_cells)
    if fault:
        raise InvalidInputError(
            asked=f"reconstruction of {n_cells} cells by {name}",
            found=fault,
            remedy="return Reconstruction(target (n_values,), cell (n_values,), layers (n_layers, n_values))",
        )
    return Reconstruction(target.astype(np.float32), cell.astype(np.int64), layers.astype(np.float32))


def _reconstruction_fault(target: NDArray[Any], cell: NDArray[Any], layers: NDArray[Any], *, n_cells: int) -> str:
    if target.ndim != 1 or cell.shape != target.shape or layers.ndim != 2 or layers.shape[1:] != target.shape:
        return f"target {target.shape}, cell {cell.shape}, layers {layers.shape}"
    if not len(layers) or not len(target):
        return f"{len(layers)} layers of {len(target)} values"
    if cell.dtype.kind not in "iu" or cell.min() < 0 or cell.max() >= n_cells:
        return f"cells numbered {cell.min()} to {cell.max()}, of type {cell.dtype}"
    if not np.isfinite(target).all() or not np.isfinite(layers).all():
        return "NaN or infinity"
    return ""


def checked_profiles(made: Any, conditions: Sequence[str], *, n_genes: int, name: str) -> NDArray[np.float32]:
    """Return profiles ``(n_conditions, n_genes)`` as float32; raises ``InvalidInputError`` for another shape."""
    array = np.asarray(made)
    if array.shape != (len(conditions), n_genes) or array.dtype.kind != "f":
        raise InvalidInputError(
            asked=f"{len(conditions)} profiles of {n_genes} genes by {name}",
            found=f"an array of shape {array.shape} and type {array.dtype}",
            remedy="leave gene_ids out of the class; return floats (n_conditions, n_genes) in the order of var_names",
        )
    return array.astype(np.float32)


def checked_labels(
    classes: Any, probabilities: Any, *, known: NDArray[np.str_], n_cells: int, name: str
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return classes and probabilities once they are of the labels that were taught; raises ``InvalidInputError``."""
    names, shares = np.asarray(classes), np.asarray(probabilities)
    fault = _labels_fault(names, shares, known=known, n_cells=n_cells)
    if fault:
        raise InvalidInputError(
            asked=f"labels of {n_cells} cells by {name} after fine-tuning",
            found=fault,
            remedy="return the training labels, each once, and probabilities (n_cells, n_classes) that sum to 1",
        )
    return names.astype(np.str_), shares.astype(np.float32)


def checked_own_labels(
    labels: Any, probabilities: Any, *, n_cells: int, name: str
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return labels that a model brings along, and their probabilities; raises ``InvalidInputError``."""
    names, shares = np.asarray(labels), np.asarray(probabilities)
    fault = _labels_fault(names, shares, known=names.astype(np.str_), n_cells=n_cells)
    if fault:
        raise InvalidInputError(
            asked=f"labels of {n_cells} cells by {name}",
            found=fault,
            remedy="return the labels, each once, and probabilities (n_cells, n_labels) that sum to 1",
        )
    return names.astype(np.str_), shares.astype(np.float32)


def _labels_fault(names: NDArray[Any], shares: NDArray[Any], *, known: NDArray[np.str_], n_cells: int) -> str:
    if names.ndim != 1 or names.dtype.kind not in "UO" or len(np.unique(names.astype(str))) != len(names):
        return f"classes of shape {names.shape} and type {names.dtype}, or some of them twice"
    strange = sorted(set(names.astype(str)) - set(known))
    if strange:
        return f"classes that were never taught: {', '.join(strange[:3])}"
    if shares.shape != (n_cells, len(names)) or shares.dtype.kind != "f":
        return f"probabilities of shape {shares.shape} and type {shares.dtype} for {len(names)} classes"
    if not np.isfinite(shares).all() or (shares < 0).any() or np.abs(shares.sum(axis=1) - 1).max() > _SUM_ERROR:
        return "probabilities that are not finite, are negative, or do not sum to 1"
    return ""


def checked_history(history: Any, *, name: str) -> dict[str, Any]:
    """Return what a fine-tuning tells of itself once it can be kept as JSON; raises ``InvalidInputError``."""
    try:
        if not isinstance(history, dict):
            raise TypeError(f"{type(history).__name__}, which is no dictionary")
        json.dumps(history)
    except TypeError as error:
        raise InvalidInputError(
            asked=f"the history of a fine-tuning of {name}",
            found=str(error),
            remedy="return a dictionary of plain numbers, texts and lists",
        ) from error
    return history

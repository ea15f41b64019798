"""Files of embeddings: one row per cell or text, found by a name, in four formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.arrays import read_npy, read_npz
from scfm_eval.bounds import read_text
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import few
from scfm_eval.trial import require_survived

Table = tuple[list[str] | None, NDArray[Any]]


def read_embedding(path: Path, *, key: str = "") -> tuple[pd.Index, NDArray[np.float32]]:
    """Return the names of the rows and the rows ``(n, d)``, checked; half precision becomes float32.

    Parameters
    ----------
    path, key
        ``.h5ad``: key names the array in ``obsm``. ``.npz``: key names the array, ids are ``cell_ids``; without key
        ``embedding``, or the only two-dimensional array. ``.npy``: key is the file of ids, one a line,
        ``<stem>.ids.txt`` without. ``.parquet``: ids are the column ``cell_id`` or the index.

    Raises
    ------
    InvalidInputError
        The key is absent, ids repeat or are not as many as rows, or a value is not a finite number.
    GuardError
        There are no ids. Without the guard ``order``, the names of the rows are their numbers then, a ``RangeIndex``.
    """
    try:
        ids, rows = _READERS[path.suffix](path, key)
    except InvalidInputError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        objects = "; ids are text: cell_ids=adata.obs_names.to_numpy(dtype=str)" if "pickle" in str(error) else ""
        raise _refuse(path, key, f"{type(error).__name__}: {error}{objects}") from error
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "fiu":
        raise _refuse(path, key, f"an array of shape {rows.shape} and type {rows.dtype}, not numbers (n_cells, d)")
    if ids is not None and len(ids) != len(rows):
        raise _refuse(path, key, f"{len(ids)} ids for {len(rows)} rows")
    index = pd.RangeIndex(len(rows)) if ids is None else pd.Index(ids, dtype=str)
    if not index.is_unique:
        raise _refuse(path, key, f"ids that occur more than once: {few(list(index[index.duplicated()].unique()))}")
    made = rows.astype(np.float32)
    broken = index[~np.isfinite(made).all(axis=1)]
    if len(broken):
        raise _refuse(path, key, f"values that are not finite in {len(broken)} rows: {few(list(broken))}")
    return index, made


def find_rows(index: pd.Index, names: pd.Index, *, path: Path, remedy: str) -> NDArray[np.intp]:
    """Return the place of each name in the index of a file of embeddings, ``(n_names,)``.

    Raises
    ------
    InvalidInputError
        The file has no row of a name.
    """
    place = index.get_indexer(names.astype(str))
    absent = names[place < 0]
    if len(absent):
        raise InvalidInputError(
            asked=f"rows of {len(names)} cells in {path}",
            found=f"none for {len(absent)} of them: {few(list(absent))}; the file names cells like {few(list(index))}",
            remedy=remedy,
        )
    return np.asarray(place, dtype=np.intp)


def ids_file(path: Path, key: str) -> Path:
    """Return the file of ids that belongs to an ``.npy`` file."""
    return path.parent / key if key else path.with_suffix(".ids.txt")


def _read_h5ad(path: Path, key: str) -> Table:
    import h5py
    from anndata.io import read_elem

    require_survived("hdf5", path)
    with h5py.File(path) as file:
        found = list(file["obsm"]) if "obsm" in file else []
        if key not in found:
            raise _refuse(path, key, f"obsm with {', '.join(found) or 'nothing'}")
        rows = read_elem(file["obsm"][key])
        ids = read_elem(file["obs"]).index
    return list(map(str, ids)), rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


def _read_npz(path: Path, key: str) -> Table:
    arrays = read_npz(path)
    ids = [name for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "US"]
    rows = [name for name, array in arrays.items() if array.ndim == 2]
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    chosen_rows, chosen_ids = _choose(rows, key or "embedding"), _choose(ids, "cell_ids")
    if chosen_rows is None or (ids and chosen_ids is None) or (key and chosen_rows != key):
        raise _refuse(path, key, f"arrays {shapes}: which one holds the rows or the ids is not clear")
    if chosen_ids is None:
        _refuse_without_ids(path, key, f"arrays {shapes}: which one holds the rows or the ids is not clear")
        return None, arrays[chosen_rows]
    return list(map(str, arrays[chosen_ids].astype(str))), arrays[chosen_rows]


def _choose(names: Sequence[str], preferred: str) -> str | None:
    if preferred in names:
        return preferred
    return names[0] if len(names) == 1 else None


def _read_npy(path: Path, key: str) -> Table:
    ids = ids_file(path, key)
    if not ids.is_file():
        _refuse_without_ids(path, key, f"no ids in {ids}")
        return None, read_npy(path)
    return read_text(ids).splitlines(), read_npy(path)


def _read_parquet(path: Path, key: str) -> Table:
    require_survived("parquet", path)
    table = pd.read_parquet(path)
    if key:
        raise _refuse(path, key, "a table, which has no key")
    table = table.set_index("cell_id") if "cell_id" in table else table
    if isinstance(table.index, pd.RangeIndex):
        _refuse_without_ids(path, key, "neither a column cell_id nor an index of names")
        return None, table.to_numpy()
    return list(map(str, table.index)), table.to_numpy()


_READERS = {".h5ad": _read_h5ad, ".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}

SUFFIXES = tuple(_READERS)
"""How the names of files of embeddings end."""


def _refuse_without_ids(path: Path, key: str, found: str) -> None:
    refusal = _refuse(path, key, found)
    guards.refuse("order", asked=refusal.asked, found=refusal.found, remedy=refusal.remedy)


def _refuse(path: Path, key: str, found: str) -> InvalidInputError:
    return InvalidInputError(
        asked=f"the embedding {key or '(no key)'} in {path}",
        found=found,
        remedy="store finite numbers (n_cells, d), never objects, with one unique id per row",
    )

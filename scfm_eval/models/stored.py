"""Embeddings that somebody already has, as a model: rows are found by the names of the cells, never by position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.checkpoint import few
from scfm_eval.timing import phase

Table = tuple[list[str], NDArray[Any]]


class StoredEmbedding:
    """An embedding in a file; :func:`stored_embedding` makes the class of one file."""

    name: ClassVar[str]
    role: ClassVar[str] = "model"
    revision: ClassVar[str]
    weights_sha256: ClassVar[str]
    gene_ids: ClassVar[None] = None
    path: ClassVar[Path]
    key: ClassVar[str]

    def __init__(self) -> None:
        with phase("load"):
            self._row, self._rows = read_embedding(self.path, key=self.key)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the stored row of each cell ``(n_cells, d)``, found by ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            The file has no row of a cell.
        """
        place = self._row.get_indexer(cells.obs_names.astype(str))
        absent = cells.obs_names[place < 0]
        if len(absent):
            raise InvalidInputError(
                asked=f"rows of {cells.n_obs} cells in {self.path}",
                found=f"none for {len(absent)} of them: {few(list(absent))}; "
                f"the file names cells like {few(list(self._row))}",
                remedy="store one row per cell of the dataset under the dataset's own obs_names",
            )
        return self._rows[place]


def stored_embedding(spec: str) -> type[StoredEmbedding]:
    """Return the class of one stored embedding.

    Parameters
    ----------
    spec
        ``FILE`` or ``FILE:KEY``. ``.h5ad``: KEY names the array in ``obsm``. ``.npz``: KEY names the array, ids are
        ``cell_ids``; without KEY ``embedding``, or the only two-dimensional array. ``.npy``: KEY is the file of ids,
        one a line, ``<stem>.ids.txt`` without. ``.parquet``: ids are the column ``cell_id`` or the index.

    Raises
    ------
    InvalidInputError
        The file is not there or is of another kind.
    """
    path, key = (Path(spec), "") if Path(spec).exists() else _split(spec)
    if not path.is_file() or path.suffix not in _READERS:
        raise InvalidInputError(
            asked=f"the stored embedding {spec}",
            found="no such file" if not path.is_file() else f"a {path.suffix or 'nameless'} file",
            remedy=f"give FILE or FILE:KEY where FILE ends in {', '.join(_READERS)}",
        )
    sha256 = checkpoint.weights_sha256([path, *_companions(path, key)])
    name = "-".join(part for part in (path.stem, "" if path.suffix == ".npy" else key) if part)
    card = {"name": name, "revision": sha256, "weights_sha256": sha256, "path": path, "key": key}
    return type("StoredEmbedding", (StoredEmbedding,), {**card, "__doc__": f"The embedding in {spec}."})


def read_embedding(path: Path, *, key: str = "") -> tuple[pd.Index, NDArray[np.float32]]:
    """Return the names of the cells and their rows ``(n, d)``, checked; half precision becomes float32.

    Parameters
    ----------
    path, key
        See :func:`stored_embedding`.

    Raises
    ------
    InvalidInputError
        The key is absent, ids repeat or are not as many as rows, or a value is not a finite number.
    """
    try:
        ids, rows = _READERS[path.suffix](path, key)
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        if isinstance(error, InvalidInputError):
            raise
        objects = "; ids are text: cell_ids=adata.obs_names.to_numpy(dtype=str)" if "pickle" in str(error) else ""
        raise _refuse(path, key, f"{type(error).__name__}: {error}{objects}") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise _refuse(path, key, f"an array of shape {rows.shape} and type {rows.dtype}, not numbers (n_cells, d)")
    if len(ids) != len(rows):
        raise _refuse(path, key, f"{len(ids)} ids for {len(rows)} rows")
    index = pd.Index(ids, dtype=str)
    if not index.is_unique:
        raise _refuse(path, key, f"ids that occur more than once: {few(list(index[index.duplicated()].unique()))}")
    made = rows.astype(np.float32)
    broken = index[~np.isfinite(made).all(axis=1)]
    if len(broken):
        raise _refuse(path, key, f"values that are not finite in {len(broken)} rows: {few(list(broken))}")
    return index, made


def _read_h5ad(path: Path, key: str) -> Table:
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file:
        found = list(file["obsm"]) if "obsm" in file else []
        if key not in found:
            raise _refuse(path, key, f"obsm with {', '.join(found) or 'nothing'}")
        rows = read_elem(file["obsm"][key])
        ids = read_elem(file["obs"]).index
    return list(map(str, ids)), rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


def _read_npz(path: Path, key: str) -> Table:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    ids = [name for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "US"]
    rows = [name for name, array in arrays.items() if array.ndim == 2]
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    chosen_rows, chosen_ids = _choose(rows, key or "embedding"), _choose(ids, "cell_ids")
    if chosen_rows is None or chosen_ids is None or (key and chosen_rows != key):
        raise _refuse(path, key, f"arrays {shapes}: which one holds the rows or the ids is not clear")
    return list(map(str, arrays[chosen_ids].astype(str))), arrays[chosen_rows]


def _choose(names: Sequence[str], preferred: str) -> str | None:
    if preferred in names:
        return preferred
    return names[0] if len(names) == 1 else None


def _read_npy(path: Path, key: str) -> Table:
    ids = _ids_file(path, key)
    if not ids.is_file():
        raise _refuse(path, key, f"no ids in {ids}")
    return ids.read_text(encoding="utf-8").splitlines(), np.load(path, allow_pickle=False)


def _read_parquet(path: Path, key: str) -> Table:
    table = pd.read_parquet(path)
    if key:
        raise _refuse(path, key, "a table, which has no key")
    table = table.set_index("cell_id") if "cell_id" in table else table
    if isinstance(table.index, pd.RangeIndex):
        raise _refuse(path, key, "neither a column cell_id nor an index of names")
    return list(map(str, table.index)), table.to_numpy()


_READERS = {".h5ad": _read_h5ad, ".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}


def _split(spec: str) -> tuple[Path, str]:
    file, _, key = spec.rpartition(":")
    return (Path(file), key) if file else (Path(spec), "")


def _ids_file(path: Path, key: str) -> Path:
    return path.parent / key if key else path.with_suffix(".ids.txt")


def _companions(path: Path, key: str) -> list[Path]:
    ids = _ids_file(path, key)
    return [ids] if path.suffix == ".npy" and ids.is_file() else []


def _refuse(path: Path, key: str, found: str) -> InvalidInputError:
    return InvalidInputError(
        asked=f"the embedding {key or '(no key)'} in {path}",
        found=found,
        remedy="store finite numbers (n_cells, d), never objects, with one unique id per row",
    )

"""Embeddings that somebody already has, as a model: rows are found by the names of the cells, never by position."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.embedding_files import SUFFIXES, find_rows, ids_file, read_embedding
from scfm_eval.timing import phase


class StoredEmbedding:
    """An embedding in a file; :func:`stored_embedding` makes the class of one file."""

    name: ClassVar[str]
    role: ClassVar[str] = "model"
    revision: ClassVar[str]
    weights_sha256: ClassVar[str]
    gene_ids: ClassVar[None] = None
    exceptions: ClassVar[dict[str, str]] = {
        "the_class_can_be_pickled": "it is made of a file: another process makes it of the same file"
    }
    matches_by_id: ClassVar[bool] = True
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
            The file has no row of a cell, or has no ids and another number of rows.
        """
        if isinstance(self._row, pd.RangeIndex):
            return self._by_place(cells)
        remedy = "store one row per cell of the dataset under the dataset's own obs_names"
        return self._rows[find_rows(self._row, cells.obs_names, path=self.path, remedy=remedy)]

    def _by_place(self, cells: AnnData) -> NDArray[np.float32]:
        if len(self._rows) == cells.n_obs:
            return self._rows
        raise InvalidInputError(
            asked=f"rows of {cells.n_obs} cells in {self.path}, by their place",
            found=f"{len(self._rows)} rows and no ids",
            remedy="store one row per cell of the dataset under the dataset's own obs_names",
        )


def stored_embedding(spec: str) -> type[StoredEmbedding]:
    """Return the class of one stored embedding.

    Parameters
    ----------
    spec
        ``FILE`` or ``FILE:KEY``; what KEY is, :func:`~scfm_eval.models.embedding_files.read_embedding` says.

    Raises
    ------
    InvalidInputError
        The file is not there or is of another kind.
    """
    path, key = (Path(spec), "") if Path(spec).exists() else _split(spec)
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise InvalidInputError(
            asked=f"the stored embedding {spec}",
            found="no such file" if not path.is_file() else f"a {path.suffix or 'nameless'} file",
            remedy=f"give FILE or FILE:KEY where FILE ends in {', '.join(SUFFIXES)}",
        )
    sha256 = checkpoint.weights_sha256([path, *_companions(path, key)])
    name = "-".join(part for part in (path.stem, "" if path.suffix == ".npy" else key) if part)
    card = {"name": name, "revision": sha256, "weights_sha256": sha256, "path": path, "key": key}
    return type("StoredEmbedding", (StoredEmbedding,), {**card, "__doc__": f"The embedding in {spec}."})


def _split(spec: str) -> tuple[Path, str]:
    file, _, key = spec.rpartition(":")
    return (Path(file), key) if file else (Path(spec), "")


def _companions(path: Path, key: str) -> list[Path]:
    ids = ids_file(path, key)
    return [ids] if path.suffix == ".npy" and ids.is_file() else []

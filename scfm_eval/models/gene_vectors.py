"""Tables of gene vectors: one row per gene, in the forms in which they are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scfm_eval.arrays import read_npz
from scfm_eval.bounds import ordinary, require_room
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import few, read_dictionary
from scfm_eval.models.files import refusing
from scfm_eval.trial import require_survived

Rows = tuple[Sequence[str], Sequence[Any]]

_FIRST = ("", "gene", "genes", "symbol", "gene_name")
_GROWS = 32  # bytes in memory of a byte of a table of numbers, at most
_REMEDY = "give one vector of finite numbers per gene, all of one length, each gene once"


@dataclass(frozen=True, eq=False)
class GeneVectors:
    """A table of gene vectors.

    Parameters
    ----------
    genes
        Names of the genes that have a vector, ``(n_genes,)``, each once, in the order of the file.
    vectors
        Their vectors, float32 ``(n_genes, d)``, finite, none of them zero throughout.
    without
        Names that the file lists with a vector of zeros, as tables of text embeddings do for a gene without a text.
    """

    genes: list[str]
    vectors: NDArray[np.float32]
    without: list[str]


def read_gene_vectors(path: Path) -> GeneVectors:
    """Return the table in a file; nothing in it is executed.

    Parameters
    ----------
    path
        ``.pickle``, ``.pkl``, ``.json``: a dictionary of gene to a list or array ``(d,)`` or ``(1, d)``. ``.npz``: the
        names ``genes`` and their ``vectors`` ``(n_genes, d)``. ``.parquet``: one row per gene, whose name is in the
        column ``gene`` or the index. ``.txt``, ``.csv``, ``.tsv``: a gene and its numbers on each line, with blanks,
        tabs or commas between, after a line of names of columns or, as word2vec writes it, of the numbers of genes and
        of dimensions, or after none.

    Raises
    ------
    InvalidInputError
        The file cannot be read, a gene occurs twice or has no name, lengths differ, a value is no finite number, or
        every vector is zero.
    """
    read = _READERS.get(path.suffix)
    if read is None:
        raise _refuse(
            path, f"a {path.suffix or 'nameless'} file", remedy=f"give a file ending in {', '.join(SUFFIXES)}"
        )
    with refusing(asked=f"the gene vectors in {path}", remedy=_REMEDY):
        genes, rows = read(path)
    names = [str(gene) for gene in genes]
    _check_names(names, path=path)
    vectors = _stacked(names, rows, path=path)
    told: NDArray[np.bool_] = (vectors != 0).any(axis=1)
    if not told.any():
        raise _refuse(path, f"{len(names)} genes, none with a vector other than zeros")
    return GeneVectors(
        [gene for gene, known in zip(names, told, strict=True) if known],
        vectors[told],
        [gene for gene, known in zip(names, told, strict=True) if not known],
    )


def _check_names(names: list[str], *, path: Path) -> None:
    if not all(names):
        raise _refuse(path, f"a gene without a name in row {names.index('') + 1}")
    twice = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(twice):
        raise _refuse(path, f"genes that occur more than once: {few(list(twice))}")


def _stacked(names: list[str], rows: Sequence[Any], *, path: Path) -> NDArray[np.float32]:
    made = [_row(row) for row in rows]
    wrong = [gene for gene, row in zip(names, made, strict=True) if row is None]
    if wrong:
        raise _refuse(path, f"no list of finite numbers for {len(wrong)} genes: {few(wrong)}")
    widths = [len(row) for row in made if row is not None]
    others = [f"{gene} ({width})" for gene, width in zip(names, widths, strict=True) if width != widths[0]]
    if others:
        raise _refuse(path, f"vectors of another length than {widths[0]}, that of {names[0]}: {few(others)}")
    return np.stack([row for row in made if row is not None])


def _row(value: Any) -> NDArray[np.float32] | None:
    """Return a vector; ``None`` for anything else, also for numbers that float32 cannot hold."""
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    flat = array[0] if array.ndim == 2 and len(array) == 1 else array
    if flat.ndim != 1 or not len(flat) or flat.dtype.kind not in "fiu":
        return None
    with np.errstate(over="ignore"):
        made = flat.astype(np.float32)
    return made if np.isfinite(made).all() else None


def _read_dictionary(path: Path) -> Rows:
    table: Mapping[str, Any] = read_dictionary(path)
    strange = [repr(gene) for gene in table if not isinstance(gene, str)]
    if strange:
        raise _refuse(path, f"names that are no text: {few(strange)}")
    if not table:
        raise _refuse(path, "an empty dictionary")
    return list(table), list(table.values())


def _read_npz(path: Path) -> Rows:
    arrays = read_npz(path)
    genes, vectors = arrays.get("genes"), arrays.get("vectors")
    if genes is None or vectors is None or genes.ndim != 1 or vectors.ndim != 2 or len(genes) != len(vectors):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise _refuse(path, f"{shapes}, not genes (n_genes,) and vectors (n_genes, d)")
    return genes.astype(str).tolist(), list(vectors)


def _read_parquet(path: Path) -> Rows:
    require_survived("parquet", path)
    table = pd.read_parquet(path)
    table = table.set_index("gene") if "gene" in table else table
    if isinstance(table.index, pd.RangeIndex):
        raise _refuse(path, "neither a column gene nor an index of names")
    return [str(gene) for gene in table.index], list(table.to_numpy())


def _read_text(path: Path) -> Rows:
    require_room(ordinary(path).stat().st_size * _GROWS, path=path)
    with path.open(encoding="utf-8") as file:
        lines = (fields for fields in map(_fields, file) if fields)
        first = next(lines, None)
        if first is None:
            raise _refuse(path, "an empty file")
        stated = _stated(first)
        rows = list(lines if stated or _is_heading(first) else chain([first], lines))
    if not rows:
        raise _refuse(path, "no gene")
    genes, vectors = [row[0] for row in rows], list(_numbers(rows, path=path))
    if stated and stated != (len(genes), len(vectors[0])):
        raise _refuse(path, f"{len(genes)} genes where its first line states {stated[0]} of length {stated[1]}")
    return genes, vectors


def _fields(line: str) -> list[str]:
    line = line.rstrip()
    return [field.strip().strip('"') for field in line.split(",")] if "," in line else line.split()


def _stated(fields: list[str]) -> tuple[int, int] | None:
    """Return how many genes and dimensions a first line states; ``None`` for another line."""
    if len(fields) == 2 and all(field.isdecimal() for field in fields):
        return int(fields[0]), int(fields[1])
    return None


def _is_heading(fields: list[str]) -> bool:
    return fields[0].lower() in _FIRST


def _numbers(rows: list[list[str]], *, path: Path) -> Iterator[NDArray[np.float64]]:
    for row in rows:
        try:
            yield np.array(row[1:], dtype=np.float64)
        except ValueError as error:
            raise _refuse(path, f"something else than numbers after {row[0]}: {error}") from error


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".pickle": _read_dictionary,
    ".pkl": _read_dictionary,
    ".json": _read_dictionary,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".txt": _read_text,
    ".csv": _read_text,
    ".tsv": _read_text,
}

SUFFIXES = tuple(_READERS)
"""How the names of tables of gene vectors end."""


def _refuse(path: Path, found: str, *, remedy: str = _REMEDY) -> InvalidInputError:
    return InvalidInputError(asked=f"the gene vectors in {path}", found=found, remedy=remedy)

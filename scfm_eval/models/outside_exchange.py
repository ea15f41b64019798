"""What goes to an outside model and what comes back: arrays and names in files, matched by name and never by place."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.models.counts import csr_counts

_SHOWN = 5


class UnusableAnswerError(Exception):
    """What a child process wrote is no answer to what it was asked; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What a child process wrote.

    Parameters
    ----------
    ids
        Names, as the child wrote them.
    arrays
        What belongs to them.
    facts
        ``host_bytes``, ``device_bytes`` and ``n_parameters``, each a number or ``None``.
    """

    ids: list[str]
    arrays: list[NDArray[Any]]
    facts: dict[str, Any]


def write_request(folder: Path, cells: AnnData | None, **request: Any) -> Path:
    """Write counts and names of ``cells`` and the request into ``folder``, and return the file of the request."""
    if cells is not None:
        counts = csr_counts(cells)
        for name in ("data", "indices", "indptr"):
            np.save(folder / f"{name}.npy", getattr(counts, name), allow_pickle=False)
        names = {
            "cell_ids": list(map(str, cells.obs_names)),
            "gene_ids": list(map(str, cells.var_names)),
            "batch": list(map(str, cells.obs["batch"])) if "batch" in cells.obs else None,
        }
        (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")
    file = folder / "request.json"
    file.write_text(json.dumps({"has_cells": cells is not None, **request}), encoding="utf-8")
    return file


def read_answer(folder: Path) -> Answer:
    """Return what the child left in ``folder``; nothing in it is executed.

    Raises
    ------
    UnusableAnswerError
        There is nothing, or it cannot be read.
    """
    place = folder / "result"
    if not place.is_dir():
        raise UnusableAnswerError("it ended without a fault, and wrote nothing")
    try:
        strange = [file.name for file in place.iterdir() if not file.is_file() or file.is_symlink()]
        if strange:
            raise ValueError(f"{strange[0]} is no ordinary file")
        said = json.loads((place / "result.json").read_text(encoding="utf-8"))
        arrays = [np.load(place / f"{i}.npy", allow_pickle=False) for i in range(int(said["n_arrays"]))]
        facts = {name: _number(said["facts"].get(name)) for name in ("host_bytes", "device_bytes", "n_parameters")}
        return Answer([str(name) for name in said["ids"]], arrays, facts)
    except Exception as error:
        # a stranger's files can raise nearly anything: a header of terabytes, brackets that never end
        raise UnusableAnswerError(f"what it wrote cannot be read: {type(error).__name__}: {error}") from error


def rows_of(ids: Sequence[str], rows: NDArray[Any], *, asked: Sequence[str], kind: str) -> NDArray[np.float32]:
    """Return finite rows ``(n_asked, d)`` in the order of ``asked``, found by name.

    Parameters
    ----------
    ids, rows
        Names and rows ``(n, d)`` as they were written.
    asked
        Names that were asked for.
    kind
        What the names are of, for the message.

    Raises
    ------
    UnusableAnswerError
        The names are not those that were asked for, each once, or rows are not as many finite numbers.
    """
    checked_rows(ids, rows, kind=kind)
    _check_names(ids, asked, kind=kind, all_of_them=True)
    return rows[pd.Index(ids).get_indexer(pd.Index(asked))].astype(np.float32)


def known_rows_of(ids: Sequence[str], rows: NDArray[Any], *, asked: Sequence[str], kind: str) -> NDArray[np.float32]:
    """Return rows as :func:`rows_of` does, NaN for a name that was left out."""
    checked_rows(ids, rows, kind=kind)
    _check_names(ids, asked, kind=kind, all_of_them=False)
    made = np.full((len(asked), rows.shape[1]), np.nan, dtype=np.float32)
    made[pd.Index(asked).get_indexer(pd.Index(ids))] = rows
    return made


def checked_rows(ids: Sequence[str], rows: NDArray[Any], *, kind: str) -> None:
    """Raise ``UnusableAnswerError`` unless there is one row of finite numbers for each name."""
    if rows.ndim != 2 or rows.shape[0] != len(ids) or rows.shape[1] == 0 or rows.dtype.kind != "f":
        raise UnusableAnswerError(f"{len(ids)} names of {kind}s with an array of shape {rows.shape}, type {rows.dtype}")
    with np.errstate(over="ignore"):
        infinite = {int(row) for row in np.argwhere(~np.isfinite(rows.astype(np.float32)))[:, 0]}
    bad = [name for row, name in enumerate(ids) if row in infinite]
    if bad:
        raise UnusableAnswerError(f"NaN, infinity or more than float32 in the rows of {len(bad)} {kind}s: {_few(bad)}")


def places_of(ids: Sequence[str], *, asked: Sequence[str], kind: str) -> NDArray[np.int64]:
    """Return the place of each name among ``asked``; raises ``UnusableAnswerError`` for one that is not there."""
    _refuse_strange(ids, asked, kind=kind)
    return pd.Index(asked).get_indexer(pd.Index(ids)).astype(np.int64)


def _check_names(ids: Sequence[str], asked: Sequence[str], *, kind: str, all_of_them: bool) -> None:
    _refuse_strange(ids, asked, kind=kind)
    twice = [name for name, n in Counter(ids).items() if n > 1]
    if twice:
        raise UnusableAnswerError(f"{len(twice)} {kind}s more than once: {_few(twice)}")
    given = set(ids)
    missing = [name for name in asked if name not in given] if all_of_them else []
    if missing:
        raise UnusableAnswerError(f"no row for {len(missing)} of {len(asked)} {kind}s: {_few(missing)}")


def _refuse_strange(ids: Sequence[str], asked: Sequence[str], *, kind: str) -> None:
    wanted = set(asked)
    strange = [name for name in ids if name not in wanted]
    if strange:
        raise UnusableAnswerError(f"{len(strange)} {kind}s that it was not given: {_few(strange)}")


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

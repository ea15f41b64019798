"""How scFoundation reads a cell: its expressed genes with their log-normalised values, and two tokens of depth.

T says to which depth of sequencing the cell is to be brought, S what its own depth is, both as decimal logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.bounds import ordinary
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import pretrained
from scfm_eval.models.batching import refuse_unread
from scfm_eval.models.counts import aligned_counts, csr_counts
from scfm_eval.models.files import refusing
from scfm_eval.models.options import require_known

InputType = Literal["singlecell", "bulk"]
PreNormalized = Literal["F", "T", "A"]
Pooling = Literal["all", "max"]
Sentence = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Places and values of a cell's expressed genes in the order of the gene list, then those of T and of S."""

N_DEPTH = 2
"""Tokens that are no genes, T and S, at the end of each sentence."""
_PUBLISHED = {19_264: ("scFoundation", "0702cd8a7f8f38e4cad66db3ee19b58077e71d4abfc73f79a4042c453345b3fd")}
_SCALE = 1e4
_NO_PLACE = ""


@dataclass(frozen=True)
class Reading:
    """How the matrix of the cells is understood.

    Parameters
    ----------
    tgthighres
        T of single cells: ``"t4"`` is 4, ``"f2.5"`` the logarithm of 2.5 times the total, ``"a5"`` is S + 5.
    input_type
        Single cells, or bulk, in which T and S are one.
    pre_normalized
        ``"F"`` for raw counts. ``"T"`` takes values as they are, and S from their sum, which is not a depth. ``"A"``
        takes them as they are, and the total count from the last column.
    bulk_target
        Total that raw bulk counts are scaled to; ``"median"`` is that of the samples of the call.

    Raises
    ------
    InvalidInputError
        An option has no meaning, alone or with the others.
    """

    tgthighres: str = "t4"
    input_type: InputType = "singlecell"
    pre_normalized: PreNormalized = "F"
    bulk_target: float | Literal["median"] = _SCALE

    def __post_init__(self) -> None:
        require_known("input_type", self.input_type, known=get_args(InputType))
        known = get_args(PreNormalized) if self.input_type == "singlecell" else ("F", "T")
        said = f"pre_normalized {self.pre_normalized!r} for {self.input_type}"
        _require(self.pre_normalized in known, said, f"one of {', '.join(known)}")
        usable = self.bulk_target == "median" or (
            isinstance(self.bulk_target, int | float) and 0 < self.bulk_target < math.inf
        )
        _require(usable, f"bulk_target {self.bulk_target!r}", "a positive number, or 'median'")
        self._depth()

    def target(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return T of single cells with these totals ``(n_cells,)``."""
        kind, number = self._depth()
        if kind == "t":
            return np.full(len(total), number)
        target: NDArray[np.float64] = np.log10(total * number) if kind == "f" else np.log10(total) + number
        return target

    def _depth(self) -> tuple[str, float]:
        kind, number = str(self.tgthighres)[:1], math.nan
        with suppress(ValueError):
            number = float(str(self.tgthighres)[1:])
        usable = kind in ("t", "f", "a") and math.isfinite(number) and (kind != "f" or number > 0)
        _require(usable, f"tgthighres {self.tgthighres!r}", "t, f or a and a number, as in t4, f2.5 or a5")
        return kind, number


def _require(usable: bool, asked: str, meant: str) -> None:
    if not usable:
        raise InvalidInputError(asked=asked, found="an option without meaning", remedy=f"give {meant}")


def read_genes(path: Path) -> tuple[str, ...]:
    """Return the gene symbols of the list that comes with the code, in its order.

    Raises
    ------
    InvalidInputError
        The file is absent or damaged, its columns are not ``gene_name`` and ``index``, a symbol is there twice, or
        the indices do not count from 0.
    GuardError
        There are as many genes as in the published list, but others or in another order.
    """
    remedy = "use OS_scRNA_gene_index.19264.tsv of the pinned release"
    with refusing(asked=f"the gene list {path}", remedy=remedy):
        # NA and the like are no missing values here but could be symbols
        table = pd.read_csv(ordinary(path), sep="\t", dtype={"gene_name": str}, keep_default_na=False)
        genes, index = table["gene_name"].tolist(), table["index"].tolist()
    if not genes or len(set(genes)) < len(genes) or index != list(range(len(genes))):
        raise InvalidInputError(
            asked=f"symbols in {path}, each once, in the order of their indices",
            found="symbols that are there twice, or indices that do not count from 0" if genes else "no symbol",
            remedy=remedy,
        )
    pretrained.require_published(genes, published=_PUBLISHED, path=path)
    return tuple(genes)


def sentences(cells: AnnData, *, order: Sequence[str], reading: Reading) -> list[Sentence]:
    """Return the sentence of each cell; of length "expressed genes + 2".

    T and S are always there, whatever their values are. Genes are ``var["gene_name"]`` where that column exists, else
    ``var_names``, and are found by name.

    Parameters
    ----------
    cells
        Not changed.
    order
        Symbols of the model's genes ``(n_order,)``.
    reading
        How ``cells.X`` is understood.

    Raises
    ------
    InvalidInputError
        A cell has no gene that the model can read, or a total that is not positive; or a gene has several columns.
    """
    names = [str(gene) for gene in cells.var.get("gene_name", cells.var_names)]
    given = None
    if reading.pre_normalized == "A":
        given = csr_counts(cells)[:, -1].toarray().ravel().astype(np.float64)
        names[-1] = _NO_PLACE
    values = aligned_counts(cells, genes=names, order=order).astype(np.float64)
    total = given if given is not None else np.asarray(values.sum(axis=1), dtype=np.float64).ravel()
    values.data[values.data <= 0] = 0
    values.eliminate_zeros()
    refuse_unread(np.diff(values.indptr), names=list(cells.obs_names))
    _refuse_totals(total, names=list(cells.obs_names))
    depth = _bulk_depth if reading.input_type == "bulk" else _single_cell_depth
    return _split(values, depth(values, total, reading))


def _refuse_totals(total: NDArray[np.float64], *, names: Sequence[str]) -> None:
    strange = [name for name, one in zip(names, total, strict=True) if not 0 < one < math.inf]
    if strange:
        raise InvalidInputError(
            asked=f"the depth of each of {len(names)} cells",
            found=f"{len(strange)} cells whose total is not positive: {', '.join(strange[:5])}",
            remedy="give raw counts and pre_normalized='F', or totals as the last column and 'A'",
        )


def _single_cell_depth(values: sparse.csr_matrix, total: NDArray[np.float64], reading: Reading) -> NDArray[np.float64]:
    """Normalise raw counts in place, and return T and S ``(n_cells, 2)``."""
    if reading.pre_normalized == "F":
        _normalise(values, total, scale=_SCALE)
    return np.stack([reading.target(total), np.log10(total)], axis=1)


def _bulk_depth(values: sparse.csr_matrix, total: NDArray[np.float64], reading: Reading) -> NDArray[np.float64]:
    """Normalise raw counts in place, and return T and S ``(n_cells, 2)``, which are one."""
    if reading.pre_normalized == "F":
        scale = float(np.median(total)) if reading.bulk_target == "median" else float(reading.bulk_target)
        _normalise(values, total, scale=scale)
        total = np.log10(np.asarray(values.sum(axis=1)).ravel())
    return np.stack([total, total], axis=1)


def _normalise(values: sparse.csr_matrix, total: NDArray[np.float64], *, scale: float) -> None:
    values.data = np.log1p(values.data / np.repeat(total, np.diff(values.indptr)) * scale)


def _split(values: sparse.csr_matrix, depth: NDArray[np.float64]) -> list[Sentence]:
    at_end = values.shape[1] + np.arange(N_DEPTH)
    rows = zip(values.indptr[:-1], values.indptr[1:], depth, strict=True)
    return [
        (
            np.concatenate([values.indices[a:b], at_end]).astype(np.int64),
            np.concatenate([values.data[a:b], own]).astype(np.float32),
        )
        for a, b, own in rows
    ]

"""The view that a model is given: raw counts in its own gene namespace, the batch, and nothing to peek at."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.datasets.genes import HALF, Resolution, looks_ensembl, resolve
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import GeneIds
from scfm_eval.results import OrthologRecord

_COLUMN: dict[GeneIds, str] = {"symbol": "symbol", "ensembl": "ensembl_id"}


@dataclass(frozen=True)
class Readable:
    """What a model can read of a dataset.

    Parameters
    ----------
    genes, counts
        Share of the genes and of all counts that reach the model, 0 to 1.
    n_genes
        Genes (columns) of the view.
    ambiguous
        Genes whose name stands for several and that were left out.
    merged
        Genes whose counts were added to another gene of the same id.
    hint
        What to look at when little is readable; empty when nothing strikes.
    orthologs
        What became of the genes of another organism; ``None`` where they were read as they are.
    """

    genes: float
    counts: float
    n_genes: int
    ambiguous: list[str] = field(default_factory=list)
    merged: int = 0
    hint: str = ""
    orthologs: OrthologRecord | None = None


def view(
    cells: AnnData,
    *,
    gene_ids: GeneIds | None,
    source_gene_ids: GeneIds,
    vocabulary: Collection[str] | None = None,
    keep: tuple[str, ...] = ("batch",),
    read_as: pd.DataFrame | None = None,
) -> tuple[AnnData, Readable]:
    """Return what a model is given of ``cells``, and how much of them it can read.

    Genes are renamed to the model's namespace, by the file's own second gene column where it has one, else (and where
    that name cannot be read) by the packaged gene table. Genes that the model cannot read are left out, and the counts
    of genes that get the same id are added up.

    Parameters
    ----------
    cells
        Cells in canonical form; not changed.
    gene_ids
        Namespace that the model reads; ``None`` leaves the genes as they are.
    source_gene_ids
        Namespace of ``cells.var_names``.
    vocabulary
        Gene ids that the model can read; ``None`` when it does not say.
    keep
        Columns of ``obs`` that the model may see, as far as the dataset has them.
    read_as
        Other names of the genes, in place of ``cells.var``; a gene whose name is ``""`` is left out.

    Returns
    -------
    An AnnData with raw counts (CSR float32), unique ``var_names`` in the order of ``cells``, the same ``obs_names``
    and nothing but ``keep`` in ``obs``; and what was readable.
    """
    obs = cells.obs[[key for key in keep if key in cells.obs]].copy()
    if gene_ids is None:
        seen = AnnData(X=cells.X.copy(), obs=obs, var=pd.DataFrame(index=cells.var_names.copy()))
        return seen, _known(cells, source=source_gene_ids, vocabulary=vocabulary)
    var = cells.var if read_as is None else read_as
    found = _resolved(var, target=gene_ids, source=source_gene_ids, vocabulary=vocabulary)
    X, names = _gathered(cells.X, found.targets)
    mapped = sum(target is not None for target in found.targets)
    total = float(cells.X.sum(dtype=np.float64))
    readable = Readable(
        genes=mapped / cells.n_vars,
        counts=float(X.sum(dtype=np.float64)) / total if total else 0.0,
        n_genes=len(names),
        ambiguous=found.ambiguous,
        merged=mapped - len(names),
        hint=_hint(cells, source=source_gene_ids),
    )
    return AnnData(X=X, obs=obs, var=pd.DataFrame(index=pd.Index(names, dtype=object))), readable


def _known(cells: AnnData, *, source: GeneIds, vocabulary: Collection[str] | None) -> Readable:
    """Return what a model that translates the names of genes by itself can read of all that it is given."""
    if vocabulary is None:
        return Readable(genes=1.0, counts=1.0, n_genes=cells.n_vars)
    target: GeneIds = "ensembl" if looks_ensembl(vocabulary) >= HALF else "symbol"
    found = resolve(list(cells.var_names), source=source, target=target, vocabulary=frozenset(vocabulary))
    known = np.array([name is not None for name in found.targets])
    counts = np.asarray(cells.X.sum(axis=0, dtype=np.float64)).ravel()
    return Readable(
        genes=float(known.mean()),
        counts=float(counts[known].sum() / counts.sum()) if counts.sum() else 0.0,
        n_genes=cells.n_vars,
        ambiguous=found.ambiguous,
    )


def measured_names(
    cells: AnnData,
    *,
    gene_ids: GeneIds | None,
    source_gene_ids: GeneIds,
    vocabulary: Collection[str] | None,
    read_as: pd.DataFrame | None = None,
) -> dict[str, str | None]:
    """Return what a model calls each gene of ``cells`` in its view; ``None`` for one that it cannot read.

    Parameters as of :func:`view`.
    """
    if gene_ids is None:
        return {gene: gene for gene in cells.var_names}
    var = cells.var if read_as is None else read_as
    found = _resolved(var, target=gene_ids, source=source_gene_ids, vocabulary=vocabulary)
    return dict(zip(cells.var_names, found.targets, strict=True))


def require_readable(readable: Readable, *, model: str, dataset: str, minimum: float = 0.10) -> None:
    """Refuse (guard ``gene_coverage``) a model that reads less than ``minimum`` (0 to 1) of the dataset's counts.

    Raises
    ------
    InvalidInputError
        It reads less; or it reads nothing at all, which it cannot even with the guard switched off.
    """
    if readable.counts >= minimum:
        return
    asked = f"{model} on {dataset}"
    found = f"it can read {readable.genes:.1%} of the genes with {readable.counts:.1%} of the counts"
    remedy = readable.hint or f"give a dataset whose genes {model} knows, of the organism that it was trained on"
    if readable.counts == 0:
        raise InvalidInputError(asked=asked, found=found, remedy=remedy)
    guards.refuse("gene_coverage", asked=asked, found=found, remedy=remedy)


def fingerprint(cells: AnnData) -> str:
    """Return the sha256 (hex) of counts, shape, cell ids, gene ids, the columns of ``obs`` and a network.

    The order of cells and genes matters; the order in which a row stores its values does not.
    """
    X = sp.csr_matrix(cells.X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    digest = hashlib.sha256(f"{X.shape}".encode())
    for values, kind in ((X.data, "<f4"), (X.indices, "<i8"), (X.indptr, "<i8")):
        digest.update(np.ascontiguousarray(values, dtype=kind).tobytes())
    columns = [cells.obs[key] for key in sorted(cells.obs.columns)]
    names = [pd.Series(cells.obs_names, name="obs_names"), pd.Series(cells.var_names, name="var_names")]
    for column in (*names, *columns):
        values = [
            f"{column.name}",
            *("\x01" if missing else str(v) for v, missing in zip(column, column.isna(), strict=True)),
        ]
        digest.update("".join(f"{len(value)}:{value}" for value in values).encode())
    if "network" in cells.uns:
        digest.update("\0".join(map(str, np.ravel(cells.uns["network"]))).encode())
    return digest.hexdigest()


def _resolved(var: pd.DataFrame, *, target: GeneIds, source: GeneIds, vocabulary: Collection[str] | None) -> Resolution:
    known = None if vocabulary is None else frozenset(vocabulary)
    by_index = resolve(list(var.index), source=source, target=target, vocabulary=known)
    targets = by_index.targets
    if source != target and _COLUMN[target] in var:
        own = resolve(list(var[_COLUMN[target]].astype(str)), source=target, target=target, vocabulary=known)
        targets = np.where(own.targets == None, targets, own.targets)  # noqa: E711
    targets[(var.index == "") | (targets == "")] = None
    left = {gene for gene, found in zip(var.index, targets, strict=True) if found is None}
    return Resolution(
        targets=targets,
        ambiguous=[gene for gene in by_index.ambiguous if gene in left],
        unmapped=[gene for gene in by_index.unmapped if gene in left],
    )


def _gathered(X: sp.csr_matrix, targets: NDArray[np.object_]) -> tuple[sp.csr_matrix, list[str]]:
    """Return the counts per distinct target, in the order of its first gene, and the targets."""
    genes = np.flatnonzero([target is not None for target in targets])
    column: dict[str, int] = {}
    columns = [column.setdefault(targets[gene], len(column)) for gene in genes]
    ones = np.ones(len(genes), dtype=np.float32)
    gather = sp.csr_matrix((ones, (genes, columns)), shape=(X.shape[1], len(column)))
    gathered = sp.csr_matrix(X @ gather, dtype=np.float32)
    gathered.sort_indices()
    return gathered, list(column)


def _hint(cells: AnnData, *, source: GeneIds) -> str:
    actual: GeneIds = "ensembl" if looks_ensembl(cells.var_names) >= HALF else "symbol"
    if actual == source:
        return ""
    return f"its genes are declared as {source} but look like {actual} ids: state genes={actual}"

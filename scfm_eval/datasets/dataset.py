"""A dataset is a declaration; loading it gives cells in one canonical, validated form."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scfm_eval import guards
from scfm_eval.datasets.canonical import canonical, nearest
from scfm_eval.datasets.download import RemoteFile, fetch
from scfm_eval.datasets.genes import HALF, looks_ensembl
from scfm_eval.datasets.keys import CONTROL, KEYS, LabelsFrom
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Effect, GeneIds
from scfm_eval.trial import fault_of

_WRITE_AGAIN = "it is truncated or no .h5ad file: copy or write it again with AnnData.write_h5ad"


def read_h5ad(path: Path, *, backed: bool = False) -> AnnData:
    """Return the AnnData in the file ``path``; ``backed`` leaves the matrix on disk and the file open.

    Raises
    ------
    InvalidInputError
        If the file is not there, or is not a whole ``.h5ad`` file.
    """
    import anndata

    if not path.is_file():
        folder = path.parent
        there = sorted(file.name for file in folder.glob("*.h5ad")) if folder.is_dir() else []
        raise InvalidInputError(
            asked=f"the file {path}",
            found=f"it is not there; nearest in {folder}: {nearest(path.name, there)}",
            remedy="check the path",
        )
    fault = fault_of("hdf5", path)
    if fault:
        raise InvalidInputError(asked=f"the file {path} as .h5ad", found=fault, remedy=_WRITE_AGAIN)
    try:
        with warnings.catch_warnings():
            # older published files: their format is read all the same, their names are checked afterwards
            warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)
            warnings.filterwarnings("ignore", message="Moving element from")
            warnings.filterwarnings("ignore", message=".* names are not unique")
            return anndata.read_h5ad(path, backed="r" if backed else None)
    except Exception as error:  # of h5py and anndata, for which a damaged file can raise nearly anything
        raise InvalidInputError(
            asked=f"the file {path} as .h5ad",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
            remedy=_WRITE_AGAIN,
        ) from error


def read_first(paths: Sequence[Path]) -> AnnData:
    """Return the AnnData in the first of ``paths``."""
    return read_h5ad(paths[0])


@dataclass(frozen=True)
class Dataset:
    """A declaration of cells: where they come from, what their columns mean, who may use them.

    A file ``$SCFM_EVAL_DATA/<name>.h5ad`` wins over every other source.

    Parameters
    ----------
    name
        Name in reports and ``--dataset``.
    build
        Makes the cells without a download (embedded and synthetic data).
    path
        A local file.
    remote
        Files to download.
    read
        Makes one AnnData of the paths of ``remote``; a local file is read as it is.
    page
        Where a person gets the data when there is no direct address.
    label_key, batch_key, donor_key, perturbation_key
        Columns of ``obs``; ``None`` where there is none.
    context_key, effect_key
        Columns with the cell line of a perturbed cell, and with what was done to the gene (CRISPRa and activation, or
        CRISPRi, knock-down and knock-out).
    effect
        What was done to the genes, where it was the same in all cells and no column says so.
    phenotype_key, age_key, cancer_type_key
        Columns with further annotations of the donor.
    ontology_key, ontology_terms
        Column with Cell Ontology ids of the labels, or a table of (label, id) pairs.
    domain_key
        Column that tells ``"source"`` from ``"target"`` cells of a dataset joined from two.
    network
        Gives regulator and target of each edge of the network behind the cells, where that is known.
    control
        Value of ``perturbation_key`` that marks control cells.
    gene_ids
        Namespace of the genes.
    gene_column
        Column of ``var`` with the gene ids; ``None`` for the index.
    counts
        Where raw counts are: ``"X"``, ``"layers/NAME"`` or ``"raw"``.
    organism, is_organism_stated
        Latin name, and whether anybody stated it; human is taken where nobody did.
    labels_from
        ``"expression"`` for labels that were derived from the expression of the same cells (clusters, marker genes, a
        classifier), ``"independent"`` for labels from elsewhere (sorting, genotype, protein, simulation), ``""`` where
        nothing is stated: the labels are then looked at.
    licence, citation
        Licence and DOI.
    seen_by
        Names of models whose pretraining saw these cells.
    note
        What a reader of results has to know of it.
    """

    name: str
    build: Callable[[], AnnData] | None = None
    path: Path | None = None
    remote: tuple[RemoteFile, ...] = ()
    read: Callable[[Sequence[Path]], AnnData] = read_first
    page: str = ""
    label_key: str | None = None
    batch_key: str | None = None
    donor_key: str | None = None
    perturbation_key: str | None = None
    context_key: str | None = None
    effect_key: str | None = None
    effect: Effect | None = None
    phenotype_key: str | None = None
    age_key: str | None = None
    cancer_type_key: str | None = None
    ontology_key: str | None = None
    ontology_terms: tuple[tuple[str, str], ...] = ()
    domain_key: str | None = None
    network: Callable[[], Sequence[tuple[str, str]]] | None = None
    control: str = CONTROL
    gene_ids: GeneIds = "symbol"
    gene_column: str | None = None
    counts: str = "X"
    organism: str = "Homo sapiens"
    is_organism_stated: bool = True
    labels_from: LabelsFrom = ""
    licence: str = "not stated"
    citation: str = ""
    seen_by: tuple[str, ...] = ()
    note: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """Column of ``obs`` for each canonical key that is declared."""
        declared = {key: getattr(self, f"{key}_key") for key in KEYS}
        return {key: column for key, column in declared.items() if column is not None}

    @property
    def keys(self) -> tuple[str, ...]:
        """Canonical keys that the dataset has, in the order of ``KEYS``, and ``"network"`` where it states one."""
        known = tuple(key for key in KEYS if key in self.columns or key in self._stated)
        return (*known, "network") if self.network else known

    @property
    def _stated(self) -> tuple[str, ...]:
        stated = {"effect": self.effect, "ontology": self.ontology_terms}
        return tuple(key for key, value in stated.items() if value)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the datasets that it is made of: its own."""
        return (self.name,)

    @property
    def is_own_file(self) -> bool:
        """Whether it is a file of the user, which may hold cells of any other dataset."""
        return self.path is not None

    def load(self, *, offline: bool = False) -> AnnData:
        """Return the cells in canonical form: raw counts, canonical keys, gene names, nothing else.

        Parameters
        ----------
        offline
            Never touch the network.

        Returns
        -------
        ``X`` integer counts (CSR float32); ``obs`` with the canonical keys as far as they are declared, all categories
        of str: ``label`` is NaN where a cell has none, ``perturbation`` is ``"control"`` for controls and ``"A+B"`` for
        combinations, ``effect`` is ``"activation"`` or ``"knockdown"``; ``var`` indexed by the dataset's own gene ids,
        with ``symbol`` and ``ensembl_id`` where it has them; ``uns["network"]`` the edges ``(n, 2)`` where it states
        them.

        Raises
        ------
        InvalidInputError
            If the data cannot be had or read, a declared key is not in it, or it holds no raw counts.
        """
        cells = canonical(
            self._source(offline=offline),
            what=f"dataset {self.name}",
            columns=self.columns,
            counts=self.counts,
            gene_column=self.gene_column,
            control=self.control,
        )
        self._check_gene_ids(cells)
        if self.effect:
            cells.obs["effect"] = pd.Categorical([self.effect] * cells.n_obs)
        if self.ontology_terms:
            cells.obs["ontology"] = pd.Categorical(cells.obs["label"].astype(object).map(dict(self.ontology_terms)))
        cells.obs = cells.obs[[key for key in self.keys if key in KEYS]]
        if self.network is not None:
            cells.uns["network"] = np.array(self.network(), dtype=np.str_)
        return cells

    def _source(self, *, offline: bool) -> AnnData:
        folder = os.environ.get("SCFM_EVAL_DATA")
        local = Path(folder) / f"{self.name}.h5ad" if folder else None
        if self.path is not None:
            return read_h5ad(self.path)
        if local is not None and local.is_file():
            return read_h5ad(local)
        if self.build is not None:
            return self.build()
        if self.remote:
            return self.read([fetch(file, offline=offline) for file in self.remote])
        columns = ", ".join(self.columns.values()) or "(none needed)"
        raise InvalidInputError(
            asked=f"dataset {self.name}",
            found=f"no direct download, and {local or '$SCFM_EVAL_DATA'} {'is not there' if local else 'is not set'}",
            remedy=f"get it from {self.page or 'its authors'} and put it, as {self.name}.h5ad with raw counts and the "
            f"obs columns {columns}, into the folder $SCFM_EVAL_DATA. {self.note}".rstrip(),
        )

    def _check_gene_ids(self, cells: AnnData) -> None:
        share = looks_ensembl(cells.var_names)
        if (share >= HALF) != (self.gene_ids == "ensembl"):
            guards.refuse(
                "gene_ids",
                asked=f"dataset {self.name} with genes named by {self.gene_ids}",
                found=f"{share:.0%} of the genes have the form of an Ensembl id: {', '.join(cells.var_names[:3])}",
                remedy="state the other kind of gene ids in the declaration, or name the column: genes=COLUMN",
            )

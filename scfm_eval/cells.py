"""The cells of a dataset as they were loaded, and what a model is given of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.datasets.confounding import tell_confounded
from scfm_eval.datasets.copies import Copies, copies, tell_copies
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.keys import tell_small_labels
from scfm_eval.datasets.known_cells import recognised
from scfm_eval.datasets.label_origin import tell_label_origin
from scfm_eval.datasets.orthologs import (
    FATES,
    HUMAN,
    MOUSE,
    PACKAGED,
    ReadAs,
    found_organism,
    latin_name,
    read_as,
    read_orthologs,
)
from scfm_eval.datasets.view import Readable, fingerprint, require_readable, view
from scfm_eval.models.card import Card
from scfm_eval.models.protocols import Pretrained, missing_methods
from scfm_eval.results import DatasetRecord, GenesRecord, OrthologRecord

_OFFER = (
    f"allow that genes are read as their one-to-one orthologs: --orthologs {PACKAGED}, or --orthologs PATH of a table "
    "of your own"
)


@dataclass(frozen=True)
class Cells:
    """A dataset as it was loaded: the declaration, its cells in canonical form, and their hash.

    Parameters
    ----------
    dataset, adata
        The declaration, and what it loaded.
    orthologs
        Table that genes may be mapped by for a model of another organism: ``"packaged"`` or a path; empty for none.
    """

    dataset: Dataset
    adata: AnnData
    orthologs: str = ""

    @cached_property
    def organisms(self) -> frozenset[str]:
        """The organisms that the declaration states, and the one that the genes are of; none for simulated cells."""
        stated = {latin_name(name) for name in self.dataset.organism.split(";")} - {""}
        if "simulated" in stated:
            return frozenset()
        found = self.gene_organism
        # human is what a declaration says that says nothing
        return frozenset((stated - {HUMAN} if found == MOUSE else stated) | {found} - {""})

    @cached_property
    def gene_organism(self) -> str:
        """Whose genes these are, human or mouse, by their ids; empty where that is unclear."""
        return found_organism(self.adata.var)

    @cached_property
    def sha256(self) -> str:
        """Hash of counts, ids and keys."""
        return fingerprint(self.adata)

    @cached_property
    def resembles(self) -> tuple[str, ...]:
        """Known datasets whose cells these are, a tenth of them or more, whatever they are called here."""
        return recognised(self.adata)

    @cached_property
    def copies(self) -> Copies:
        """Which of the cells are copies or near copies of each other."""
        return copies(self.adata.X)

    @cached_property
    def findings(self) -> list[guards.Finding]:
        """What guards tell of the cells and their keys, whatever a model makes of them."""
        name = self.dataset.name
        with guards.listening() as told:
            tell_small_labels(self.adata, dataset=name)
            tell_confounded(self.adata, dataset=name)
            tell_label_origin(self.adata, labels_from=self.dataset.labels_from, dataset=name)
            if guards.is_on("duplicates"):
                tell_copies(self.copies, dataset=name)
        return told

    @cached_property
    def record(self) -> DatasetRecord:
        """What a report says of the dataset."""
        obs = self.adata.obs
        return DatasetRecord(
            name=self.dataset.name,
            sha256=self.sha256,
            n_cells=self.adata.n_obs,
            n_genes=self.adata.n_vars,
            n_unlabelled=int(obs["label"].isna().sum()) if "label" in obs else 0,
            n_labels=_categories(obs, "label"),
            n_batches=_categories(obs, "batch"),
            n_donors=_categories(obs, "donor"),
            organism=self.dataset.organism,
            licence=self.dataset.licence,
            citation=self.dataset.citation,
            findings=self.findings,
        )


def model_view(model: type, about: Card, cells: Cells, *, weights: Path | None) -> tuple[AnnData, Readable]:
    """Return what the model is given of the cells, and how much of them it can read.

    Raises
    ------
    InvalidInputError
        If the cells are of an organism that the model does not read, or it can read less than a tenth of the counts.
    """
    require_organism(about, cells)
    pretrained = not missing_methods(model, Pretrained) and weights is not None
    vocabulary = model.vocabulary(weights) if pretrained else None  # type: ignore[attr-defined]
    renamed = genes_as_read(about, cells, cells.adata.var, vocabulary=vocabulary)
    seen, readable = view(
        cells.adata,
        gene_ids=about.gene_ids,
        source_gene_ids=cells.dataset.gene_ids,
        vocabulary=vocabulary,
        keep=("batch", *about.sees),
        read_as=renamed.names if renamed else None,
    )
    if renamed:
        several = cells.adata.var_names[renamed.fate == "ambiguous"]
        record = _record(renamed.fate, about, cells)
        readable = replace(readable, orthologs=record, ambiguous=[*readable.ambiguous, *several])
    elif about.organisms and cells.gene_organism not in ("", about.organisms[0]):
        readable = replace(readable, hint=readable.hint or _OFFER)
    require_readable(readable, model=about.name, dataset=cells.dataset.name)
    return seen, readable


def require_organism(about: Card, cells: Cells) -> None:
    """Refuse cells of an organism that a model does not read, unless a table of orthologs was given that helps.

    A model that states no organism reads any.

    Raises
    ------
    GuardError
        The guard ``organism`` is on. The message says what was stated and what was found, and offers the packaged table
        where it would help.
    """
    foreign = sorted(cells.organisms - {latin_name(name) for name in about.organisms})
    if not (about.organisms and foreign):
        return
    can_help = foreign == [_of(cells)] and {*foreign, about.organisms[0]} == {HUMAN, MOUSE} and bool(about.gene_ids)
    if can_help and cells.orthologs:
        return
    stated, of = cells.dataset.organism or "no organism", _of(cells)
    reads = " or ".join(about.organisms)
    said = (
        f"{stated} is stated" if cells.dataset.is_organism_stated else f"nothing is stated, which is taken as {stated}"
    )
    named = f" ({said}; its genes are named as those of {of})" if {stated} != {of} else ""
    otherwise = _OFFER if can_help else ""
    if of in about.organisms:
        otherwise = f"state organism={of} if its genes have been mapped already"
    guards.refuse(
        "organism",
        asked=f"{about.name} on {cells.dataset.name}",
        found=f"cells of {', '.join(foreign)}{named}, while {about.name} reads {reads}",
        remedy=f"give cells of {reads}" + (f", or {otherwise}" if otherwise else ""),
    )


def genes_as_read(
    about: Card, cells: Cells, genes: pd.DataFrame, *, vocabulary: Collection[str] | None
) -> ReadAs | None:
    """Return genes, named as in the dataset, under the names of their orthologs in the model's first organism.

    ``None`` where no table was given, or where they are that organism's already. A model that reads the organism of
    the cells too keeps the genes that are in its vocabulary.
    """
    of = _of(cells)
    asked = cells.orthologs and about.organisms and about.gene_ids
    if not asked or {of, about.organisms[0]} != {HUMAN, MOUSE}:
        return None
    reads_both = of in about.organisms
    if reads_both and vocabulary is None:
        return None
    kept = frozenset(vocabulary or ()) if reads_both else frozenset()
    return read_as(genes, of=of, gene_ids=cells.dataset.gene_ids, table=read_orthologs(cells.orthologs), kept=kept)


def _of(cells: Cells) -> str:
    """Return whose genes are to be read: what they look like, else what is stated."""
    return cells.gene_organism or (next(iter(cells.organisms)) if len(cells.organisms) == 1 else "")


def _record(fate: NDArray[np.str_], about: Card, cells: Cells) -> OrthologRecord:
    counts = np.asarray(cells.adata.X.sum(axis=0, dtype=np.float64)).ravel()
    total, table = max(float(counts.sum()), 1.0), read_orthologs(cells.orthologs)
    parts = {
        name: GenesRecord(
            n_genes=int((fate == name).sum()),
            genes=float((fate == name).mean()),
            counts=float(counts[fate == name].sum()) / total,
        )
        for name in FATES
    }
    return OrthologRecord(
        table=table.name, table_sha256=table.sha256, organism=_of(cells), read_as=about.organisms[0], **parts
    )


def _categories(obs: Any, key: str) -> int | None:
    return int(obs[key].nunique()) if key in obs else None

"""The cells of a dataset as they were loaded, and what a model is given of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from anndata import AnnData

from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.view import Readable, fingerprint, require_readable, view
from scfm_eval.models.card import Card
from scfm_eval.models.protocols import Pretrained, missing_methods
from scfm_eval.results import DatasetRecord


@dataclass(frozen=True)
class Cells:
    """A dataset as it was loaded: the declaration, its cells in canonical form, and their hash."""

    dataset: Dataset
    adata: AnnData

    @cached_property
    def sha256(self) -> str:
        """Hash of counts, ids and keys."""
        return fingerprint(self.adata)

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
        )


def model_view(model: type, about: Card, cells: Cells, *, weights: Path | None) -> tuple[AnnData, Readable]:
    """Return what the model is given of the cells, and how much of them it can read.

    Raises
    ------
    InvalidInputError
        If it can read less than a tenth of the counts.
    """
    pretrained = not missing_methods(model, Pretrained) and weights is not None
    vocabulary = model.vocabulary(weights) if pretrained else None  # type: ignore[attr-defined]
    seen, readable = view(
        cells.adata,
        gene_ids=about.gene_ids,
        source_gene_ids=cells.dataset.gene_ids,
        vocabulary=vocabulary,
        keep=("batch", *about.sees),
    )
    require_readable(readable, model=about.name, dataset=cells.dataset.name)
    return seen, readable


def _categories(obs: Any, key: str) -> int | None:
    return int(obs[key].nunique()) if key in obs else None

"""Batches that cannot be told apart from what is compared between them: labels, or perturbations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from scfm_eval import guards
from scfm_eval.datasets.keys import CONTROL

_ALONE, _ASSOCIATED = 0.1, 0.7


def labels_in_one_batch(cells: AnnData) -> float:
    """Return the share of the labelled cells whose label occurs in one batch only, 0 to 1; 0 without labels."""
    table = _table(cells)
    alone = (table > 0).sum(axis=1) == 1
    return float(table[alone].to_numpy().sum() / max(table.to_numpy().sum(), 1))


def cramers_v(cells: AnnData) -> float:
    """Return Cramér's V of label and batch without its bias: 0 for none, 1 where one follows from the other.

    Cells without a label are left out; 0 where there are fewer than two labels or batches.

    References
    ----------
    doi:10.1016/j.jkss.2012.10.002
    """
    table = _table(cells).to_numpy(dtype=np.float64)
    n, (rows, columns) = table.sum(), table.shape
    if min(rows, columns) < 2 or n < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    phi = ((table - expected) ** 2 / expected).sum() / n - (rows - 1) * (columns - 1) / (n - 1)
    fewer = min(side - (side - 1) ** 2 / (n - 1) for side in (rows, columns)) - 1
    return float(np.sqrt(np.clip(phi / fewer, 0, 1))) if fewer > 0 else 0.0


def require_labels_in_several_batches(cells: AnnData, *, dataset: str) -> None:
    """Refuse (guard ``confounded``) cells of which no label occurs in two batches: nothing can be integrated.

    Raises
    ------
    GuardError
        The batch follows from the label, and the guard is on.
    """
    if labels_in_one_batch(cells) == 1:
        guards.refuse(
            "confounded",
            asked=f"{dataset} with labels that occur in several batches",
            found=f"each of its {len(_table(cells))} labels occurs in one batch only: the batch follows from the label",
            remedy="declare another column for batch, or choose a task that needs none",
        )


def tell_confounded(cells: AnnData, *, dataset: str) -> None:
    """Tell (guard ``confounded``) of batches that much of the labels, or of the perturbations, goes with."""
    if {"label", "batch"} <= set(cells.obs):
        # in one batch all labels are alike, and nothing is confounded
        alone = labels_in_one_batch(cells) if cells.obs["batch"].nunique() > 1 else 0.0
        associated = cramers_v(cells)
        if alone >= _ALONE or associated >= _ASSOCIATED:
            guards.tell(
                "confounded",
                asked=f"{dataset} with labels that occur in several batches",
                found=f"{alone:.0%} of the labelled cells have a label that occurs in one batch only; "
                f"Cramér's V of label and batch is {associated:.2f}",
                remedy="read scores of batch removal with care: part of what is removed may be biology",
            )
    if {"perturbation", "batch"} <= set(cells.obs):
        _tell_uncontrolled(cells, dataset=dataset)


def _tell_uncontrolled(cells: AnnData, *, dataset: str) -> None:
    is_control = (cells.obs["perturbation"] == CONTROL).to_numpy()
    batch = cells.obs["batch"].to_numpy().astype(str)
    uncontrolled = ~np.isin(batch, batch[is_control])
    share = float(uncontrolled.sum() / max((~is_control).sum(), 1))
    if share >= _ALONE:
        guards.tell(
            "confounded",
            asked=f"{dataset} with control cells in every batch",
            found=f"{share:.0%} of the perturbed cells are in {len(np.unique(batch[uncontrolled]))} batches without "
            "control cells",
            remedy="read effects of perturbations with care: part of them may be the batch",
        )


def _table(cells: AnnData) -> pd.DataFrame:
    """Return numbers of cells by label and batch, of labels and batches that have cells."""
    known = cells.obs[["label", "batch"]].dropna().astype(str)
    return pd.crosstab(known["label"], known["batch"])

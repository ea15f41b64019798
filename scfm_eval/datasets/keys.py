"""The canonical keys of cells, and whether they can carry a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from anndata import AnnData

from scfm_eval import guards
from scfm_eval.datasets.counts import some
from scfm_eval.errors import InvalidInputError

KEYS = (
    "label", "batch", "donor", "perturbation", "context", "effect", "phenotype", "age", "cancer_type", "ontology",
    "domain",
)  # fmt: skip
CONTROL = "control"
UNLABELLED = frozenset({"", "na", "nan", "unknown", "unlabelled", "unlabeled"})
LabelsFrom = Literal["expression", "independent", ""]
"""Where labels come from: the same expression, something else (sorting, genotype, protein, simulation), not stated."""
_FEW = 10


def check_keys(cells: AnnData, *, keys: Sequence[str], dataset: str) -> None:
    """Check that each of ``keys`` divides the cells into at least two groups, and that no label has one cell only.

    Cells without a label are not counted.

    Parameters
    ----------
    cells
        Cells in canonical form.
    keys
        Canonical keys that a task needs, e.g. ``("label", "batch")``.
    dataset
        Name of the dataset in messages.

    Raises
    ------
    InvalidInputError
        If a key is missing, has one value only, or is the label and has a value with one cell (guard ``class_size``).
    """
    for key in keys:
        asked = f"{dataset} with a {key} key that divides its cells"
        if key not in cells.obs:
            raise InvalidInputError(
                asked=asked,
                found=f"it has {', '.join(cells.obs.columns) or 'no keys'}",
                remedy=f"declare its column: {key}=COLUMN",
            )
        sizes = cells.obs[key].value_counts()
        sizes = sizes[sizes > 0]
        if len(sizes) < 2:
            raise InvalidInputError(
                asked=asked,
                found=f"one {key} only: {sizes.index[0]}" if len(sizes) else f"no cell has a {key}",
                remedy=f"declare another column for {key}, or choose a task that needs none",
            )
        alone = sizes[sizes == 1]
        if key == "label" and len(alone):
            guards.refuse(
                "class_size",
                asked=f"{dataset} with at least two cells of each label",
                found=f"{len(alone)} labels with one cell: {some(alone.index)}",
                remedy="remove these cells, merge the labels, or set them to 'unknown'",
            )


def tell_small_labels(cells: AnnData, *, dataset: str) -> None:
    """Tell (guard ``class_size``) of labels with fewer than ten cells, each with its size."""
    if "label" not in cells.obs:
        return
    sizes = cells.obs["label"].value_counts()
    few = sizes[(sizes > 0) & (sizes < _FEW)].sort_index().sort_values(kind="stable")
    if len(few):
        guards.tell(
            "class_size",
            asked=f"{dataset} with at least {_FEW} cells of each label",
            found=f"{len(few)} labels with fewer: {some(f'{name} ({n})' for name, n in few.items())}",
            remedy="read their scores, and means over labels, with care: merge them, or set them to 'unknown'",
        )

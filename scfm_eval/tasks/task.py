"""What a task is, and how it says that a model cannot take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.models.protocols import LabelTrainable, missing_methods
from scfm_eval.results import ScoreRecord

N_RESAMPLES = 1000
"""Resamples of every interval."""


class Embed(Protocol):
    """Gives a model's embedding of all cells of the dataset."""

    def __call__(self, *, seed: int, train: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return ``(n_cells, d)``; what learns here learns from the cells in ``train`` only (``None``: from all)."""
        ...


@dataclass(frozen=True)
class Scored:
    """What a task makes of an embedding.

    Parameters
    ----------
    scores
        Records by metric name.
    details
        Tables that belong to the scores: confusion matrix, per-class values, splits.
    notes
        What a reader has to know to read them.
    """

    scores: dict[str, ScoreRecord]
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Task(Protocol):
    """What is asked of a model on a dataset; implementations are frozen dataclasses whose fields are parameters."""

    name: ClassVar[str]
    capability: ClassVar[type]
    keys: ClassVar[tuple[str, ...]]
    headline: ClassVar[tuple[str, ...]]

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part; empty when it can."""
        ...


class EmbeddingTask(Task, Protocol):
    """A task that is scored from an embedding."""

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` when the task means nothing on these cells."""
        ...

    def score(self, embed: Embed, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score the embedding of ``cells`` (canonical form, with labels) over ``seeds``."""
        ...


def resampling_weights(
    *, donors: NDArray[np.str_] | None, strata: NDArray[Any], n_resamples: int = N_RESAMPLES
) -> NDArray[np.int16]:
    """Draw donors where there are several, else cells within ``strata``; the same for every model.

    Parameters
    ----------
    donors
        Donor of each cell ``(n_cells,)``, or ``None``.
    strata
        What stays as large as it is when cells are drawn: folds or batches, ``(n_cells,)``.
    n_resamples
        Rows of the result.

    Returns
    -------
    Weights ``(n_resamples, n_cells)``.
    """
    one = np.zeros(len(strata), dtype=np.int64)
    if donors is not None and len(np.unique(donors)) > 1:
        return bootstrap_weights(units=donors, strata=one, n_resamples=n_resamples, seed=0)
    varies = np.unique(strata, return_counts=True)[1].min() > 1
    return bootstrap_weights(
        units=np.arange(len(strata)), strata=strata if varies else one, n_resamples=n_resamples, seed=0
    )


def lacks(model: type, capability: type) -> str:
    """Return which methods of ``capability`` are missing from ``model``, in words; empty when none is."""
    missing = missing_methods(model, capability)
    return f"no method {', '.join(missing)}" if missing else ""


def learns_labels(model: type) -> bool:
    """Whether the method cannot do without labels of training cells."""
    return not missing_methods(model, LabelTrainable)

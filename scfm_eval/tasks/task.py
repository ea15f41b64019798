"""What a task is, and how it says that a model cannot take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.fits import Fit, Rows
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.models.protocols import Effect, FineTuning, LabelTrainable, Reconstruction, missing_methods
from scfm_eval.results import ScoreRecord

N_RESAMPLES = 1000
"""Resamples of every interval."""


@dataclass(frozen=True)
class FineTuned:
    """What a fine-tuned model says of the test cells.

    Parameters
    ----------
    classes
        Labels ``(C,)``.
    probabilities
        ``(n_test, C)``, in the order of the test cells.
    history
        Loss and validation score by epoch, the chosen epoch, what was trained.
    fits
        Which cells it learned from, and which ones the epoch was chosen by.
    """

    classes: NDArray[np.str_]
    probabilities: NDArray[np.float32]
    history: dict[str, Any]
    fits: tuple[Fit, ...] = ()


class Answers(Protocol):
    """What one model answers on one dataset; each answer is made once and kept."""

    def members(self) -> Sequence[Answers]:
        """Return the answers of each member of an ensemble; of any other model, only its own."""
        ...

    def can(self, capability: type) -> bool:
        """Whether the model has the methods of a protocol."""
        ...

    def embed(self, *, seed: int, train: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return ``(n_cells, d)``; what learns here learns from the cells in ``train`` only (``None``: from all)."""
        ...

    def embed_rows(self, *, seed: int, train: NDArray[np.bool_] | None = None) -> Rows:
        """Return :meth:`embed` by the places of the cells, with the cells that what learns here really saw."""
        ...

    def embed_layers(self, *, seed: int) -> list[NDArray[np.float32]]:
        """Return one ``(n_cells, d)`` per layer, the input embedding first."""
        ...

    def embed_genes(
        self, genes: Sequence[str], *, seed: int, truth: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return one row per gene, named as in the dataset; NaN for a gene without a vector.

        ``truth`` ``(n_genes, n)`` is shown to a control that is told of genes, and to nobody else.
        """
        ...

    def score_gene_pairs(
        self, genes: Sequence[str], *, rows: NDArray[np.intp], seed: int, truth: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return ``(n_genes, n_genes)`` from the cells in ``rows``: how much the row's gene decides the column's.

        NaN on the diagonal and for a pair without a score; ``truth`` as for :meth:`embed_genes`.
        """
        ...

    def reconstruct_layers(self, *, seed: int, rows: NDArray[np.intp]) -> Reconstruction:
        """Return what the model's expression head gives on each layer for the cells in ``rows``."""
        ...

    def annotate(self, *, seed: int) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the model's own labels ``(C,)``, and the probability of each for all cells ``(n_cells, C)``."""
        ...

    def perturb(
        self, *, seed: int, rows: NDArray[np.intp], genes: Sequence[str], effect: Effect
    ) -> NDArray[np.float32]:
        """Return the embedding ``(n_rows, d)`` of cells whose genes, named as in the dataset, were perturbed."""
        ...

    def predict_perturbations(
        self, conditions: Sequence[str], *, train: NDArray[np.bool_], seed: int
    ) -> NDArray[np.float32]:
        """Return mean expression ``(n_conditions, n_genes)``, learned from the cells in ``train``; NaN: no answer."""
        ...

    def predict_rows(self, conditions: Sequence[str], *, train: NDArray[np.bool_], seed: int) -> Rows:
        """Return :meth:`predict_perturbations` by the names of the conditions, with the cells that it really saw."""
        ...

    def fine_tune(
        self,
        *,
        labels: NDArray[np.str_],
        train: NDArray[np.bool_],
        validation: NDArray[np.bool_],
        test: NDArray[np.bool_],
        how: FineTuning,
        seed: int,
    ) -> FineTuned:
        """Return what the model says of ``test`` after it learned from ``train`` and chose on ``validation``."""
        ...


@dataclass(frozen=True)
class Scored:
    """What a task makes of the answers.

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
    """What is asked of a model on a dataset; implementations are frozen dataclasses whose fields are parameters.

    A task that reads anything beside the cells has a method ``reads() -> str`` too, which tells releases of it apart.
    """

    name: ClassVar[str]
    capability: ClassVar[type]
    keys: ClassVar[tuple[str, ...]]
    headline: ClassVar[tuple[str, ...]]

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part; empty when it can."""
        ...


class ScoredTask(Task, Protocol):
    """A task that is scored from what a model answers."""

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` when the task means nothing on these cells."""
        ...

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score what the model answers on ``cells`` (canonical form, with labels) over ``seeds``."""
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

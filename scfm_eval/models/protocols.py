"""What a model can do, as method-only protocols.

An adapter is one class in one file with the methods of the capabilities that it has. It is handed a *view*: an
``AnnData`` with raw integer counts in ``X`` (CSR, float32), ``var_names`` in the model's own gene namespace and, where
the dataset has batches, ``obs["batch"]`` (categorical). Nothing else is in it, so that no label can leak.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError

Role = Literal["model", "baseline", "control"]
GeneIds = Literal["symbol", "ensembl"]
Effect = Literal["activation", "knockdown"]
Mode = Literal["full", "head", "last", "lora", "adapter"]


class Embedder(Protocol):
    """Turns cells into vectors."""

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one finite row per cell, ``(n_cells, d)``, in the order of ``cells.obs_names``.

        ``cells`` is never changed, and a cell's row never depends on which other cells are in the call. That rows are
        in their order is looked at by asking for some of them again, unless they come as a table with ``obs_names`` as
        its index, or the class states ``matches_by_id = True`` because it found them by name. Where memory runs out it
        is called with fewer cells, unless the instance has ``batch_decides`` true.
        """
        ...


class LayerEmbedder(Protocol):
    """Turns cells into one vector per layer."""

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, the input embedding first."""
        ...


class GeneEmbedder(Protocol):
    """Has a vector for each gene."""

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return one row per gene ``(n_genes, d)``, NaN for a gene without a vector; ids in the class's namespace."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """What a model's own expression head gives when it is applied to the output of each layer.

    Parameters
    ----------
    target
        What the head was trained to give, for every gene of a cell that the model read, ``(n_values,)``.
    cell
        Row of the cell that each value belongs to, ``(n_values,)``.
    layers
        The head's answers ``(n_layers, n_values)``, on the input embedding first.
    """

    target: NDArray[np.float32]
    cell: NDArray[np.int64]
    layers: NDArray[np.float32]


class Reconstructor(Protocol):
    """Gives back the expression that it read."""

    def reconstruct_layers(self, cells: AnnData) -> Reconstruction:
        """Return what the expression head gives on each layer, for every gene of ``cells`` that the model reads."""
        ...


class GenePairScorer(Protocol):
    """Says how much one gene tells of another, by attention or by gradients."""

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return ``(n_genes, n_genes)``: how much the row's gene decides the column's, mean over ``cells``.

        Larger is more; NaN on the diagonal and for a pair that the model reads in none of the cells. Genes are in the
        class's namespace.
        """
        ...


class ToldOfGenes(Protocol):
    """A control that is told what is true of genes before it is asked about them."""

    def tell_genes(self, genes: Sequence[str], *, truth: NDArray[np.bool_]) -> None:
        """Take in one row of ``truth`` per gene ``(n_genes, n)``: its terms, or the genes that it regulates."""
        ...


class Annotator(Protocol):
    """Names the type of a cell without learning from the dataset: its labels come with its weights.

    A class whose labels have to be given to it first says so in a class method ``lacks_labels() -> str``: what is
    missing and how to get it, or nothing once it is there.
    """

    def annotate(self, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the model's own labels ``(C,)`` and the probability of each for each cell ``(n_cells, C)``."""
        ...


class Perturber(Protocol):
    """Carries out a perturbation in its own input."""

    def perturb(self, cells: AnnData, *, genes: Sequence[str], effect: Effect) -> NDArray[np.float32]:
        """Return the embedding ``(n_cells, d)`` of ``cells`` after ``genes`` were activated or knocked down in them.

        Raises ``UnknownGeneError`` for a gene that the model does not know.
        """
        ...


class PerturbationPredictor(Protocol):
    """Learns from perturbed cells, and predicts perturbations that were not among them."""

    def fit_perturbations(self, cells: AnnData) -> None:
        """Learn from training cells.

        Their ``obs["perturbation"]`` is ``"control"``, ``"A"`` or ``"A+B"``; ``obs["context"]``, where the dataset has
        contexts, is the cell line.
        """
        ...

    def predict_perturbations(self, conditions: Sequence[str]) -> NDArray[np.float32]:
        """Return mean expression ``(n_conditions, n_genes)``, log1p of counts per 10,000; NaN where it has no answer.

        A condition is ``"A"``, ``"A+B"``, or ``"CONTEXT|A"`` where the dataset has contexts.
        """
        ...


@dataclass(frozen=True)
class FineTuning:
    """How a model is fine-tuned: AdamW, linear warm-up and decay, the best epoch by validation.

    What suits a model depends on its size, so that three settings may be left open: ``None`` is what the model's class
    states in ``fine_tuning``, else what :class:`CompleteFineTuning` has.

    Parameters
    ----------
    mode
        What is trained beside the classification head: everything (``"full"``), nothing (``"head"``), the last
        ``n_blocks`` blocks (``"last"``), low-rank updates (``"lora"``) or bottlenecks after each block (``"adapter"``);
        the latter two are less than 1 % of the parameters.
    n_blocks
        Blocks trained with ``"last"``.
    epochs, batch_size, accumulation
        Passes over the training cells, cells in a batch, and batches to one step; the first two may be left open.
    learning_rate, warmup, weight_decay
        Highest rate, which may be left open, share of the steps that lead up to it, and decay of weights.
    class_weights
        Whether rare classes weigh as much as frequent ones in the loss.
    patience
        Epochs without a better validation score after which training stops; ``None`` never stops early.
    from_scratch
        Whether weights are drawn at random first: the untrained architecture, fine-tuned the same way.
    """

    mode: Mode = "full"
    n_blocks: int = 2
    epochs: int | None = None
    batch_size: int | None = None
    accumulation: int = 1
    learning_rate: float | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    class_weights: bool = False
    patience: int | None = None
    from_scratch: bool = False


@dataclass(frozen=True)
class CompleteFineTuning(FineTuning):
    """A :class:`FineTuning` that leaves nothing open; its defaults suit published models of 100 million parameters."""

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 5e-5


_OPEN: dict[str, tuple[type, ...]] = {"epochs": (int,), "batch_size": (int,), "learning_rate": (int, float)}


def completed(how: FineTuning, *, model: type) -> CompleteFineTuning:
    """Return the settings with what they leave open taken from ``fine_tuning`` of the model's class, or the defaults.

    Raises
    ------
    InvalidInputError
        If the class states a setting that cannot be left open, or one of another kind.
    """
    stated = getattr(model, "fine_tuning", {})
    wrong = _wrong_settings(stated)
    if wrong:
        raise InvalidInputError(
            asked=f"fine_tuning of the model class {model.__module__}.{model.__qualname__}",
            found=wrong,
            remedy=f"state a dictionary of some of {', '.join(_OPEN)}",
        )
    chosen = {name: value for name, value in asdict(how).items() if value is not None}
    return CompleteFineTuning(**{**stated, **chosen})


def _wrong_settings(stated: Any) -> str:
    """Return what is wrong with the ``fine_tuning`` of a class; empty when nothing is."""
    if not isinstance(stated, Mapping):
        return f"{stated!r}, which is no dictionary"
    for name, value in stated.items():
        if name not in _OPEN:
            return f"{name!r}, which is none of {', '.join(_OPEN)}"
        if type(value) not in _OPEN[name] or not 0 < value < float("inf"):
            kind = "whole number" if _OPEN[name] == (int,) else "number"
            return f"{name} = {value!r}, which is no positive {kind}"
    return ""


class FineTuner(Protocol):
    """Learns to annotate cells, weights and all.

    The class may state what suits it as ``fine_tuning``, e.g. ``{"learning_rate": 1e-3, "epochs": 10}``; a setting that
    the user names has precedence, and :func:`completed` joins the two.
    """

    def fine_tune(
        self,
        cells: AnnData,
        *,
        labels: NDArray[np.str_],
        validation: AnnData,
        validation_labels: NDArray[np.str_],
        how: FineTuning,
        seed: int,
        folder: Path | None = None,
    ) -> dict[str, Any]:
        """Learn from ``cells``, keep the epoch that is best on ``validation``, and return the history.

        With a ``folder``, the state after each epoch is kept there, and an interrupted training goes on from it.
        """
        ...

    def predict_labels(self, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return classes ``(C,)`` and their probabilities ``(n_cells, C)``."""
        ...


class Trainable(Protocol):
    """Learns from the cells of the dataset itself before it embeds; sees training cells only."""

    def fit(self, cells: AnnData) -> None:
        """Learn from ``cells``; a later :meth:`Embedder.embed` may hold cells that were not among them."""
        ...


class LabelTrainable(Protocol):
    """Learns from the labels of the training cells too."""

    def fit_with_labels(self, cells: AnnData, *, labels: NDArray[np.str_]) -> None:
        """Learn from ``cells`` and their ``labels`` ``(n_cells,)``; both are of the training fold."""
        ...


class Pretrained(Protocol):
    """Has weights on disk, and knows which genes they can read before they are loaded."""

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded if need be; raises ``InvalidInputError`` where there is none."""
        ...

    @classmethod
    def available(cls, weights: str | Path | None = None) -> bool:
        """Return whether the weights are on this machine; the network is not touched."""
        ...

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return every file that decides what the weights folder computes."""
        ...

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene ids, in the class's ``gene_ids`` namespace, that the weights folder names."""
        ...


CAPABILITIES: dict[str, type] = {
    "embed": Embedder,
    "layers": LayerEmbedder,
    "native reconstruction": Reconstructor,
    "fine-tune": FineTuner,
    "annotate": Annotator,
    "perturb": Perturber,
    "predict perturbations": PerturbationPredictor,
    "genes": GeneEmbedder,
    "gene pairs": GenePairScorer,
}
"""What a model can be able to do, by the word that tables have for it."""


def capabilities(model: type) -> list[str]:
    """Return what a class can do, in the words of :data:`CAPABILITIES`."""
    return [word for word, capability in CAPABILITIES.items() if not missing_methods(model, capability)]


def members_of(model: type) -> tuple[type, ...]:
    """Return the members of an ensemble; of any other model, only itself."""
    members: tuple[type, ...] = getattr(model, "members", (model,))
    return members


def learns_here(model: type) -> bool:
    """Whether the class embeds only after it has learned from cells of the dataset, with labels or without."""
    return any(not missing_methods(model, way) for way in (Trainable, LabelTrainable))


def missing_methods(model: type, capability: type) -> list[str]:
    """Return the methods of ``capability`` that the class ``model`` does not have."""
    return [name for name in vars(capability) if name[0] != "_" and not callable(getattr(model, name, None))]

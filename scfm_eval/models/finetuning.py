"""What adapters of transformers inherit so that they can be fine-tuned to annotate cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.batching import Precision
from scfm_eval.models.protocols import FineTuning, completed
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from scfm_eval.models.tuning import Tuned
    from scfm_eval.models.unfreezing import Encoder


class FineTunes:
    """Fine-tuning of an adapter that says how its cells are read and what its encoder is.

    Cells are tokenised and pooled as for an embedding of the last layer. Dropout is what the network itself has: what
    the configuration of a BERT says (2 % in Geneformer), and none in scGPT, whose published fine-tuning has 20 %.

    A class whose size asks for other settings than published models states them as ``fine_tuning``: some of
    ``epochs``, ``batch_size`` and ``learning_rate``, which hold where :class:`~scfm_eval.models.protocols.FineTuning`
    leaves them open, for the model as it is and from random weights.
    """

    name: ClassVar[str]
    device: str
    precision: Precision
    batch_size: int
    fine_tuning: ClassVar[dict[str, Any]] = {}
    _tuned: Tuned | None = None

    def tokenise(self, cells: AnnData) -> Sequence[Any]:
        """Return the sentence of each cell, in the order of ``cells.obs_names``."""
        raise NotImplementedError

    @property
    def _full_length(self) -> int:
        """Tokens of the cells that ``batch_size`` counts."""
        raise NotImplementedError

    def _encoder(self) -> Encoder:
        """Return the encoder that reads these sentences."""
        raise NotImplementedError

    def _draw_weights(self, seed: int) -> None:
        """Put random weights in place of those that were loaded."""
        raise NotImplementedError

    def _read(self, cells: AnnData) -> Sequence[Any]:
        """Return the sentence of each cell, and take the time of that."""
        with phase("tokenise"):
            return self.tokenise(cells)

    def _how(self) -> dict[str, Any]:
        """Return how batches are run; see :func:`~scfm_eval.models.batching.pool_in_batches`."""
        budget = self.batch_size * self._full_length
        return {"token_budget": budget, "device": self.device, "precision": self.precision, "name": self.name}

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

        The weights of this instance are changed: load another one to embed with those that were published. A
        classification head is trained in every mode; with ``"head"`` the cells are embedded once, without dropout. The
        history states as ``settings`` what was really used.

        Parameters
        ----------
        cells, labels
            What is learned from.
        validation, validation_labels
            What the epoch is chosen by; epoch 0 is the state before training.
        how
            See :class:`~scfm_eval.models.protocols.FineTuning`.
        seed
            Of the order of the cells, of dropout, and of weights that are drawn.
        folder
            Where the state after each epoch is kept; a training with the same settings goes on from it.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read, the mode does not suit the model, its ``fine_tuning`` is
            wrong, or the state in ``folder`` is damaged.
        """
        from scfm_eval.models.tuning import tune

        self._tuned, history = tune(
            self,
            cells,
            labels=labels,
            validation=validation,
            validation_labels=validation_labels,
            how=completed(how, model=type(self)),
            seed=seed,
            folder=folder,
        )
        return history

    def predict_labels(self, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return classes ``(C,)`` and their probabilities ``(n_cells, C)``.

        Raises
        ------
        InvalidInputError
            The model was not fine-tuned, or on other genes; or a cell has no gene that it can read.
        """
        tuned = self._tuned
        if tuned is None or not np.array_equal(tuned.genes, cells.var_names.to_numpy(dtype=np.str_)):
            raise InvalidInputError(
                asked=f"labels of {cells.n_obs} cells",
                found="a model that was not fine-tuned" if tuned is None else "other genes than in fine-tuning",
                remedy="call fine_tune first" if tuned is None else "give the cells the same genes in the same order",
            )
        return tuned.classes, tuned.probabilities(self._read(cells), **self._how())

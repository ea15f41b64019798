"""What adapters of transformers inherit so that they can be fine-tuned to annotate cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import FineTuning, completed
from scfm_eval.models.training import Classifier, Examples, Training, drawn, rows_of
from scfm_eval.models.unfreezing import Encoder, unfreeze

_PROBE_C = 0.1
_UNSEEN = 5.0  # logits below the least likely class


@dataclass(frozen=True, eq=False)
class Tuned:
    """A classifier that was trained, with its classes ``(C,)`` and the genes of the cells that it learned from."""

    classifier: Classifier
    classes: NDArray[np.str_]
    genes: NDArray[np.str_]


class FineTunes:
    """Fine-tuning of an adapter that says how its cells are read and what its encoder is.

    Cells are tokenised and pooled as for an embedding of the last layer. Dropout is what the network itself has: what
    the configuration of a BERT says (2 % in Geneformer), and none in scGPT, whose published fine-tuning has 20 %.

    A class whose size asks for other settings than published models states them as ``fine_tuning``: some of
    ``epochs``, ``batch_size`` and ``learning_rate``, which hold where :class:`~scfm_eval.models.protocols.FineTuning`
    leaves them open, for the model as it is and from random weights.
    """

    fine_tuning: ClassVar[dict[str, Any]] = {}
    _tuned: Tuned | None = None

    def _read(self, cells: AnnData) -> Sequence[Any]:
        """Return the sentence of each cell."""
        raise NotImplementedError

    def _how(self) -> dict[str, Any]:
        """Return how batches are run; see :func:`~scfm_eval.models.batching.pool_in_batches`."""
        raise NotImplementedError

    def _encoder(self) -> Encoder:
        """Return the encoder that reads these sentences."""
        raise NotImplementedError

    def _draw_weights(self, seed: int) -> None:
        """Put random weights in place of those that were loaded."""
        raise NotImplementedError

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
        how = completed(how, model=type(self))
        classes, codes = np.unique(np.concatenate([labels, validation_labels]), return_inverse=True)
        read = self._read(cells), self._read(validation)
        if how.from_scratch:
            self._draw_weights(seed)
        encoder, running = self._encoder(), self._how()
        with _seeded(seed, device=running["device"]):
            coded = codes[: len(labels)], codes[len(labels) :]
            parts = [_examples(encoder, part, codes=own) for part, own in zip(read, coded, strict=True)]
            classifier = _classifier(encoder, parts[0], n_classes=len(classes), seed=seed, running=running)
            about = unfreeze(encoder, how=how)
            if how.mode == "head":
                parts = [_embedded(encoder, part, running=running) for part in parts]
                classifier.pooled = _stacked
            history = Training(classifier, parts[0], parts[1], how, seed, running).run(folder)
        classifier.pooled = encoder.pooled
        self._tuned = Tuned(classifier, classes.astype(np.str_), cells.var_names.to_numpy(dtype=np.str_))
        # a control has random weights as it is
        from_scratch = how.from_scratch or getattr(self, "weights_sha256", None) is None
        return {"settings": asdict(how), "from_scratch": from_scratch, **about, **history}

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
        read = self._read(cells)
        logits = tuned.classifier.logits(read, _lengths(self._encoder(), read), **self._how())
        probabilities: NDArray[np.float32] = softmax(logits.astype(np.float64), axis=1).astype(np.float32)
        return tuned.classes, probabilities


@contextmanager
def _seeded(seed: int, *, device: str) -> Iterator[None]:
    """Seed the global generators that dropout and new layers draw from, and leave them as they were."""
    on_gpu = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device).index or 0] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


def _lengths(encoder: Encoder, sentences: Sequence[Any]) -> NDArray[np.int64]:
    return np.array([encoder.length(sentence) for sentence in sentences], dtype=np.int64)


def _examples(encoder: Encoder, sentences: Sequence[Any], *, codes: NDArray[np.int64]) -> Examples:
    return Examples(sentences, _lengths(encoder, sentences), codes)


def _classifier(encoder: Encoder, cells: Examples, *, n_classes: int, seed: int, running: dict[str, Any]) -> Classifier:
    """Return a classifier whose head is the probe of the encoder as it is, fitted on (at most 2,048) training cells.

    A head that starts anywhere else would spoil the encoder before it fits (Kumar et al. 2022, arXiv:2202.10054).
    """
    places = drawn(len(cells.codes), seed=seed)
    pooled = _pooled(encoder, [cells.sentences[i] for i in places], running=running)
    device = next(encoder.network.parameters()).device
    mean, variance = (torch.from_numpy(found).to(device) for found in (pooled.mean(axis=0), pooled.var(axis=0)))
    classifier = Classifier(encoder, n_classes=n_classes, mean=mean, variance=variance)
    with torch.no_grad():
        rows = classifier.eval().standardised(torch.from_numpy(pooled).to(device)).cpu().numpy()
        weight, bias = _probe(rows, cells.codes[places], n_classes=n_classes)
        classifier.head.weight.copy_(torch.from_numpy(weight))
        classifier.head.bias.copy_(torch.from_numpy(bias))
    return classifier


def _probe(
    rows: NDArray[np.float32], codes: NDArray[np.int64], *, n_classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight ``(n_classes, d)`` and bias ``(n_classes,)`` of a logistic regression on standardised rows.

    A class without a cell in ``codes`` is less likely than any other.
    """
    known = np.unique(codes)
    weight, bias = np.zeros((n_classes, rows.shape[1])), np.zeros(n_classes)
    if len(known) > 1:
        probe = LogisticRegression(C=_PROBE_C, max_iter=1000).fit(rows, codes)
        sides = np.array([[-0.5], [0.5]]) if len(known) == 2 else np.eye(len(known))
        weight[known], bias[known] = sides @ probe.coef_, sides @ probe.intercept_
    bias[np.setdiff1d(np.arange(n_classes), known)] = bias[known].min() - _UNSEEN
    return weight.astype(np.float32), bias.astype(np.float32)


def _pooled(encoder: Encoder, sentences: Sequence[Any], *, running: dict[str, Any]) -> NDArray[np.float32]:
    encoder.network.eval()
    return rows_of(encoder.pooled, sentences, _lengths(encoder, sentences), **running)


def _embedded(encoder: Encoder, cells: Examples, *, running: dict[str, Any]) -> Examples:
    """Return the cells as their pooled rows: an encoder that is not trained need not run in every epoch."""
    rows = torch.from_numpy(_pooled(encoder, cells.sentences, running=running))
    rows = rows.to(next(encoder.network.parameters()).device)
    return Examples(list(rows), np.ones(len(rows), dtype=np.int64), cells.codes)


def _stacked(rows: Sequence[Any]) -> Tensor:
    return torch.stack(list(rows))

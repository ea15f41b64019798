"""How a transformer learns to annotate cells, for any adapter that says what its encoder is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from scfm_eval.models.protocols import CompleteFineTuning
from scfm_eval.models.training import Classifier, Examples, Training, drawn, rows_of
from scfm_eval.models.unfreezing import Encoder, unfreeze

_PROBE_C = 0.1
_UNSEEN = 5.0  # logits below the least likely class


@dataclass(frozen=True, eq=False)
class Tuned:
    """A trained classifier, its encoder, its classes ``(C,)`` and the genes of the cells that it learned from."""

    encoder: Encoder
    classifier: Classifier
    classes: NDArray[np.str_]
    genes: NDArray[np.str_]

    def probabilities(self, sentences: Sequence[Any], **how: Any) -> NDArray[np.float32]:
        """Return the probability of each class ``(n_cells, C)``; ``how`` as of ``pool_in_batches``."""
        logits = self.classifier.logits(sentences, _lengths(self.encoder, sentences), **how)
        made: NDArray[np.float32] = softmax(logits.astype(np.float64), axis=1).astype(np.float32)
        return made


def tune(
    model: Any,
    cells: AnnData,
    *,
    labels: NDArray[np.str_],
    validation: AnnData,
    validation_labels: NDArray[np.str_],
    how: CompleteFineTuning,
    seed: int,
    folder: Path | None,
) -> tuple[Tuned, dict[str, Any]]:
    """Return the trained classifier of a model and the history of its training.

    Parameters
    ----------
    model
        A :class:`~scfm_eval.models.finetuning.FineTunes`, whose weights are changed.
    cells, labels, validation, validation_labels, how, seed, folder
        As of :meth:`~scfm_eval.models.finetuning.FineTunes.fine_tune`; raises like that.
    """
    classes, codes = np.unique(np.concatenate([labels, validation_labels]), return_inverse=True)
    read = model._read(cells), model._read(validation)
    if how.from_scratch:
        model._draw_weights(seed)
    encoder, running = model._encoder(), model._how()
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
    tuned = Tuned(encoder, classifier, classes.astype(np.str_), cells.var_names.to_numpy(dtype=np.str_))
    # a control has random weights as it is
    from_scratch = how.from_scratch or getattr(model, "weights_sha256", None) is None
    return tuned, {"settings": asdict(how), "from_scratch": from_scratch, **about, **history}


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

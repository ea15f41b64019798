"""The network of Geneformer, and how it is read from a checkpoint; :mod:`scfm_eval.models.geneformer` is the adapter.

Theodoris et al. 2023, doi:10.1038/s41586-023-06139-9; Chen et al. 2024, doi:10.1101/2024.08.16.608180.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import blocks, checkpoint, pretrained
from scfm_eval.models.batching import padded
from scfm_eval.models.geneformer_tokens import RELEASES, Pooling

_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
)  # fmt: skip
_COUNTERS = (r"bert\.embeddings\.position_ids",)
_POOLED = {r"bert\.pooler\..*": "a pooler, which only a network for classes has"}


@dataclass(frozen=True, eq=False)
class Batch:
    """Sentences of some cells, padded on the right.

    Parameters
    ----------
    ids
        Tokens ``(b, l)``.
    real
        False on padding, ``(b, l)``.
    genes
        True on genes, ``(b, l)``: false on padding and on the tokens that enclose a sentence.
    """

    ids: Tensor
    real: Tensor
    genes: Tensor

    @classmethod
    def of(cls, tokens: Sequence[NDArray[np.int64]], *, enclosed: bool, device: Any) -> Batch:
        """Return the batch of sentences whose first and last tokens, where ``enclosed``, are no genes."""
        ids = torch.from_numpy(padded(tokens, fill=0)).to(device)
        length = torch.tensor([len(cell) for cell in tokens], device=device)[:, None]
        place = torch.arange(ids.shape[1], device=device)[None, :]
        genes = (place >= int(enclosed)) & (place < length - int(enclosed))
        return cls(ids, place < length, genes)


def hidden_layers(model: Any, batch: Batch, *, last: int) -> Iterator[Tensor]:
    """Return an iterator of the outputs ``(b, l, d)`` of layers 0 (the input embedding) to ``last`` of a BERT.

    Parameters
    ----------
    model
        ``BertForMaskedLM`` of transformers.
    batch
        Cells.
    last
        Layer to stop after.
    """
    # without padding no mask at all, so that the fastest attention kernel is free to run
    padding = None if bool(batch.real.all()) else ~batch.real
    hidden = model.bert.embeddings(input_ids=batch.ids)
    return blocks.bert_layer_outputs(hidden, model.bert.encoder.layer[:last], padding=padding)


def pooled_layers(model: Any, batch: Batch, *, pooling: Pooling, layers: Sequence[int]) -> list[Tensor]:
    """Return the wanted layers of a BERT pooled over each cell's tokens, ``(b, d)`` each.

    Parameters
    ----------
    model, batch
        See :func:`hidden_layers`.
    pooling
        ``"mean"`` over genes, or the first token.
    layers
        Ascending; 0 is the input embedding.
    """
    made = enumerate(hidden_layers(model, batch, last=max(layers)))
    return [_pool(hidden, batch.genes, pooling) for number, hidden in made if number in layers]


def _pool(hidden: Tensor, genes: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    return blocks.masked_mean(hidden.float(), genes)


def attention(model: Any, batch: Batch) -> Tensor:
    """Return the attention ``(b, l, l)`` from each token of a cell to each other, mean over heads and blocks.

    Parameters
    ----------
    model, batch
        See :func:`hidden_layers`.
    """
    hidden = next(hidden_layers(model, batch, last=0))
    return blocks.mean_bert_attention(model.bert.encoder.layer, hidden, padding=~batch.real)


def expected_ranks(model: Any, batch: Batch) -> list[Tensor]:
    """Return the rank that the masked-LM head expects at the place of each gene ``(n_values,)``, on every layer.

    Parameters
    ----------
    model, batch
        See :func:`hidden_layers`, and :func:`scfm_eval.models.blocks.expected_ranks`.
    """
    head, words = model.cls.predictions, model.bert.embeddings.word_embeddings.weight[batch.ids]  # (b, l, d)
    made = []
    for hidden in hidden_layers(model, batch, last=model.config.num_hidden_layers):
        logits = head.transform(hidden) @ words.mT + head.bias[batch.ids][:, None, :]  # (b, place, gene)
        made.append(blocks.expected_ranks(logits, batch.genes))
    return made


def bert(settings: dict[str, Any], *, seed: int = 0) -> Any:
    """Return a ``BertForMaskedLM`` in evaluation mode with random weights; the global generator is left as it was."""
    from transformers import BertConfig, BertForMaskedLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForMaskedLM(BertConfig(**settings, attn_implementation="sdpa")).eval()


def bert_files(folder: Path) -> tuple[Path, Path]:
    """Return settings and checkpoint in a folder; raises ``InvalidInputError`` where they are missing."""
    settings, weights = checkpoint.choose_files(
        folder, [("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin")]
    )
    return settings, weights


def load_bert(folder: Path, *, vocabulary_size: int) -> checkpoint.Loaded[Any]:
    """Return the BERT in a folder, every tensor of it and of the checkpoint accounted for.

    Raises
    ------
    InvalidInputError
        Files are missing, do not fit each other, or hold another architecture.
    GuardError
        The network was fine-tuned for classes, or the dictionary is of another release.
    """
    settings, weights = bert_files(folder)
    said = checkpoint.read_dictionary(settings)
    checkpoint.require_sizes(said, ["vocab_size"], path=settings)
    pretrained.require_untuned_settings(said, path=settings)
    pretrained.require_table(
        rows=said["vocab_size"],
        n_tokens=vocabulary_size,
        releases=RELEASES,
        remedy="use the gc30M dictionaries with V1 and the gc104M dictionaries with V2",
        path=folder,
    )
    said["vocab_size"] = vocabulary_size
    # transformers would put a default of its own in place of what is not said
    remedy = "use the file that was published with the checkpoint"
    checkpoint.require_sizes(said, _SIZES, path=settings)
    if "hidden_act" not in said:
        raise InvalidInputError(asked=f"the activation function in {settings}", found="no hidden_act", remedy=remedy)
    tensors = checkpoint.read_tensors(weights)
    pretrained.require_trained_head(
        tensors, head="cls.predictions.transform.LayerNorm", body="bert.embeddings.LayerNorm", files=[weights]
    )
    return checkpoint.loaded(
        lambda: bert(said),
        tensors,
        files=[settings, weights],
        settings=f"the settings in {settings}",
        tied=_TIED,
        ignored=_COUNTERS,
        heads=_POOLED,
    )

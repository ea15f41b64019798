"""The cell encoder of LangCell, and how it is read from a folder; :mod:`scfm_eval.models.langcell` is the adapter.

Zhao et al. 2024, doi:10.48550/arXiv.2405.06708.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, pretrained
from scfm_eval.models.batching import padded
from scfm_eval.models.blocks import bert_layer_outputs, masked_mean, mean_bert_attention
from scfm_eval.models.langcell_tokens import Pooling

_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
# counters that old releases of transformers wrote, and the pooler that the published code replaces by the projection
_UNUSED = (r"embeddings\.position_ids", r"pooler\.dense\.(weight|bias)")
_REMEDY = "use the files that were published together"


class CellEncoder(nn.Module):
    """A BERT over ranked genes, and the projection of ``<cls>`` into the space that cells share with texts.

    Parameters
    ----------
    bert
        ``BertModel`` of transformers, without its pooler.
    projected_width
        Width of the common space.
    """

    def __init__(self, bert: Any, *, projected_width: int) -> None:
        super().__init__()
        self.bert = bert
        self.projection = nn.Linear(bert.config.hidden_size, projected_width)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.bert.encoder.layer)

    def hidden_layers(self, cells: Sequence[NDArray[np.int64]], *, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the outputs ``(b, l, d)`` of layers 0 (the input embedding) to ``last``, with masks of real tokens.

        Parameters
        ----------
        cells
            Tokens of each cell, ``<cls>`` first.
        last
            Layers after this one are not computed.
        """
        device = self.projection.weight.device
        tokens = torch.from_numpy(padded(cells, fill=0)).to(device)
        length = torch.tensor([len(cell) for cell in cells], device=device)
        real = torch.arange(tokens.shape[1], device=device)[None] < length[:, None]
        # without padding no mask at all, so that the fastest attention kernel is free to run
        padding = None if bool(real.all()) else ~real
        hidden = self.bert.embeddings(input_ids=tokens)
        for made in bert_layer_outputs(hidden, self.bert.encoder.layer[:last], padding=padding):
            yield made, real

    def pooled_layers(
        self, cells: Sequence[NDArray[np.int64]], *, pooling: Pooling, layers: Sequence[int]
    ) -> list[Tensor]:
        """Return the wanted layers pooled over each cell's tokens, ``(b, d)`` each; later ones are not computed.

        Parameters
        ----------
        cells
            Tokens of each cell, ``<cls>`` first.
        pooling
            The hidden state at ``<cls>``, its projection (unit length), or the mean over all tokens or over genes (0
            for a cell without any).
        layers
            Ascending; 0 is the input embedding.
        """
        made = enumerate(self.hidden_layers(cells, last=max(layers)))
        return [self._pool(hidden, real, pooling) for number, (hidden, real) in made if number in layers]

    def attention(self, cells: Sequence[NDArray[np.int64]]) -> Tensor:
        """Return the attention from each token of a cell to each other ``(b, l, l)``, mean over heads and blocks."""
        hidden, real = next(self.hidden_layers(cells, last=0))
        return mean_bert_attention(self.bert.encoder.layer, hidden, padding=~real)

    def _pool(self, hidden: Tensor, real: Tensor, pooling: Pooling) -> Tensor:
        if pooling == "projection":
            return nn.functional.normalize(self.projection(hidden[:, 0]).float(), dim=-1)
        if pooling == "cls":
            return hidden[:, 0]
        if pooling == "mean":
            return masked_mean(hidden.float(), real)
        return masked_mean(hidden[:, 1:].float(), real[:, 1:])


def build_encoder(settings: dict[str, Any], *, projected_width: int, seed: int = 0) -> CellEncoder:
    """Return an encoder in evaluation mode with random weights; the global generator is left as it was."""
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(BertConfig(**settings, attn_implementation="sdpa"), add_pooling_layer=False)
        return CellEncoder(bert, projected_width=projected_width).eval()


def network_files(folder: Path) -> tuple[Path, ...]:
    """Return settings, encoder and projection in a folder; raises ``InvalidInputError`` where they are missing."""
    ends = ("model.safetensors", "pytorch_model.bin")
    return checkpoint.choose_files(
        folder, [("cell_bert/config.json", f"cell_bert/{end}", "cell_proj.bin") for end in ends]
    )


def load_encoder(folder: Path, *, n_tokens: int) -> checkpoint.Loaded[CellEncoder]:
    """Return the cell encoder in a folder, every tensor of it and of the checkpoint accounted for.

    Parameters
    ----------
    folder
        Holds ``cell_bert`` and ``cell_proj.bin``.
    n_tokens
        Entries of the token dictionary; the word table has one more, for ``<cls>``.

    Raises
    ------
    InvalidInputError
        Files are missing, do not fit each other, or hold another architecture.
    """
    files = network_files(folder)
    settings, weights, projection = files
    said = checkpoint.read_dictionary(settings)
    checkpoint.require_sizes(said, _SIZES, path=settings)
    pretrained.require_untuned_settings(said, path=settings)
    if said["vocab_size"] != n_tokens + 1:
        guards.refuse(
            "pretrained",
            asked=f"the token dictionary of the checkpoint in {folder}",
            found=f"{n_tokens} tokens and <cls>, while config.json says {said['vocab_size']}",
            remedy="use the dictionary of geneformer 0.0.1 that comes with LangCell",
        )
        said["vocab_size"] = n_tokens + 1
    # transformers would put a default of its own in place of what is not said
    if "hidden_act" not in said:
        raise InvalidInputError(asked=f"the activation function in {settings}", found="no hidden_act", remedy=_REMEDY)
    tensors = {f"bert.{name}": value for name, value in checkpoint.read_tensors(weights).items()}
    projected = checkpoint.read_tensors(projection)
    tensors |= {f"projection.{name}": value for name, value in projected.items()}
    return checkpoint.loaded(
        lambda: build_encoder(said, projected_width=len(projected["bias"])),
        tensors,
        files=files,
        settings=f"the settings in {settings}",
        ignored=[rf"bert\.{name}" for name in _UNUSED],
    )

"""The network of Nicheformer, and how it is read from a checkpoint; :mod:`scfm_eval.models.nicheformer` is the adapter.

Tejada-Lapuerta et al. 2025, doi:10.1038/s41592-025-02814-z.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, pretrained
from scfm_eval.models.batching import padded
from scfm_eval.models.blocks import Block, expected_ranks, layer_outputs, masked_mean, mean_attention
from scfm_eval.models.nicheformer_tokens import FIRST_GENE, N_CONTEXT, PADDING, Pooling

_EPS = 1e-12
_SIZES = {
    "n_tokens": "n_tokens", "width": "dim_model", "n_heads": "nheads", "d_hid": "dim_feedforward",
    "n_layers": "nlayers", "length": "context_length",
}  # fmt: skip
_UNUSED = (
    r"encoder_layer\..*",  # the block that the others were copied from before training; no cell passes it
    r"pooler_head\..*",  # these two are for classes of cells in training, which embedding does not use
    r"cls_head\..*",
    r"pos",  # counts 0 to length - 1; older releases kept it
)


# classes of the pretraining's own labels
_OUTPUTS = {"cls_head.weight": 164}
_WRAPPED = {r"backbone\..*": "a network inside of another one, as a fine-tuning of it is saved"}


class NicheformerNetwork(nn.Module):
    """Tokens plus learned positions, post-norm transformer blocks, and the head that names masked tokens.

    Parameters
    ----------
    n_tokens, length
        Tokens that the head tells apart, and most tokens of a cell.
    width, n_heads, d_hid, n_layers, dropout
        Of the transformer.
    """

    def __init__(
        self, *, n_tokens: int, length: int, width: int, n_heads: int, d_hid: int, n_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.sizes: dict[str, Any] = {
            "n_tokens": n_tokens, "length": length, "width": width, "n_heads": n_heads, "d_hid": d_hid,
            "n_layers": n_layers, "dropout": dropout,
        }  # fmt: skip
        self.embeddings = nn.Embedding(n_tokens + 5, width, padding_idx=PADDING)
        self.positional_embedding = nn.Embedding(length, width)
        self.dropout = nn.Dropout(dropout)
        blocks = [Block(width=width, n_heads=n_heads, d_hid=d_hid, dropout=dropout, eps=_EPS) for _ in range(n_layers)]
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
        self.classifier_head = nn.Linear(width, n_tokens)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, first to last."""
        return cast("nn.ModuleList", self.encoder["layers"])

    def batch(self, cells: Sequence[NDArray[np.int64]], *, length: int | None = None) -> Tensor:
        """Return the tokens of cells, padded on the right to ``length`` or to the longest, ``(b, l)``."""
        rows = [*cells, np.full(length, PADDING, dtype=np.int64)] if length else cells
        tokens = padded(rows, fill=PADDING)[: len(cells)]
        return torch.from_numpy(tokens).to(self.embeddings.weight.device)

    def hidden_layers(self, tokens: Tensor, *, last: int) -> Iterator[Tensor]:
        """Yield the outputs ``(b, l, d)`` of layers 0 (the input embedding) to ``last`` for tokens ``(b, l)``."""
        padding = tokens == PADDING
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.dropout(self.embeddings(tokens) + self.positional_embedding(places))
        # without padding no mask at all, so that the fastest attention kernel is free to run
        mask = padding if bool(padding.any()) else None
        return layer_outputs(hidden, self.blocks[:last], padding=mask)

    def pooled_layers(
        self, cells: Sequence[NDArray[np.int64]], *, pooling: Pooling, with_context: bool, layers: Sequence[int]
    ) -> list[Tensor]:
        """Return the wanted layers pooled over each cell's tokens, ``(b, d)`` each; later ones are not computed.

        Parameters
        ----------
        cells
            Sentence of each cell, the context first.
        pooling, with_context
            See :class:`~scfm_eval.models.nicheformer.Nicheformer`.
        layers
            Ascending; 0 is the input embedding.
        """
        all_places = pooling == "padded_mean"
        tokens = self.batch(cells, length=self.sizes["length"] if all_places else None)
        kept = torch.ones_like(tokens, dtype=torch.bool) if all_places else tokens != PADDING
        if not with_context:
            kept[:, :N_CONTEXT] = False
        made = enumerate(self.hidden_layers(tokens, last=max(layers)))
        return [masked_mean(hidden.float(), kept) for number, hidden in made if number in layers]

    def ranked_layers(self, cells: Sequence[NDArray[np.int64]]) -> list[Tensor]:
        """Return the rank that the masked-token head expects at the place of each gene ``(n_values,)``, by layer."""
        tokens = self.batch(cells)
        head, genes = self.classifier_head, tokens >= FIRST_GENE
        known = torch.where(genes, tokens, 0)
        weight, bias = head.weight[known], head.bias[known]  # (b, l, d), (b, l)
        made = self.hidden_layers(tokens, last=len(self.blocks))
        return [expected_ranks(hidden @ weight.mT + bias[:, None, :], genes) for hidden in made]

    def attention(self, cells: Sequence[NDArray[np.int64]]) -> Tensor:
        """Return the attention between the tokens of each cell ``(b, l, l)``, mean over heads and blocks."""
        tokens = self.batch(cells)
        return mean_attention(self.blocks, next(self.hidden_layers(tokens, last=0)), padding=tokens == PADDING)


def build_network(*, seed: int = 0, **sizes: Any) -> NicheformerNetwork:
    """Return a network in evaluation mode with random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NicheformerNetwork(**sizes).eval()


def load_network(path: Path, *, n_genes: int) -> checkpoint.Loaded[NicheformerNetwork]:
    """Return the network in a Lightning checkpoint, every tensor of it accounted for.

    Parameters
    ----------
    path
        File.
    n_genes
        Genes in the order that was published with it.

    Raises
    ------
    InvalidInputError
        The file cannot be read, holds another architecture, or is for another number of genes.
    """
    content = checkpoint.read_checkpoint(path)
    said = content.get("hyper_parameters") if isinstance(content, dict) else None
    remedy = "use the nicheformer.ckpt of the release"
    if not isinstance(said, dict) or "state_dict" not in content:
        raise InvalidInputError(
            asked=f"a Lightning checkpoint in {path}", found="no state_dict with hyper_parameters", remedy=remedy
        )
    tensors = checkpoint.only_tensors(content["state_dict"], path=path)
    # fine-tuning writes other settings, too: what is wrong with the file is to be said first
    pretrained.untuned(tensors, files=[path], heads=_WRAPPED)
    checkpoint.require_sizes(said, _SIZES.values(), path=path)
    _require_layout(said, n_genes=n_genes, path=path)
    sizes = {ours: said[theirs] for ours, theirs in _SIZES.items()} | {"n_tokens": n_genes + FIRST_GENE}
    return checkpoint.loaded(
        lambda: build_network(dropout=float(said.get("dropout", 0.0)), **sizes),
        tensors,
        files=[path],
        settings=f"the settings in {path}",
        ignored=_UNUSED,
        heads=_WRAPPED,
        outputs=_OUTPUTS,
    )


def _require_layout(said: dict[str, Any], *, n_genes: int, path: Path) -> None:
    off = [name for name in ("learnable_pe", "specie", "assay", "modality") if said.get(name) is not True]
    if off:
        raise InvalidInputError(
            asked=f"learned positions and three context tokens in {path}",
            found=f"settings without {', '.join(off)}",
            remedy="use a checkpoint of the published layout",
        )
    if said["n_tokens"] != n_genes + FIRST_GENE:
        guards.refuse(
            "pretrained",
            asked=f"a checkpoint for {n_genes} genes in {path}",
            found=f"{said['n_tokens']} tokens, of which {FIRST_GENE} are no genes",
            remedy="use the model.h5ad that was published with the checkpoint",
        )

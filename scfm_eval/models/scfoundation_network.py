"""The network of scFoundation, and how it is read from a checkpoint.

:mod:`scfm_eval.models.scfoundation` is the adapter.

Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.batching import padded
from scfm_eval.models.blocks import Block, layer_outputs, masked_mean, mean_attention, split_heads
from scfm_eval.models.files import refusing
from scfm_eval.models.performer import Stabiliser, performer_attention
from scfm_eval.models.scfoundation_tokens import N_DEPTH, Pooling, Sentence

Part = Literal["cell", "rde", "gene"]
"""Which of the three networks in a checkpoint."""

_SLOPE = 0.1
_PERFORMER = r"^decoder\.performer\.net\.layers\.(\d+)"
_RENAMED = (
    (r"^model\.", ""),
    (r"^encoder\.transformer_encoder\.", "encoder.blocks."),
    (rf"{_PERFORMER}\.0\.norm\.", r"decoder.blocks.\1.norm1."),
    (rf"{_PERFORMER}\.1\.norm\.", r"decoder.blocks.\1.norm2."),
    (rf"{_PERFORMER}\.0\.fn\.fast_attention\.projection_matrix$", r"decoder.blocks.\1.projection"),
    (rf"{_PERFORMER}\.(?:0\.fn|1\.fn\.fn)\.", r"decoder.blocks.\1."),
)
# masked and padded values are told by a mask here, not by a number that a value could have; the last is of training
_UNUSED = (r"token_emb\.emb_(mask|pad)\.weight", r"decoder\.performer\.calls_since_last_redraw")
_PUBLISHED = "use the models.ckpt and the gene list of one release"


class _ValueEmbedding(nn.Module):
    """A value as a mixture of the rows of a table, with weights that a small network gives."""

    def __init__(self, *, n_bins: int, alpha: float, width: int) -> None:
        super().__init__()
        self.alpha = alpha
        self.mlp, self.mlp2 = nn.Linear(1, n_bins), nn.Linear(n_bins, n_bins)
        self.emb = nn.Embedding(n_bins, width)

    def forward(self, values: Tensor) -> Tensor:
        hidden = nn.functional.leaky_relu(self.mlp(values.unsqueeze(-1)), _SLOPE)
        share = torch.softmax(self.alpha * hidden + self.mlp2(hidden), dim=-1)
        vectors: Tensor = share @ self.emb.weight
        return vectors


class _DecoderBlock(nn.Module):
    projection: Tensor

    def __init__(self, width: int, *, n_heads: int, head_width: int) -> None:
        super().__init__()
        self.n_heads, inner = n_heads, n_heads * head_width
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.to_out = nn.Linear(inner, width)
        self.w1, self.w2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.register_buffer("projection", torch.randn(int(head_width * math.log(head_width)), head_width))

    def forward(self, hidden: Tensor, *, stabiliser: Stabiliser) -> Tensor:
        normed = self.norm1(hidden)
        query, key, value = (split_heads(of(normed), n_heads=self.n_heads) for of in (self.to_q, self.to_k, self.to_v))
        attended = performer_attention(query, key, value, projection=self.projection, stabiliser=stabiliser)
        hidden = hidden + self.to_out(attended.transpose(1, 2).flatten(2))
        return hidden + self.w2(nn.functional.gelu(self.w1(self.norm2(hidden))))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Sizes:
    """What decides the shape of the network.

    Parameters
    ----------
    n_genes
        Genes in the list.
    n_bins, alpha
        Rows of the table that values are mixed from, and the weight of the first layer of the mixing network.
    width, n_blocks, n_heads
        Of the encoder.
    decoder_width, n_decoder_blocks, n_decoder_heads, head_width
        Of the decoder.
    """

    n_genes: int
    n_bins: int
    alpha: float
    width: int
    n_blocks: int
    n_heads: int
    decoder_width: int
    n_decoder_blocks: int
    n_decoder_heads: int
    head_width: int


@dataclass(frozen=True, eq=False)
class _Batch:
    """Cells padded on the right: places and values ``(b, l)``, and the number of tokens of each cell ``(b,)``."""

    places: Tensor
    values: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, cells: Sequence[Sentence], *, device: torch.device) -> _Batch:
        places = torch.from_numpy(padded([cell[0] for cell in cells], fill=0))
        values = torch.from_numpy(padded([cell[1] for cell in cells], fill=0))
        lengths = torch.tensor([len(cell[0]) for cell in cells])
        return cls(places.to(device), values.to(device), lengths.to(device))

    def before_end(self, n_last: int) -> Tensor:
        """Return true for tokens of a cell but the last ``n_last`` of it ``(b, l)``."""
        place = torch.arange(self.places.shape[1], device=self.places.device)
        return place < (self.lengths - n_last).unsqueeze(1)


class ScFoundationNetwork(nn.Module):
    """scFoundation: a transformer over expressed genes, and a Performer over all genes that gives expression back.

    Parameters
    ----------
    sizes
        Of every part.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, width, decoder = sizes, sizes.width, sizes.decoder_width
        self.token_emb = _ValueEmbedding(n_bins=sizes.n_bins, alpha=sizes.alpha, width=width)
        self.pos_emb = nn.Embedding(sizes.n_genes + N_DEPTH + 1, width)
        blocks = nn.ModuleList(
            Block(width=width, n_heads=sizes.n_heads, d_hid=4 * width) for _ in range(sizes.n_blocks)
        )
        self.encoder = nn.ModuleDict({"blocks": blocks, "norm": nn.LayerNorm(width)})
        self.decoder_embed = nn.Linear(width, decoder)
        decoding = nn.ModuleList(
            _DecoderBlock(decoder, n_heads=sizes.n_decoder_heads, head_width=sizes.head_width)
            for _ in range(sizes.n_decoder_blocks)
        )
        self.decoder = nn.ModuleDict({"blocks": decoding, "norm": nn.LayerNorm(decoder)})
        self.norm, self.to_final = nn.LayerNorm(decoder), nn.Linear(decoder, 1)

    @property
    def n_layers(self) -> int:
        """The input embedding, the output of each block, and that of the final norm."""
        return self.sizes.n_blocks + 2

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks of the encoder, first to last."""
        return cast("nn.ModuleList", self.encoder["blocks"])

    def pooled_layers(self, cells: Sequence[Sentence], *, pooling: Pooling, layers: Sequence[int]) -> list[Tensor]:
        """Return the wanted layers pooled over each cell's tokens; later ones are not computed.

        Parameters
        ----------
        cells
            Places and values of each cell, T and S last.
        pooling
            ``"all"`` joins S, T, the maximum and the mean over genes, ``(b, 4 d)``; ``"max"`` is the maximum over all
            tokens, ``(b, d)``.
        layers
            Ascending; 0 is the input embedding.
        """
        batch = self._batch(cells)
        made = enumerate(islice(self._layers(batch), max(layers) + 1))
        return [_pool(hidden, batch, pooling) for number, hidden in made if number in layers]

    def gene_outputs(self, cells: Sequence[Sentence], *, stabiliser: Stabiliser) -> Tensor:
        """Return what the decoder says of every gene of the list in each cell, expressed or not ``(b, n_genes, d)``."""
        batch = self._batch(cells)
        *_, hidden = self._layers(batch)
        return self._decoded(hidden, batch, stabiliser=stabiliser)[:, : self.sizes.n_genes]

    def expression(self, cells: Sequence[Sentence]) -> Tensor:
        """Return the expression that the decoder gives every gene of the list in each cell ``(b, n_genes)``."""
        return self.to_final(self.gene_outputs(cells, stabiliser="cell"))[..., 0]  # type: ignore[no-any-return]

    def expression_layers(self, cells: Sequence[Sentence]) -> list[Tensor]:
        """Return the expression that decoder and head give each expressed gene ``(n_values,)``, from every layer."""
        batch = self._batch(cells)
        cell, token = batch.before_end(N_DEPTH).nonzero(as_tuple=True)
        place = batch.places[cell, token]
        made = (self._decoded(hidden, batch, stabiliser="cell") for hidden in self._layers(batch))
        return [self.to_final(decoded[cell, place])[:, 0] for decoded in made]

    def attention(self, cells: Sequence[Sentence]) -> Tensor:
        """Return the attention from each token of a cell to each other ``(b, l, l)``, mean over heads and blocks."""
        batch = self._batch(cells)
        return mean_attention(self.blocks, next(self._layers(batch)), padding=~batch.before_end(0))

    @torch.no_grad()
    def gene_vectors(self) -> NDArray[np.float32]:
        """Return the position embedding of each gene of the list ``(n_genes, d)``."""
        return cast("NDArray[np.float32]", self.pos_emb.weight[: self.sizes.n_genes].float().cpu().numpy())

    def _batch(self, cells: Sequence[Sentence]) -> _Batch:
        return _Batch.of(cells, device=self.pos_emb.weight.device)

    def _layers(self, batch: _Batch) -> Iterator[Tensor]:
        real = batch.before_end(0)
        # without padding no mask at all, so that the fastest attention kernel is free to run
        padding = None if bool(real.all()) else ~real
        last = self.token_emb(batch.values) + self.pos_emb(batch.places)
        for layer in layer_outputs(last, self.blocks, padding=padding):
            last = layer
            yield last
        yield self.encoder["norm"](last)

    def _decoded(self, hidden: Tensor, batch: _Batch, *, stabiliser: Stabiliser) -> Tensor:
        cell, token = batch.before_end(0).nonzero(as_tuple=True)
        n_cells, n_places = len(batch.lengths), self.sizes.n_genes + N_DEPTH
        unexpressed = self.token_emb(torch.zeros(1, device=hidden.device)).to(hidden.dtype)  # (1, d)
        every = unexpressed.expand(n_cells, n_places, -1).clone()
        every[cell, batch.places[cell, token]] = hidden[cell, token]
        decoded = self.decoder_embed(every + self.pos_emb.weight[:n_places])
        for block in cast("nn.ModuleList", self.decoder["blocks"]):
            decoded = block(decoded, stabiliser=stabiliser)
        return self.norm(self.decoder["norm"](decoded))  # type: ignore[no-any-return]


def _pool(hidden: Tensor, batch: _Batch, pooling: Pooling) -> Tensor:
    if pooling == "max":
        return _masked_max(hidden, batch.before_end(0))
    cell, genes = torch.arange(len(batch.lengths), device=hidden.device), batch.before_end(N_DEPTH)
    depth = [hidden[cell, batch.lengths - back] for back in (1, 2)]
    return torch.cat([*depth, _masked_max(hidden, genes), masked_mean(hidden, genes)], dim=1)


def _masked_max(hidden: Tensor, kept: Tensor) -> Tensor:
    return hidden.masked_fill(~kept.unsqueeze(-1), -math.inf).amax(dim=1)


def build_network(sizes: Sizes, *, seed: int = 0) -> ScFoundationNetwork:
    """Return a network in evaluation mode with random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScFoundationNetwork(sizes).eval()


def load_network(path: Path, *, part: Part, n_genes: int) -> checkpoint.Loaded[ScFoundationNetwork]:
    """Return one of the networks in a checkpoint; a tensor that is missing or unknown is an error.

    Raises
    ------
    InvalidInputError
        The file is damaged or would execute code, has no such part, or is of another architecture or gene list.
    """
    content = checkpoint.read_checkpoint(path)
    chosen = content.get(part) if isinstance(content, Mapping) else None
    if not isinstance(chosen, Mapping) or not {"config", "state_dict"} <= chosen.keys():
        raise InvalidInputError(
            asked=f"the network {part!r} in {path}",
            found="no part of that name with config and state_dict",
            remedy=_PUBLISHED,
        )
    sizes = _read_sizes(chosen["config"], path=path, n_genes=n_genes)
    return checkpoint.loaded(
        lambda: build_network(sizes),
        checkpoint.renamed(checkpoint.only_tensors(chosen["state_dict"], path=path), _RENAMED),
        files=[path],
        settings=f"the settings in {path}",
        ignored=_UNUSED,
    )


def _read_sizes(config: Any, *, path: Path, n_genes: int) -> Sizes:
    with refusing(asked=f"the settings in {path}", remedy=_PUBLISHED):
        said = {**config["model_config"][config["model"]], **config["dataset_config"]["rnaseq"]}
        encoder, decoder = dict(said["encoder"]), dict(said["decoder"])
        kinds = (encoder["module_type"], decoder["module_type"])
        late_norm = not (encoder.get("norm_first") or decoder.get("norm_first"))
        alpha = float(said["bin_alpha"])
    if (config["model"], kinds, late_norm) != ("mae_autobin", ("transformer", "performer"), True):
        raise InvalidInputError(
            asked=f"a network of {path}",
            found=f"{config['model']} with {' and '.join(map(str, kinds))}, norm_first {not late_norm}",
            remedy="use the checkpoint of the release: mae_autobin with transformer and performer, norms last",
        )
    checkpoint.require_sizes(said, ["seq_len", "bin_num"], path=path)
    checkpoint.require_sizes(encoder, ["hidden_dim", "depth", "heads"], path=path)
    checkpoint.require_sizes(decoder, ["hidden_dim", "depth", "heads", "dim_head"], path=path)
    if said["seq_len"] != n_genes + N_DEPTH:
        guards.refuse(
            "pretrained",
            asked=f"the network of {path} with a list of {n_genes} genes",
            found=f"a network for {said['seq_len'] - N_DEPTH} genes",
            remedy=_PUBLISHED,
        )
    return Sizes(
        n_genes=n_genes,
        n_bins=said["bin_num"],
        alpha=alpha,
        width=encoder["hidden_dim"],
        n_blocks=encoder["depth"],
        n_heads=encoder["heads"],
        decoder_width=decoder["hidden_dim"],
        n_decoder_blocks=decoder["depth"],
        n_decoder_heads=decoder["heads"],
        head_width=decoder["dim_head"],
    )

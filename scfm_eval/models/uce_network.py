"""The network of UCE, and how it is read from a checkpoint; :mod:`scfm_eval.models.uce` is the adapter.

Rosen et al. 2023, doi:10.1101/2023.11.28.568918.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.batching import padded
from scfm_eval.models.blocks import Block, layer_outputs, mean_attention
from scfm_eval.models.uce_tokens import PADDING, Padding, Sizes

_DROPOUT = 0.05
_TABLE = "pe_embedding.weight"
# says of a cell and a gene whether one expresses the other; see the adapter for why nothing reads it
_UNUSED_HEADS = (r"binary_decoder\..*", r"gene_embedding_layer\..*")


class _Positions(nn.Module):
    """The sinusoidal table; ``pe`` ``(n_positions, 1, d)``."""

    pe: Tensor

    def __init__(self, n_positions: int, width: int) -> None:
        super().__init__()
        angle = torch.arange(n_positions)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        waves = torch.stack([torch.sin(angle), torch.cos(angle)], dim=-1).flatten(1)
        self.register_buffer("pe", waves[:, None, :width].contiguous())
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dropout(hidden + self.pe[: hidden.shape[1], 0])  # type: ignore[no-any-return]


class UCENetwork(nn.Module):
    """Protein embeddings with positions, post-norm transformer blocks, and a decoder on ``<cls>``.

    Parameters
    ----------
    sizes
        Of the checkpoint.
    inner
        Width of the decoder's first layer.
    n_positions
        Most tokens of a sentence.
    """

    def __init__(self, sizes: Sizes, *, inner: int, n_positions: int) -> None:
        super().__init__()
        self.sizes, self.inner = sizes, inner
        width, out = sizes.emsize, sizes.output_dim
        self.encoder = nn.Sequential(nn.Linear(sizes.token_dim, width), nn.GELU(), nn.LayerNorm(width))
        self.pos_encoder = _Positions(n_positions, width)
        of_block: dict[str, Any] = {"n_heads": sizes.nhead, "d_hid": sizes.d_hid, "dropout": _DROPOUT}
        blocks = (Block(width=width, **of_block) for _ in range(sizes.nlayers))
        self.transformer_encoder = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
        self.decoder = nn.Sequential(_full(width, inner), _full(inner, out), _full(out, out), nn.Linear(out, out))

    @property
    def n_positions(self) -> int:
        """Most tokens of a sentence."""
        return len(self.pos_encoder.pe)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.pos_encoder.pe.device

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, first to last."""
        return cast("nn.ModuleList", self.transformer_encoder["layers"])

    def vectors(self, proteins: Tensor) -> Tensor:
        """Return what enters the transformer for each protein embedding ``(n, token_dim)``, no position: ``(n, d)``."""
        made: Tensor = self.encoder(nn.functional.normalize(proteins.to(self.device), dim=-1))
        return made

    def hidden_layers(
        self, cells: Sequence[NDArray[np.int64]], *, table: Tensor, padding: Padding
    ) -> tuple[Iterator[Tensor], Tensor | None]:
        """Return the outputs of all layers ``(b, l, d)``, the input first, and the mask of padding ``(b, l)``.

        Parameters
        ----------
        cells
            Tokens of each cell.
        table
            Protein embedding of each token ``(n_tokens, token_dim)``, on the CPU.
        padding
            Whether it is masked, or gets 1 added to the scores of attention as upstream does.
        """
        tokens = padded(cells, fill=PADDING)  # (b, l)
        # far fewer tokens than places: each is encoded once
        words, place = np.unique(tokens, return_inverse=True)
        vectors = self.vectors(table[torch.from_numpy(words)])
        hidden = vectors[torch.from_numpy(place.reshape(tokens.shape)).to(self.device)] * math.sqrt(self.sizes.emsize)
        real = np.arange(tokens.shape[1]) < np.array([len(cell) for cell in cells])[:, None]
        mask = None if real.all() else torch.from_numpy(~real).to(self.device)
        if mask is not None and padding == "attended":
            mask = mask.float()
        return layer_outputs(self.pos_encoder(hidden), self.blocks, padding=mask), mask

    def cls_layers(self, cells: Sequence[NDArray[np.int64]], *, table: Tensor, padding: Padding) -> list[Tensor]:
        """Return ``<cls>`` on each layer ``(b, d)``, the input first; parameters as :meth:`hidden_layers`."""
        layers, _ = self.hidden_layers(cells, table=table, padding=padding)
        return [hidden[:, 0] for hidden in layers]

    def attention(self, cells: Sequence[NDArray[np.int64]], *, table: Tensor) -> Tensor:
        """Return the attention ``(b, l, l)`` between tokens, mean over heads and blocks; padding is masked."""
        layers, mask = self.hidden_layers(cells, table=table, padding="masked")
        return mean_attention(self.blocks, next(layers), padding=mask)


def _full(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(_DROPOUT))


def build_network(sizes: Sizes, *, inner: int, n_positions: int, seed: int = 0) -> UCENetwork:
    """Return a network in evaluation mode with random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UCENetwork(sizes, inner=inner, n_positions=n_positions).eval()


def redrawn(network: UCENetwork, *, seed: int) -> UCENetwork:
    """Return a network of the same sizes, on the same device, with random weights."""
    made = build_network(network.sizes, inner=network.inner, n_positions=network.n_positions, seed=seed)
    return made.to(network.device)


def load_network(path: Path, *, sizes: Sizes, n_chromosomes: int) -> tuple[checkpoint.Loaded[UCENetwork], Tensor]:
    """Return the network in a checkpoint and its table; a tensor that is missing or unknown is an error.

    Parameters
    ----------
    path
        A torch state dict.
    sizes
        What the network has to be.
    n_chromosomes
        How many chromosomes ``species_chrom.csv`` names: the table ends with a row for each.

    Returns
    -------
    loaded
        Whose number of parameters leaves out the table, which comes from a protein model.
    table
        Protein embedding of each token ``(n_tokens, token_dim)``, on the CPU; chromosomes come last.

    Raises
    ------
    InvalidInputError
        The file is damaged, or holds a network or a table of other sizes.
    """
    tensors = checkpoint.read_tensors(path)
    table = tensors.pop(_TABLE, torch.empty(0, 0)).float()
    n_positions = _length(tensors, "pos_encoder.pe")
    _require_fit(tuple(table.shape), n_positions, sizes=sizes, n_chromosomes=n_chromosomes)
    inner = _length(tensors, "decoder.0.0.bias")
    loaded = checkpoint.loaded(
        lambda: build_network(sizes, inner=inner, n_positions=n_positions),
        tensors,
        files=[path],
        settings=str(sizes),
        ignored=_UNUSED_HEADS,
    )
    # the table was used, too
    return replace(loaded, share=1 - (1 - loaded.share) * len(tensors) / (len(tensors) + 1)), table


def _require_fit(table: tuple[int, ...], n_positions: int, *, sizes: Sizes, n_chromosomes: int) -> None:
    wanted = (sizes.chrom_token_offset + n_chromosomes, sizes.token_dim)
    if table != wanted or n_positions < sizes.pad_length:
        raise InvalidInputError(
            asked=f"{_TABLE} of shape {wanted}, a row for each chromosome of species_chrom.csv at its end, and "
            f"{sizes.pad_length} positions",
            found=f"shape {table}, and {n_positions} positions",
            remedy="use checkpoint, species_offsets.pkl and species_chrom.csv of one release",
        )


def _length(tensors: Mapping[str, Tensor], name: str) -> int:
    # one that is missing is named when the network is loaded
    return len(tensors[name]) if name in tensors and tensors[name].ndim else 1

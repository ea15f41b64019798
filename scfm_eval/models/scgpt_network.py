"""The network of scGPT, and how it is read from a checkpoint; :mod:`scfm_eval.models.scgpt` is the adapter.

Cui et al. 2024, doi:10.1038/s41592-024-02201-0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, pretrained
from scfm_eval.models.batching import padded
from scfm_eval.models.blocks import Block, layer_outputs, masked_mean, mean_attention
from scfm_eval.models.scgpt_tokens import CLS_VALUE, RELEASES, Pooling, Sentence

_LARGEST_VALUE = 512.0
_UNUSED_HEADS = (r"decoder\.zero_logit\..*", r"cls_decoder\..*", r"mvc_decoder\..*", r"flag_encoder\.weight")
_TABLE = "encoder.embedding.weight"
# the head for classes is there from pretraining on, with one output that is never read
_OUTPUTS = {"cls_decoder.out_layer.weight": 1}
_OTHER_PARTS = {
    r"(batch_encoder|dsbn|domain_spec_batchnorm|bn|grad_reverse_discriminator)\..*": (
        "parts that know batches, as a fine-tuning for integration adds them"
    ),
    r"pert_encoder\..*": "an encoder of perturbations, as a fine-tuning on them adds it",
    r"(sim|mod_encoder)\..*": "parts of a fine-tuning on several kinds of data",
}
_READING = {"input_style": "binned", "input_emb_style": "continuous", "n_bins": 51}
_RENAMED = (
    (r"^gene_encoder\.", "encoder."),
    (r"^transformer\.", "transformer_encoder."),
    (r"^expr_decoder\.", "decoder."),
    (r"\.self_attn\._impl\.", ".self_attn."),
    (r"\.self_attn\.Wqkv\.(weight|bias)$", r".self_attn.in_proj_\1"),
)


class _GeneEncoder(nn.Module):
    def __init__(self, n_tokens: int, width: int, padding: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, width, padding_idx=padding)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.enc_norm(self.embedding(tokens))  # type: ignore[no-any-return]


class _ValueEncoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(1, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        hidden = torch.relu(self.linear1(values[:, :, None].clamp(max=_LARGEST_VALUE)))
        return self.norm(self.linear2(hidden))  # type: ignore[no-any-return]


class _ExpressionDecoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = [layer for _ in range(2) for layer in (nn.Linear(width, width), nn.LeakyReLU())]
        self.fc = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc(hidden)[..., 0]  # type: ignore[no-any-return]


class ScGPTNetwork(nn.Module):
    """ScGPT: genes plus values, post-norm transformer blocks without positions, and the head that gives values back.

    Parameters
    ----------
    n_tokens
        Size of the vocabulary.
    width, n_heads, d_hid, n_layers
        Of the transformer.
    padding
        Token id of ``<pad>``.
    """

    def __init__(self, *, n_tokens: int, width: int, n_heads: int, d_hid: int, n_layers: int, padding: int) -> None:
        super().__init__()
        self.padding, self.n_layers = padding, n_layers
        self.encoder = _GeneEncoder(n_tokens, width, padding)
        self.value_encoder = _ValueEncoder(width)
        self.transformer_encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(Block(width=width, n_heads=n_heads, d_hid=d_hid) for _ in range(n_layers))}
        )
        self.decoder = _ExpressionDecoder(width)

    @property
    def width(self) -> int:
        """Width of the hidden state."""
        return self.encoder.embedding.embedding_dim

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, first to last."""
        return cast("nn.ModuleList", self.transformer_encoder["layers"])

    def hidden_layers(self, cells: Sequence[Sentence], *, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator of the outputs of layers 0 (the input embedding) to ``last``, with masks of real tokens.

        Parameters
        ----------
        cells
            Tokens and values of each cell, ``<cls>`` first.
        last
            Layers after this one are not computed.

        Returns
        -------
        hidden
            ``(b, l, d)``, cells padded on the right.
        real
            ``(b, l)``, false on padding.
        """
        device = self.encoder.embedding.weight.device
        tokens = torch.from_numpy(padded([cell[0] for cell in cells], fill=self.padding)).to(device)  # (b, l)
        values = torch.from_numpy(padded([cell[1] for cell in cells], fill=CLS_VALUE)).to(device)
        return self.hidden_layers_of(tokens, values, last=last)

    def hidden_layers_of(self, tokens: Tensor, values: Tensor, *, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what :meth:`hidden_layers` does, of cells that are padded already.

        Parameters
        ----------
        tokens, values
            ``(b, l)``, ``<cls>`` first, padding on the right.
        last
            Layers after this one are not computed.
        """
        real = tokens != self.padding
        # without padding no mask at all, so that the fastest attention kernel is free to run
        padding = None if bool(real.all()) else ~real
        hidden = self.encoder(tokens) + self.value_encoder(values)  # (b, l, d)
        for made in layer_outputs(hidden, self.blocks[:last], padding=padding):
            yield made, real

    def pooled_layers(self, cells: Sequence[Sentence], *, pooling: Pooling, layers: Sequence[int]) -> list[Tensor]:
        """Return the wanted layers pooled over each cell's tokens, ``(b, d)`` each; later ones are not computed.

        Parameters
        ----------
        cells
            Tokens and values of each cell, ``<cls>`` first.
        pooling
            ``<cls>``, or the mean over all real tokens.
        layers
            Ascending; 0 is the input embedding.
        """
        made = enumerate(self.hidden_layers(cells, last=max(layers)))
        return [_pool(hidden, real, pooling) for number, (hidden, real) in made if number in layers]

    def decoded_layers(self, cells: Sequence[Sentence]) -> list[Tensor]:
        """Return what the expression head gives for each gene of each cell ``(n_values,)``, on every layer."""
        made = self.hidden_layers(cells, last=self.n_layers)
        return [self.decoder(hidden)[:, 1:][real[:, 1:]] for hidden, real in made]

    def attention(self, cells: Sequence[Sentence]) -> Tensor:
        """Return the attention from each token of a cell to each other ``(b, l, l)``, mean over heads and blocks."""
        hidden, real = next(self.hidden_layers(cells, last=0))
        return mean_attention(self.blocks, hidden, padding=~real)

    @torch.no_grad()
    def gene_vectors(self) -> NDArray[np.float32]:
        """Return what enters the transformer for each token ``(n_tokens, d)``: its embedding, normalised."""
        return cast("NDArray[np.float32]", self.encoder.enc_norm(self.encoder.embedding.weight).float().cpu().numpy())


def _pool(hidden: Tensor, real: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    return masked_mean(hidden.float(), real)


def build_network(*, seed: int = 0, **settings: int) -> ScGPTNetwork:
    """Return a network in evaluation mode with random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScGPTNetwork(**settings).eval()


def redrawn(network: ScGPTNetwork, *, seed: int) -> ScGPTNetwork:
    """Return a network of the same sizes, on the same device, with random weights."""
    block = cast("Block", network.blocks[0])
    embedding = network.encoder.embedding
    return build_network(
        n_tokens=embedding.num_embeddings,
        width=network.width,
        n_heads=block.self_attn.num_heads,
        d_hid=block.linear1.out_features,
        n_layers=network.n_layers,
        padding=network.padding,
        seed=seed,
    ).to(embedding.weight.device)


def read_sizes(path: Path) -> dict[str, int]:
    """Return the sizes of the transformer that ``args.json`` or ``config.json`` state."""
    said = checkpoint.read_dictionary(path)
    said.setdefault("nheads", said.get("nhead"))
    names = {"width": "embsize", "n_heads": "nheads", "d_hid": "d_hid", "n_layers": "nlayers"}
    checkpoint.require_sizes(said, names.values(), path=path)
    other = {name: said[name] for name, read in _READING.items() if name in said and said[name] != read}
    if other:
        raise InvalidInputError(
            asked=f"a scGPT that reads cells as the published one does, in {path}",
            found=", ".join(f"{name} = {value!r}, not {_READING[name]!r}" for name, value in other.items()),
            remedy="give a checkpoint of scGPT whole-human or one that was pretrained in its way",
        )
    return {ours: said[theirs] for ours, theirs in names.items()}


def stated_length(folder: Path) -> int:
    """Return the most tokens of a cell, ``<cls>`` counted, that the settings in a folder state as ``max_seq_len``."""
    settings = network_files(folder)[1]
    said = checkpoint.read_dictionary(settings)
    checkpoint.require_sizes(said, ["max_seq_len"], path=settings)
    return int(said["max_seq_len"])


def network_files(folder: Path) -> tuple[Path, Path]:
    """Return checkpoint and settings in a folder; raises ``InvalidInputError`` where they are missing."""
    weights, settings = checkpoint.choose_files(
        folder,
        [("best_model.pt", "args.json"), ("model.safetensors", "config.json"), ("model.safetensors", "args.json")],
    )
    return weights, settings


def load_network(folder: Path, *, tokens: Mapping[str, int]) -> checkpoint.Loaded[ScGPTNetwork]:
    """Return the network in a folder; a tensor that is missing or unknown is an error, other heads are left out.

    Raises
    ------
    InvalidInputError
        Files are missing, do not fit each other, or hold another architecture.
    GuardError
        The network was fine-tuned, or the vocabulary is another one.
    """
    weights, settings = network_files(folder)
    sizes = read_sizes(settings)
    tensors = checkpoint.renamed(checkpoint.read_tensors(weights), _RENAMED)
    if _TABLE in tensors:
        pretrained.require_table(
            rows=len(tensors[_TABLE]),
            n_tokens=len(tokens),
            releases=RELEASES,
            remedy="use the vocab.json that was published with the checkpoint",
            path=folder,
        )
    return checkpoint.loaded(
        lambda: build_network(n_tokens=len(tokens), padding=tokens["<pad>"], **sizes),
        tensors,
        files=[weights, settings],
        settings=f"the settings in {settings}",
        ignored=_UNUSED_HEADS,
        heads=_OTHER_PARTS,
        outputs=_OUTPUTS,
    )

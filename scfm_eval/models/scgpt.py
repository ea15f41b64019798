"""scGPT: a transformer over the expressed genes of a cell, each with its binned expression.

Cui et al. 2024, doi:10.1038/s41592-024-02201-0.

Upstream bins equal counts at random and samples long cells at random, from global generators. Here the default bins
each tie in the middle, and whatever is drawn is drawn from a generator that the cell's own content seeds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.batching import (
    Precision,
    gene_places,
    layer_number,
    padded,
    pool_in_batches,
    refuse_unread,
    usual_batch_size,
)
from scfm_eval.timing import phase

Pooling = Literal["cls", "mean"]
Binning = Literal["midpoint", "random"]
Sentence = tuple[NDArray[np.int64], NDArray[np.float32]]

_N_BINS = 51
_LARGEST_VALUE = 512.0
_CLS_VALUE = -2.0  # upstream gives <cls> the padding value
_N_SPECIAL = 2  # <pad> and <cls> come first in the vocabulary of the control
_UNUSED_HEADS = (r"decoder\..*", r"cls_decoder\..*", r"mvc_decoder\..*", r"flag_encoder\.weight")
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


class _Block(nn.Module):
    # torch's own layer takes a path of its own in inference, which holds all attention weights and is slower
    def __init__(self, width: int, n_heads: int, d_hid: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, d_hid), nn.Linear(d_hid, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        attention = self.self_attn
        joined = nn.functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)  # (b, l, 3 d)
        heads = joined.reshape(*hidden.shape[:2], 3, attention.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (b, h, l, d / h)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = self.norm1(hidden + attention.out_proj(attended.transpose(1, 2).flatten(2)))
        return self.norm2(hidden + self.linear2(torch.relu(self.linear1(hidden))))  # type: ignore[no-any-return]


class ScGPTEncoder(nn.Module):
    """The part of scGPT that embeds: genes plus values, then post-norm transformer blocks without positions.

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
            {"layers": nn.ModuleList(_Block(width, n_heads, d_hid) for _ in range(n_layers))}
        )

    @property
    def _blocks(self) -> nn.ModuleList:
        return cast("nn.ModuleList", self.transformer_encoder["layers"])

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
        device = self.encoder.embedding.weight.device
        tokens = torch.from_numpy(padded([cell[0] for cell in cells], fill=self.padding)).to(device)  # (b, l)
        values = torch.from_numpy(padded([cell[1] for cell in cells], fill=_CLS_VALUE)).to(device)
        real = tokens != self.padding
        # without padding no mask at all, so that the fastest attention kernel is free to run
        mask = None if bool(real.all()) else real[:, None, None, :]
        hidden = self.encoder(tokens) + self.value_encoder(values)  # (b, l, d)
        made = [_pool(hidden, real, pooling)] if 0 in layers else []
        for number, block in enumerate(self._blocks[: max(layers)], start=1):
            hidden = block(hidden, mask)
            if number in layers:
                made.append(_pool(hidden, real, pooling))
        return made


def _pool(hidden: Tensor, real: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    return (hidden.float() * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True)


def bin_values(values: NDArray[np.float32], draw: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the bin of each expressed gene among the 50 quantile edges of its own cell.

    A value that several edges equal lies between a lowest and a highest bin; ``draw`` says where.

    Parameters
    ----------
    values
        Counts of the expressed genes of one cell, ``(n,)``.
    draw
        In [0, 1), one for all or one per gene; 0.5 is the middle.
    """
    edges = np.quantile(values, np.linspace(0, 1, _N_BINS - 1))
    highest = np.digitize(values, edges)
    lowest = np.digitize(values, edges, right=True)
    return np.ceil(draw * (lowest - highest) + highest).astype(np.float32)


def cell_generator(tokens: NDArray[np.int64], values: NDArray[np.float32], *, seed: int) -> np.random.Generator:
    """Return a generator that only the seed and the genes and counts of one cell determine, in whatever order."""
    order = np.lexsort((values, tokens))
    content = np.int64(seed).tobytes() + tokens[order].tobytes() + values[order].tobytes()
    return np.random.default_rng(np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint32))


def sentence(
    tokens: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    cls: int,
    max_length: int,
    binning: Binning,
    seed: int,
) -> Sentence:
    """Return tokens and binned values of one cell, ``<cls>`` first; a long cell is sampled after binning.

    Parameters
    ----------
    tokens, values
        Expressed genes of the cell and their counts, ``(n,)``.
    cls
        Token of ``<cls>``.
    max_length, binning, seed
        See :class:`ScGPT`.
    """
    if binning == "midpoint" and len(tokens) < max_length:
        bins = bin_values(values, 0.5)
    else:
        order = np.lexsort((values, tokens))
        generator = cell_generator(tokens, values, seed=seed)
        tokens, values = tokens[order], values[order]
        bins = bin_values(values, 0.5 if binning == "midpoint" else generator.random(len(values)))
        if len(tokens) >= max_length:
            kept = generator.permutation(len(tokens))[: max_length - 1]
            tokens, bins = tokens[kept], bins[kept]
    return np.concatenate([[cls], tokens]), np.concatenate([[np.float32(_CLS_VALUE)], bins]).astype(np.float32)


def sentences(
    counts: sparse.csr_matrix, *, token: NDArray[np.int64], names: Sequence[str], **how: Any
) -> list[Sentence]:
    """Return the :func:`sentence` of each cell; raises ``InvalidInputError`` for a cell without any known gene.

    Parameters
    ----------
    counts, token
        ``(n_cells, n_columns)``, and the token of each column, −1 for a gene that is not in the vocabulary.
    names, how
        Names of the cells, for messages, and what is passed on to :func:`sentence`.
    """
    columns = np.flatnonzero(token >= 0)
    read = sparse.csr_matrix(counts[:, columns], dtype=np.float32)
    read.eliminate_zeros()
    read.sort_indices()
    refuse_unread(np.diff(read.indptr), names=names)
    genes, cells = token[columns][read.indices], zip(read.indptr[:-1], read.indptr[1:], strict=True)
    return [sentence(genes[a:b], read.data[a:b], **how) for a, b in cells]


class _Embeds:
    """Runs the encoder that a class below loads or makes over the sentences that it writes."""

    name: ClassVar[str]
    device: str
    precision: Precision
    pooling: Pooling
    layer: int
    max_length: int
    batch_size: int
    _encoder: ScGPTEncoder

    def tokenise(self, cells: AnnData) -> list[Sentence]:
        """Return tokens and binned values of each cell, ``<cls>`` first, not padded; raises like :meth:`embed`."""
        raise NotImplementedError

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row of unit length per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read.
        """
        rows = self._layers(cells, [self.layer])[0]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, not normalised, the input first; raises like :meth:`embed`."""
        return self._layers(cells, None)

    def _layers(self, cells: AnnData, layers: Sequence[int] | None) -> list[NDArray[np.float32]]:
        with phase("tokenise"):
            read = self.tokenise(cells)
        wanted = range(self._encoder.n_layers + 1) if layers is None else layers
        return pool_in_batches(
            lambda batch: self._encoder.pooled_layers([read[i] for i in batch], pooling=self.pooling, layers=wanted),
            np.array([len(tokens) for tokens, _ in read]),
            token_budget=self.batch_size * self.max_length,
            device=self.device,
            precision=self.precision,
            name=self.name,
        )


class ScGPT(_Embeds):
    """scGPT whole-human, frozen.

    Other checkpoints of the same architecture (brain, blood, heart, lung, kidney, pan-cancer, continual) are not
    published at a pinned revision: download them and give their folder as ``weights``.

    Parameters
    ----------
    weights
        Folder with ``best_model.pt`` and ``args.json``, or ``model.safetensors`` and ``config.json``, and with
        ``vocab.json``. ``None`` looks in ``$SCFM_EVAL_WEIGHTS/scgpt`` and then takes the pinned release.
    device, precision
        Where it runs, and the type that matrix products run in.
    pooling
        ``<cls>``, or the mean over all tokens, ``<cls>`` counted.
    layer
        Layer that :meth:`embed` returns, counted like a list of ``n_blocks + 1`` entries.
    binning
        ``"midpoint"`` puts equal counts into the middle one of the bins that they straddle; ``"random"`` draws a bin
        as upstream does, from a generator that ``seed`` and the cell's own genes and counts determine.
    seed
        Of that generator, which also samples cells of more than ``max_length`` tokens.
    max_length, batch_size
        Most tokens of a cell, ``<cls>`` counted, and cells of that length in a batch; shorter cells travel in larger
        batches of as many tokens. ``None`` takes what suits the device.
    offline
        Never download.
    """

    name: ClassVar[str] = "scgpt"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "symbol"
    repo: ClassVar[str] = "tdc/scGPT"
    revision: ClassVar[str] = "acf749f35bf5c0b00633838f02588272ed0d9911"
    licence: ClassVar[str] = "MIT"
    citation: ClassVar[str] = "10.1038/s41592-024-02201-0"
    files: ClassVar[tuple[str, ...]] = ("config.json", "model.safetensors")
    vocabulary_url: ClassVar[str] = "https://dataverse.harvard.edu/api/access/datafile/10809431"
    vocabulary_sha256: ClassVar[str] = "ee2b2c90158eedb97c2318e49abaaed0a02c6fdf7e3f7ca6a821906413c4d2a4"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        pooling: Pooling = "cls",
        layer: int = -1,
        binning: Binning = "midpoint",
        seed: int = 0,
        max_length: int = 1200,
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        self.device, self.precision, self.batch_size = device, precision, batch_size or usual_batch_size(device)
        self.pooling, self.max_length = pooling, max_length
        self.binning, self.seed = binning, seed
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            vocabulary = self._vocabulary_file(folder, offline=offline)
            self.tokens = read_vocabulary(vocabulary)
            self._encoder, self.n_parameters, self.unused_tensors, files = load_encoder(folder, tokens=self.tokens)
            self.layer = layer_number(layer, n_layers=self._encoder.n_layers + 1)
            self._encoder.to(device)
            self.weights_sha256: str | None = checkpoint.weights_sha256([*files, vocabulary])

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded if need be; raises ``InvalidInputError`` where there is none."""
        folder = checkpoint.locate(
            cls.name, weights=weights, repo=cls.repo, revision=cls.revision, files=cls.files, offline=offline
        )
        cls._vocabulary_file(folder, offline=offline)
        return folder

    @classmethod
    def available(cls, weights: str | Path | None = None) -> bool:
        """Return whether the weights and their vocabulary are already on this machine; the network is not touched."""
        try:
            return cls._vocabulary_file(cls.locate(weights, offline=True), offline=True).exists()
        except InvalidInputError:
            return False

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint, settings and vocabulary of the weights folder, which :meth:`locate` has made complete."""
        return [*encoder_files(Path(weights)), cls._vocabulary_file(Path(weights), offline=True)]

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene symbols in the vocabulary of the weights folder, which :meth:`locate` has made complete."""
        tokens = read_vocabulary(cls._vocabulary_file(Path(weights), offline=True))
        return frozenset(gene for gene in tokens if not re.fullmatch("<.*>", gene))

    def tokenise(self, cells: AnnData) -> list[Sentence]:
        """Return tokens and binned values of each cell, ``<cls>`` first, not padded; raises like :meth:`embed`.

        Genes are ``var["feature_name"]`` where that column exists, else ``var_names``.
        """
        genes = cells.var.get("feature_name", cells.var_names)
        return sentences(
            sparse.csr_matrix(cells.X),
            token=np.array([self.tokens.get(str(gene), -1) for gene in genes], dtype=np.int64),
            names=list(cells.obs_names),
            cls=self.tokens["<cls>"],
            max_length=self.max_length,
            binning=self.binning,
            seed=self.seed,
        )

    @classmethod
    def _vocabulary_file(cls, folder: Path, *, offline: bool) -> Path:
        beside = folder / "vocab.json"
        if beside.exists():
            return beside
        # the pinned repository has no vocabulary; its publisher keeps that elsewhere
        return checkpoint.fetch_file(
            cls.name, "vocab.json", url=cls.vocabulary_url, sha256=cls.vocabulary_sha256, offline=offline
        )


class UntrainedScGPT(_Embeds):
    """Control: a small scGPT with random weights over the genes of the dataset.

    The weights depend on ``seed`` and on the names of the genes in the view, never on its cells.

    Parameters
    ----------
    seed
        Of the random weights, and of the sampling of long cells.
    device, precision, batch_size
        As in :class:`ScGPT`.
    """

    name: ClassVar[str] = "scgpt-untrained"
    role: ClassVar[str] = "control"
    revision: ClassVar[str] = "1"
    licence: ClassVar[str] = "BSD-3-Clause"
    citation: ClassVar[str] = "10.1038/s41592-024-02201-0"
    gene_ids: ClassVar[None] = None
    weights_sha256: ClassVar[None] = None
    settings: ClassVar[dict[str, int]] = {"width": 256, "n_heads": 4, "d_hid": 512, "n_layers": 6, "padding": 0}

    def __init__(
        self, *, seed: int = 0, device: str = "cpu", precision: Precision = "float32", batch_size: int | None = None
    ) -> None:
        self.seed, self.device, self.precision = seed, device, precision
        self.batch_size = batch_size or usual_batch_size(device)
        self.pooling, self.layer, self.max_length = "cls", self.settings["n_layers"], 1200
        self.n_parameters: int | None = None
        self._genes: list[str] = []

    def tokenise(self, cells: AnnData) -> list[Sentence]:
        """Return tokens and binned values of each cell, ``<cls>`` first, not padded; raises like :meth:`embed`."""
        return sentences(
            sparse.csr_matrix(cells.X),
            token=gene_places(cells)[1] + _N_SPECIAL,
            names=list(cells.obs_names),
            cls=1,
            max_length=self.max_length,
            binning="midpoint",
            seed=self.seed,
        )

    def _layers(self, cells: AnnData, layers: Sequence[int] | None) -> list[NDArray[np.float32]]:
        with phase("load"):
            self._build(gene_places(cells)[0])
        return super()._layers(cells, layers)

    def _build(self, genes: list[str]) -> None:
        if genes == self._genes:
            return
        self._encoder = build_encoder(n_tokens=len(genes) + _N_SPECIAL, **self.settings, seed=self.seed).to(self.device)
        self._genes = genes
        self.n_parameters = sum(p.numel() for p in self._encoder.parameters())


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return gene symbol, ``<pad>`` and ``<cls>`` to token id; raises ``InvalidInputError`` without the latter two."""
    tokens = checkpoint.read_dictionary(path)
    if not {"<pad>", "<cls>"} <= tokens.keys():
        raise InvalidInputError(
            asked=f"a scGPT vocabulary in {path}",
            found="no dictionary with <pad> and <cls>",
            remedy="use the vocab.json of the release",
        )
    return tokens


def build_encoder(*, seed: int = 0, **settings: int) -> ScGPTEncoder:
    """Return an encoder in evaluation mode with random weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScGPTEncoder(**settings).eval()


def read_sizes(path: Path) -> dict[str, int]:
    """Return the sizes of the transformer that ``args.json`` or ``config.json`` state."""
    said = checkpoint.read_dictionary(path)
    said.setdefault("nheads", said.get("nhead"))
    names = {"width": "embsize", "n_heads": "nheads", "d_hid": "d_hid", "n_layers": "nlayers"}
    absent = [name for name in names.values() if not isinstance(said.get(name), int)]
    if absent:
        raise InvalidInputError(
            asked=f"the sizes of the transformer in {path}",
            found=f"no number for {', '.join(absent)}",
            remedy="use the file that was published with the checkpoint",
        )
    return {ours: said[theirs] for ours, theirs in names.items()}


def encoder_files(folder: Path) -> tuple[Path, Path]:
    """Return checkpoint and settings in a folder; raises ``InvalidInputError`` where they are missing."""
    weights, settings = checkpoint.choose_files(
        folder, [("best_model.pt", "args.json"), ("model.safetensors", "config.json")]
    )
    return weights, settings


def load_encoder(folder: Path, *, tokens: Mapping[str, int]) -> tuple[ScGPTEncoder, int, list[str], list[Path]]:
    """Return the encoder in a folder, its number of parameters, the tensors left unused and the files read.

    Unused are the heads that embedding does not need; any other tensor that does not fit is an error.

    Raises
    ------
    InvalidInputError
        Files are missing, do not fit each other, or hold another architecture.
    """
    weights, settings = encoder_files(folder)
    encoder = build_encoder(n_tokens=len(tokens), padding=tokens["<pad>"], **read_sizes(settings))
    tensors = checkpoint.renamed(checkpoint.read_tensors(weights), _RENAMED)
    n_parameters = checkpoint.load_strictly(encoder, tensors, ignored=_UNUSED_HEADS)
    unused = sorted(tensors.keys() - encoder.state_dict().keys())
    return encoder, n_parameters, unused, [weights, settings]

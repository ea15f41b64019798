"""Geneformer: a BERT that reads the genes of a cell ranked by their expression over the gene's usual expression.

V1 (Theodoris et al. 2023, doi:10.1038/s41586-023-06139-9) reads up to 2,048 genes. V2 (Chen et al. 2024,
doi:10.1101/2024.08.16.608180) reads up to 4,096 tokens between ``<cls>`` and ``<eos>``. Which of the two a folder
holds is told by its token dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

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

Pooling = Literal["mean", "cls"]

_VERSIONED = re.compile(r"(ENS[A-Z]*[0-9]+)\.[0-9]+")
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_COUNTERS = (r"bert\.embeddings\.position_ids",)
_DICTIONARIES = ("token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict")
_NOT_A_GENE = -1
_N_SPECIAL = 2  # <pad> and <mask> come first in the vocabulary of the control


@dataclass(frozen=True)
class GeneDictionaries:
    """What a release says about genes.

    Parameters
    ----------
    token
        Ensembl id, or ``<pad>``, ``<mask>`` and in V2 ``<cls>``, ``<eos>``, to token id.
    median
        Ensembl id to its median nonzero expression, counts per 10,000, in the pretraining corpus.
    mapping
        Any known Ensembl id, upper case, to the one that the other two dictionaries use.
    files
        Where they were read.
    """

    token: dict[str, int]
    median: dict[str, float]
    mapping: dict[str, str]
    files: tuple[Path, ...]

    @classmethod
    def read(cls, folders: Sequence[Path]) -> GeneDictionaries:
        """Read the three dictionaries from the first folder that has them; raises ``InvalidInputError``."""
        files = tuple(_first(kind, folders) for kind in _DICTIONARIES)
        token, median, mapping = (checkpoint.read_dictionary(file) for file in files)
        return cls(token=token, median=median, mapping=mapping, files=files)

    @property
    def special(self) -> tuple[int, ...]:
        """Tokens that enclose the genes: ``<cls>`` and ``<eos>`` in V2, none in V1."""
        return (int(self.token["<cls>"]), int(self.token["<eos>"])) if "<cls>" in self.token else ()

    def columns(self, genes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return token and median of each gene; token −1 where the release does not know it."""
        mapped = [self.mapping.get(_VERSIONED.sub(r"\1", gene.upper()), "") for gene in genes]
        known = [gene if gene in self.median else "" for gene in mapped]
        token = np.array([self.token.get(gene, _NOT_A_GENE) for gene in known], dtype=np.int64)
        return token, np.array([self.median.get(gene, 1.0) for gene in known], dtype=np.float64)


def _first(kind: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        found = sorted(file for end in ("pkl", "json") for file in folder.glob(f"{kind}*.{end}"))
        if len(found) > 1:
            raise InvalidInputError(
                asked=f"one {kind} in {folder}",
                found=", ".join(file.name for file in found),
                remedy="keep the one that belongs to the checkpoint",
            )
        if found:
            return found[0]
    raise InvalidInputError(
        asked=f"{kind}*.pkl or .json",
        found=f"none in {', '.join(map(str, folders))}",
        remedy="put the dictionaries of the release beside the checkpoint",
    )


def rank_genes(
    counts: sparse.csr_matrix, *, token: NDArray[np.int64], median: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Return the tokens of each cell's genes by descending count over median, ties by token.

    The published value is ``count / total of the cell * 10,000 / median``. Total and 10,000 are common to all genes
    of a cell, so they do not change the ranking and are left out: the total over *all* columns is not even needed.

    Parameters
    ----------
    counts
        Raw counts ``(n_cells, n_columns)``.
    token
        Token of each column, −1 for a column that is not read; counts of columns with one token are summed.
    median
        Usual expression of each column's gene.
    """
    read = np.flatnonzero(token != _NOT_A_GENE)
    genes, first, place = np.unique(token[read], return_index=True, return_inverse=True)
    joined = sparse.csr_matrix((np.ones(len(read)), (read, place)), shape=(len(token), len(genes)))
    summed = sparse.csr_matrix(counts @ joined)
    summed.eliminate_zeros()
    summed.sort_indices()
    value = summed.data / median[read][first][summed.indices]
    cells = zip(summed.indptr[:-1], summed.indptr[1:], strict=True)
    return [genes[summed.indices[a:b][np.argsort(-value[a:b], kind="stable")]] for a, b in cells]


def sentences(
    ranked: Sequence[NDArray[np.int64]], *, length: int, special: tuple[int, ...], names: Sequence[str]
) -> list[NDArray[np.int64]]:
    """Return ranked genes cut to ``length`` tokens, between ``special`` tokens where there are such.

    Raises
    ------
    InvalidInputError
        A cell has no gene that the model can read: a mean over no gene is not defined.
    """
    refuse_unread(np.array([len(genes) for genes in ranked]), names=names)
    before, after = list(special[:1]), list(special[1:])
    return [np.concatenate([before, genes[: length - len(special)], after]).astype(np.int64) for genes in ranked]


def pooled_layers(
    model: Any, tokens: Sequence[NDArray[np.int64]], *, enclosed: bool, pooling: Pooling, layers: Sequence[int]
) -> list[Tensor]:
    """Return the wanted layers of a BERT, pooled over each cell's tokens; later layers are not computed.

    Parameters
    ----------
    model
        ``BertForMaskedLM`` of transformers.
    tokens
        Sentences of a batch of cells.
    enclosed
        Whether the first and the last token of a sentence are no genes.
    pooling
        ``"mean"`` over genes, or the first token.
    layers
        Ascending; 0 is the input embedding.

    Returns
    -------
    list of Tensor
        One ``(b, d)`` per wanted layer.
    """
    device = model.device
    ids = torch.from_numpy(padded(tokens, fill=0)).to(device)  # (b, l)
    length = torch.tensor([len(cell) for cell in tokens], device=device)[:, None]
    place = torch.arange(ids.shape[1], device=device)[None, :]
    real = place < length
    genes = (place >= int(enclosed)) & (place < length - int(enclosed))
    # without padding no mask at all, so that the fastest attention kernel is free to run
    mask = None if bool(real.all()) else real[:, None, None, :]
    hidden = model.bert.embeddings(input_ids=ids)  # (b, l, d)
    made = [_pool(hidden, genes, pooling)] if 0 in layers else []
    for number, block in enumerate(model.bert.encoder.layer[: max(layers)], start=1):
        hidden = block(hidden, mask)
        if number in layers:
            made.append(_pool(hidden, genes, pooling))
    return made


def _pool(hidden: Tensor, genes: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    return (hidden.float() * genes[:, :, None]).sum(dim=1) / genes.sum(dim=1, keepdim=True)


def bert(settings: dict[str, Any], *, seed: int = 0) -> Any:
    """Return a ``BertForMaskedLM`` in evaluation mode with random weights; the global generator is left as it was."""
    from transformers import BertConfig, BertForMaskedLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForMaskedLM(BertConfig(**settings, attn_implementation="sdpa")).eval()


class _Embeds:
    """Runs the BERT that a class below loads or makes over the sentences that it writes."""

    name: ClassVar[str]
    precision: Precision
    pooling: Pooling
    layer: int
    batch_size: int
    _bert: Any
    _enclosed: bool

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the sentence of tokens of each cell, not padded; raises like :meth:`embed`."""
        raise NotImplementedError

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read.
        """
        return self._layers(cells, [self.layer])[0]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, the input embedding first; raises like :meth:`embed`."""
        return self._layers(cells, None)

    def _layers(self, cells: AnnData, layers: Sequence[int] | None) -> list[NDArray[np.float32]]:
        with phase("tokenise"):
            tokens = self.tokenise(cells)
        wanted = range(self._bert.config.num_hidden_layers + 1) if layers is None else layers
        pool = partial(pooled_layers, self._bert, enclosed=self._enclosed, pooling=self.pooling, layers=wanted)
        return pool_in_batches(
            lambda batch: pool([tokens[i] for i in batch]),
            np.array([len(cell) for cell in tokens]),
            token_budget=self.batch_size * self._bert.config.max_position_embeddings,
            device=self._bert.device.type,
            precision=self.precision,
            name=self.name,
        )


class Geneformer(_Embeds):
    """Geneformer V2-104M, frozen.

    Parameters
    ----------
    weights
        Folder with ``config.json``, the checkpoint and the dictionaries, or a copy of the whole release.
        ``None`` looks in ``$SCFM_EVAL_WEIGHTS/<name>`` and then takes the pinned release.
    device, precision
        Where it runs, and the type that matrix products run in.
    pooling
        ``"mean"`` over gene tokens, or ``"cls"`` (V2).
    layer
        Layer that :meth:`embed` returns, counted like a list of ``n_blocks + 1`` entries; −2 is upstream's default.
    batch_size
        Cells of full length in a batch; shorter cells travel in larger batches of as many tokens. ``None`` takes
        what suits the device.
    offline
        Never download.
    """

    name: ClassVar[str] = "geneformer"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "ensembl"
    repo: ClassVar[str] = "ctheodoris/Geneformer"
    revision: ClassVar[str] = "ad8f66dfcda3ebbd148d916c01f31339c5b95a15"
    licence: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = "10.1101/2024.08.16.608180"
    variant: ClassVar[str] = "Geneformer-V2-104M"
    dictionaries: ClassVar[str] = "geneformer"
    corpus: ClassVar[str] = "gc104M"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        pooling: Pooling = "mean",
        layer: int = -2,
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        self.device, self.precision, self.batch_size = device, precision, batch_size or usual_batch_size(device)
        self.pooling = pooling
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            model, places = self._places(folder)
            self.genes = GeneDictionaries.read(places)
            self._bert, self.n_parameters, files = load_bert(model, vocabulary_size=len(self.genes.token))
            self._enclosed = bool(self.genes.special)
            self._check_pooling()
            self.layer = layer_number(layer, n_layers=self._bert.config.num_hidden_layers + 1)
            self._bert.to(device)
            self.weights_sha256: str | None = checkpoint.weights_sha256([*files, *self.genes.files])

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded if need be; raises ``InvalidInputError`` where there is none."""
        return checkpoint.locate(cls.name, weights=weights, offline=offline, **cls._source())

    @classmethod
    def available(cls, weights: str | Path | None = None) -> bool:
        """Return whether the weights are already on this machine; the network is not touched."""
        return checkpoint.present(cls.name, weights=weights, **cls._source())

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint, settings and dictionaries in the weights folder."""
        model, places = cls._places(Path(weights))
        return [*bert_files(model), *GeneDictionaries.read(places).files]

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the Ensembl ids that the dictionaries in the weights folder can read."""
        genes = GeneDictionaries.read(cls._places(Path(weights))[1])
        ids = [gene for gene in genes.mapping if gene.startswith("ENS")]
        return frozenset(gene for gene, token in zip(ids, genes.columns(ids)[0], strict=True) if token != _NOT_A_GENE)

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the sentence of tokens of each cell, not padded; raises like :meth:`embed`.

        Genes are ``var["ensembl_id"]`` where that column exists, else ``var_names``.
        """
        ids = cells.var.get("ensembl_id", cells.var_names)
        token, median = self.genes.columns([str(gene) for gene in ids])
        ranked = rank_genes(sparse.csr_matrix(cells.X), token=token, median=median)
        length = self._bert.config.max_position_embeddings
        return sentences(ranked, length=length, special=self.genes.special, names=list(cells.obs_names))

    def _check_pooling(self) -> None:
        if self.pooling == "cls" and not self.genes.special:
            raise InvalidInputError(
                asked=f"{self.name} with pooling 'cls'",
                found="a token dictionary without <cls>, which is Geneformer V1",
                remedy="use pooling='mean', or a V2 checkpoint",
            )

    @classmethod
    def _source(cls) -> dict[str, Any]:
        model = [f"{cls.variant}/{file}" for file in ("config.json", "model.safetensors")]
        genes = [f"{cls.dictionaries}/{stem}_{cls.corpus}.pkl" for stem in _DICTIONARIES]
        return {"repo": cls.repo, "revision": cls.revision, "files": [*model, *genes]}

    @classmethod
    def _places(cls, folder: Path) -> tuple[Path, list[Path]]:
        # the root of the release holds a config.json too, of another variant
        inside = folder / cls.variant
        model = inside if inside.is_dir() else folder
        return model, [model, folder / cls.dictionaries, folder.parent / cls.dictionaries]


class GeneformerV1(Geneformer):
    """Geneformer V1-10M, frozen; see :class:`Geneformer` for the parameters."""

    name = "geneformer-v1-10m"
    citation = "10.1038/s41586-023-06139-9"
    variant = "Geneformer-V1-10M"
    dictionaries = "geneformer/gene_dictionaries_30m"
    corpus = "gc30M"


class GeneformerV2Large(Geneformer):
    """Geneformer V2-316M, frozen; see :class:`Geneformer` for the parameters."""

    name = "geneformer-v2-316m"
    variant = "Geneformer-V2-316M"


class GeneformerCancer(Geneformer):
    """Geneformer V2-104M after continued pretraining on cancer cells, frozen; parameters of :class:`Geneformer`."""

    name = "geneformer-v2-104m-clcancer"
    variant = "Geneformer-V2-104M_CLcancer"


class UntrainedGeneformer(_Embeds):
    """Control: the architecture of Geneformer V1-10M with random weights over the genes of the dataset.

    Medians are 1, so genes are ranked by their counts. The weights depend on ``seed`` and on the names of the genes
    in the view, never on its cells.

    Parameters
    ----------
    seed
        Of the random weights.
    device, precision, batch_size
        As in :class:`Geneformer`.
    """

    name: ClassVar[str] = "geneformer-untrained"
    role: ClassVar[str] = "control"
    revision: ClassVar[str] = "1"
    licence: ClassVar[str] = "BSD-3-Clause"
    citation: ClassVar[str] = "10.1038/s41586-023-06139-9"
    gene_ids: ClassVar[None] = None
    weights_sha256: ClassVar[None] = None
    settings: ClassVar[dict[str, Any]] = {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "max_position_embeddings": 2048,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }

    def __init__(
        self, *, seed: int = 0, device: str = "cpu", precision: Precision = "float32", batch_size: int | None = None
    ) -> None:
        self.seed, self.device, self.precision = seed, device, precision
        self.batch_size = batch_size or usual_batch_size(device)
        self.pooling, self.layer, self._enclosed = "mean", self.settings["num_hidden_layers"] - 1, False
        self.n_parameters: int | None = None
        self._genes: list[str] = []

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the sentence of tokens of each cell, not padded; raises like :meth:`embed`."""
        place = gene_places(cells)[1]
        token, median = place + _N_SPECIAL, np.ones(len(place))
        ranked = rank_genes(sparse.csr_matrix(cells.X), token=token, median=median)
        length = self.settings["max_position_embeddings"]
        return sentences(ranked, length=length, special=(), names=list(cells.obs_names))

    def _layers(self, cells: AnnData, layers: Sequence[int] | None) -> list[NDArray[np.float32]]:
        with phase("load"):
            self._build(gene_places(cells)[0])
        return super()._layers(cells, layers)

    def _build(self, genes: list[str]) -> None:
        if genes == self._genes:
            return
        self._bert = bert({**self.settings, "vocab_size": len(genes) + _N_SPECIAL}, seed=self.seed).to(self.device)
        self._genes = genes
        self.n_parameters = sum(p.numel() for p in self._bert.parameters())


def bert_files(folder: Path) -> tuple[Path, Path]:
    """Return settings and checkpoint in a folder; raises ``InvalidInputError`` where they are missing."""
    settings, weights = checkpoint.choose_files(
        folder, [("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin")]
    )
    return settings, weights


def load_bert(folder: Path, *, vocabulary_size: int) -> tuple[Any, int, list[Path]]:
    """Return the BERT in a folder, its number of parameters and the files that it was read from.

    Raises
    ------
    InvalidInputError
        Files are missing, do not fit each other, or hold another architecture.
    """
    settings, weights = bert_files(folder)
    said = checkpoint.read_dictionary(settings)
    if said.get("vocab_size") != vocabulary_size:
        raise InvalidInputError(
            asked=f"the token dictionary of the checkpoint in {folder}",
            found=f"{vocabulary_size} tokens, while config.json says {said.get('vocab_size')}",
            remedy="use the gc30M dictionaries with V1 and the gc104M dictionaries with V2",
        )
    model = bert(said)
    n_parameters = checkpoint.load_strictly(model, checkpoint.read_tensors(weights), tied=_TIED, ignored=_COUNTERS)
    return model, n_parameters, [settings, weights]

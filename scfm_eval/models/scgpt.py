"""scGPT: a transformer over the expressed genes of a cell, each with its binned expression.

Cui et al. 2024, doi:10.1038/s41592-024-02201-0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.download import RemoteFile, fetch
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.attention import AttendsToGenes
from scfm_eval.models.batching import (
    Precision,
    chosen_batch_size,
    gene_rows,
    layer_number,
    pool_in_batches,
    require_known,
    sentence_lengths,
    usual_batch_size,
    values_in_batches,
)
from scfm_eval.models.counts import csr_counts, numbers_of
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.protocols import Effect, Reconstruction
from scfm_eval.models.scgpt_tokens import Binning, Pooling, Sentence, perturbed, read_vocabulary, sentences
from scfm_eval.models.weights import PublishedWeights, weights_cache
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.unfreezing import Encoder

_PUBLISHED_LENGTH = 1200


class ScGPT(PublishedWeights, FineTunes, AttendsToGenes):
    """scGPT whole-human, frozen.

    Other checkpoints of the same architecture (brain, blood, heart, lung, kidney, pan-cancer, continual) are not
    published at a pinned revision: download them and give their folder as ``weights``.

    Parameters
    ----------
    weights
        Folder with ``best_model.pt`` and ``args.json``, or ``model.safetensors`` and ``config.json`` or ``args.json``,
        and with ``vocab.json``. ``None`` looks in ``$SCFM_EVAL_WEIGHTS/<name>`` and then takes the pinned release.
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
        batches of as many tokens. ``None`` takes 1,200 (in the small one ``max_seq_len`` of ``args.json``), and what
        suits the device.
    offline
        Never download.
    """

    name: ClassVar[str] = "scgpt"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "symbol"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    repo: ClassVar[str] = "tdc/scGPT"
    revision: ClassVar[str] = "acf749f35bf5c0b00633838f02588272ed0d9911"
    licence: ClassVar[str] = "MIT"
    citation: ClassVar[str] = "10.1038/s41592-024-02201-0"
    home: ClassVar[str] = "https://huggingface.co/tdc/scGPT"
    definition: ClassVar[str] = (
        "Equal counts on the edges of several bins take the middle one, where upstream draws one of them from a global "
        'generator; binning="random" draws too, from a generator that each cell seeds. So are the genes of a cell of '
        "more than max_length tokens drawn, by the cell's own content: no row depends on other cells."
    )
    published_parameters: ClassVar[int | None] = 51_000_000
    published_genes: ClassVar[int | None] = 60_694
    published_layers: ClassVar[int | None] = 12
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
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
        max_length: int | None = None,
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.scgpt_network import load_network

        options.require_known("pooling", pooling, known=get_args(Pooling))
        options.require_known("binning", binning, known=get_args(Binning))
        options.require_whole("seed", seed)
        options.require_known("precision", precision, known=get_args(Precision))
        self.device, self.precision = device, precision
        self.batch_size = chosen_batch_size(batch_size, usual=usual_batch_size(device))
        self.pooling, self.binning, self.seed = pooling, binning, seed
        folder = self.locate(weights, offline=offline)
        self.max_length = self._usual_length(folder) if max_length is None else max_length
        options.require_whole("max_length", self.max_length, least=2)
        with phase("load"):
            vocabulary = self._vocabulary_file(folder, offline=offline)
            self.tokens = read_vocabulary(vocabulary)
            loaded = load_network(folder, tokens=self.tokens)
            self.n_parameters, self.unused_tensors = loaded.n_parameters, loaded.unused
            self.layer = layer_number(layer, n_layers=loaded.network.n_layers + 1)
            self._network = loaded.network.to(device)
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = checkpoint.weights_sha256([*loaded.files, vocabulary])

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded if need be; raises ``InvalidInputError`` where there is none."""
        folder = super().locate(weights, offline=offline)
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
        from scfm_eval.models.scgpt_network import network_files

        return [*network_files(Path(weights)), cls._vocabulary_file(Path(weights), offline=True)]

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
            csr_counts(cells),
            token=self._gene_tokens([str(gene) for gene in genes]),
            names=list(cells.obs_names),
            cls=self.tokens["<cls>"],
            max_length=self.max_length,
            binning=self.binning,
            seed=self.seed,
        )

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row of unit length per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read.
        """
        return self._embedded(self._read(cells))

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, not normalised, the input first; raises like :meth:`embed`."""
        return self._pooled(self._read(cells), range(self._network.n_layers + 1))

    def reconstruct_layers(self, cells: AnnData) -> Reconstruction:
        """Return the expression head's answers on each layer, beside the binned values that were read.

        The head was trained on the last layer, and on genes whose value was masked; here it has seen every value, so
        that this says how much of the input a layer still holds in the form in which the head looks for it. Raises
        like :meth:`embed`.
        """
        read = self._read(cells)
        lengths = self._lengths(read)
        cell, layers = values_in_batches(
            lambda batch: self._network.decoded_layers([read[i] for i in batch]),
            lengths,
            n_values=lengths - 1,
            **self._how(),
        )
        return Reconstruction(target=np.concatenate([values[1:] for _, values in read]), cell=cell, layers=layers)

    def perturb(self, cells: AnnData, *, genes: Sequence[str], effect: Effect) -> NDArray[np.float32]:
        """Return rows as :meth:`embed` does, after a knockdown to the lowest or an activation to the highest bin.

        Cells are binned and sampled before, so that nothing but the values of these genes differs from the cell as it
        was; a knockdown of genes that a cell does not express, or that were not sampled, leaves it as it was.

        Raises
        ------
        InvalidInputError
            A gene is not known, or a cell has no gene that the model can read.
        """
        read = self._read(cells)
        token = self._gene_tokens(genes)
        require_known(genes, token=token, model=self.name)
        return self._embedded(
            [perturbed(cell, token=token, effect=effect, max_length=self.max_length) for cell in read]
        )

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return what enters the transformer for each gene ``(n_genes, d)``, the normalised embedding of its token.

        The value that is added to it in a cell is left out; NaN for a gene that is not in the vocabulary.
        """
        return gene_rows(self._network.gene_vectors(), token=self._gene_tokens(genes))

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        return numbers_of(genes, table=self.tokens)

    @property
    def _full_length(self) -> int:
        return self.max_length

    @staticmethod
    def _lengths(read: Sequence[Sentence]) -> NDArray[np.int64]:
        return sentence_lengths([tokens for tokens, _ in read])

    def _embedded(self, read: Sequence[Sentence]) -> NDArray[np.float32]:
        rows = self._pooled(read, [self.layer])[0]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]

    def _pooled(self, read: Sequence[Sentence], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        return pool_in_batches(
            lambda batch: self._network.pooled_layers([read[i] for i in batch], pooling=self.pooling, layers=layers),
            self._lengths(read),
            **self._how(),
        )

    def _attention(self, read: Sequence[Sentence]) -> Tensor:
        return self._network.attention(read)

    def _encoder(self) -> Encoder:
        from torch import nn

        from scfm_eval.models.unfreezing import Encoder

        network, pooling = self._network, self.pooling

        def pooled(cells: Sequence[Sentence]) -> Tensor:
            return network.pooled_layers(cells, pooling=pooling, layers=[network.n_layers])[0]

        parts = nn.ModuleList([network.encoder, network.value_encoder, network.transformer_encoder])
        return Encoder(parts, network.blocks, network.width, pooled, length=lambda cell: len(cell[0]))

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.scgpt_network import redrawn

        self._network = redrawn(self._network, seed=seed)

    @classmethod
    def _usual_length(cls, _folder: Path) -> int:
        # upstream embeds with 1,200 tokens whatever the settings of the pretraining say
        return _PUBLISHED_LENGTH

    @classmethod
    def _vocabulary_file(cls, folder: Path, *, offline: bool) -> Path:
        beside = folder / "vocab.json"
        if beside.exists() or not cls.vocabulary_url:
            return beside
        # the pinned repository has no vocabulary; its publisher keeps that elsewhere
        published = RemoteFile(cls.vocabulary_url, "vocab.json", cls.vocabulary_sha256)
        return fetch(published, folder=weights_cache(cls.name), offline=offline)


class ScGPTMini(ScGPT):
    """A small scGPT that comes with the package, frozen; parameters of :class:`ScGPT`.

    Without ``weights``, ``$SCFM_EVAL_WEIGHTS/scgpt-mini`` is taken where it is there, else those of the package.
    3 blocks of width 96, cells of 256 tokens, pretrained by ``python -m scfm_eval.pretrain`` on 22,533 human cells of
    eleven sources; ``scfm_eval/weights/scgpt-mini/README.md`` is its card.
    """

    name = "scgpt-mini"
    revision = "1"
    licence = "BSD-3-Clause; data: see its card"
    home = ""
    published_parameters = 1_832_161
    published_genes = 16_447
    published_layers = 3
    packaged: ClassVar[str] = "scgpt-mini"
    pretrained_on: ClassVar[tuple[str, ...]] = ("pbmc3k", "hao_pbmc", "pancreas", "heart", "scib_pancreas", "hpancreas")
    fine_tuning: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "epochs": 5}
    untrained: ClassVar[str] = "scgpt-untrained"
    vocabulary_url = ""

    @classmethod
    def _usual_length(cls, folder: Path) -> int:
        from scfm_eval.models.scgpt_network import stated_length

        return stated_length(folder)


class UntrainedScGPT(ScGPTMini):
    """Control: :class:`ScGPTMini` with random weights; it reads cells in the very same way.

    Its vectors of genes are noise, and its row of a cell is a random function of the cell's sentence.

    Parameters
    ----------
    seed
        Of the random weights, and of the sampling of long cells.
    weights, device, precision, batch_size, offline
        As in :class:`ScGPTMini`, of whose weights the sizes and the vocabulary are used.
    """

    name = "scgpt-untrained"
    role = "control"
    revision = "3"
    licence = "BSD-3-Clause"
    pretrained_on = ()
    untrained = ""
    in_default_run: ClassVar[bool] = False

    def __init__(
        self,
        *,
        seed: int = 0,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        super().__init__(
            weights=weights, device=device, precision=precision, seed=seed, batch_size=batch_size, offline=offline
        )
        self._draw_weights(seed)
        self.weights_sha256 = self.loaded_share = None

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return settings and vocabulary of the weights folder: the checkpoint decides nothing here."""
        from scfm_eval.models.scgpt_network import network_files

        return [network_files(Path(weights))[1], cls._vocabulary_file(Path(weights), offline=True)]

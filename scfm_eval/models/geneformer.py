"""Geneformer: a BERT that reads the genes of a cell ranked by their expression over the gene's usual expression.

V1 (Theodoris et al. 2023, doi:10.1038/s41586-023-06139-9) reads up to 2,048 genes. V2 (Chen et al. 2024,
doi:10.1101/2024.08.16.608180) reads up to 4,096 tokens between ``<cls>`` and ``<eos>``. Which of the two a folder
holds is told by its token dictionary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
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
from scfm_eval.models.counts import csr_counts
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.geneformer_tokens import (
    DICTIONARIES,
    NOT_A_GENE,
    RELEASES,
    GeneDictionaries,
    Pooling,
    perturbed,
    rank_genes,
    sentences,
)
from scfm_eval.models.protocols import Effect, Reconstruction
from scfm_eval.models.weights import Home, PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.geneformer_network import Batch
    from scfm_eval.models.unfreezing import Encoder


class Geneformer(PublishedWeights, FineTunes, AttendsToGenes):
    """Geneformer V2-104M, frozen; genes are ``var["ensembl_id"]`` where that column exists, else ``var_names``.

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
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    repo: ClassVar[str] = "ctheodoris/Geneformer"
    revision: ClassVar[str] = "ad8f66dfcda3ebbd148d916c01f31339c5b95a15"
    licence: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = "10.1101/2024.08.16.608180"
    home: ClassVar[str] = "https://huggingface.co/ctheodoris/Geneformer"
    published_parameters: ClassVar[int | None] = 104_000_000
    published_genes: ClassVar[int | None] = 20_271
    published_layers: ClassVar[int | None] = 12
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    definition: ClassVar[str] = (
        "A perturbed cell is cut to length after its genes were taken out or put in front, so that a long one is "
        "filled again after a knockdown; upstream takes genes out of sentences that are cut already."
    )
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
        from scfm_eval.models.geneformer_network import load_bert

        options.require_known("pooling", pooling, known=get_args(Pooling))
        options.require_known("precision", precision, known=get_args(Precision))
        self.device, self.precision = device, precision
        self.batch_size = chosen_batch_size(batch_size, usual=usual_batch_size(device))
        self.pooling = pooling
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            model, places = self._places(folder)
            self.genes = GeneDictionaries.read(places)
            loaded = load_bert(model, vocabulary_size=len(self.genes.token))
            self.n_parameters = loaded.n_parameters
            self._special, self._max_length = self.genes.special, loaded.network.config.max_position_embeddings
            self._check_pooling()
            self._require_release()
            self.layer = layer_number(layer, n_layers=loaded.network.config.num_hidden_layers + 1)
            self._bert = loaded.network.to(device)
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = checkpoint.weights_sha256([*loaded.files, *self.genes.files])

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint, settings and dictionaries in the weights folder."""
        from scfm_eval.models.geneformer_network import bert_files

        model, places = cls._places(Path(weights))
        return [*bert_files(model), *GeneDictionaries.read(places).files]

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the Ensembl ids that the dictionaries in the weights folder can read."""
        genes = GeneDictionaries.read(cls._places(Path(weights))[1])
        ids = [gene for gene in genes.mapping if gene.startswith("ENS")]
        return frozenset(gene for gene, token in zip(ids, genes.columns(ids)[0], strict=True) if token != NOT_A_GENE)

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the sentence of tokens of each cell, not padded; raises like :meth:`embed`."""
        return self._sentences(self._ranked(cells), cells)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read.
        """
        return self._pooled(self._read(cells), [self.layer])[0]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, the input embedding first; raises like :meth:`embed`."""
        return self._pooled(self._read(cells), range(self._bert.config.num_hidden_layers + 1))

    def reconstruct_layers(self, cells: AnnData) -> Reconstruction:
        """Return the ranks that the masked-LM head expects on each layer, beside those that were read.

        Ranks run from 1 at the front of a cell's sentence to 0 at its end, in even steps over the genes that were read.
        The head names genes, not values, so that at each place the mean rank of the cell's own genes is taken, weighted
        by the probability that the head gives them there; a head that cannot tell genes apart gives 0.5, the mean. No
        gene is masked: this says how much of the identity of its own gene a layer still holds at a place, in the form
        in which the head looks for it, and the head was trained on the last layer. Raises like :meth:`embed`.
        """
        from scfm_eval.models.geneformer_network import expected_ranks

        tokens = self._read(cells)
        lengths = sentence_lengths(tokens)
        n_genes = lengths - len(self._special)
        cell, layers = values_in_batches(
            lambda batch: expected_ranks(self._bert, self._batch(tokens, batch)),
            lengths,
            n_values=n_genes,
            **self._how(),
        )
        target = np.concatenate([np.linspace(1, 0, n, dtype=np.float32) for n in n_genes])
        return Reconstruction(target=target, cell=cell, layers=layers)

    def perturb(self, cells: AnnData, *, genes: Sequence[str], effect: Effect) -> NDArray[np.float32]:
        """Return rows as :meth:`embed` does, after a knockdown took the genes out or activation put them in front.

        Sentences are cut to length after that, as those of any cell: upstream takes genes out of sentences that are
        cut already, so that a long cell is not refilled there. A knockdown of genes that a cell does not express
        leaves it as it was.

        Raises
        ------
        InvalidInputError
            A gene is not known, or a cell has no gene that the model can read, be it after the knockdown.
        """
        with phase("tokenise"):
            ranked = self._ranked(cells)
            token = self._gene_tokens(genes)
            require_known(genes, token=token, model=self.name)
            once = np.array(list(dict.fromkeys(token.tolist())), dtype=np.int64)
            tokens = self._sentences(perturbed(ranked, token=once, effect=effect), cells)
        return self._pooled(tokens, [self.layer])[0]

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the word embedding of each gene's token ``(n_genes, d)``, NaN for a gene that has none.

        It holds neither a position nor a context: embeddings of genes in cells are another thing.
        """
        words = self._bert.bert.embeddings.word_embeddings.weight.detach().float().cpu().numpy()
        return gene_rows(words, token=self._gene_tokens(genes))

    @property
    def _full_length(self) -> int:
        return int(self._max_length)

    def _ranked(self, cells: AnnData) -> list[NDArray[np.int64]]:
        ids = cells.var.get("ensembl_id", cells.var_names)
        token, median = self.genes.columns([str(gene) for gene in ids])
        return rank_genes(csr_counts(cells), token=token, median=median)

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        return self.genes.columns(genes)[0]

    def _sentences(self, ranked: Sequence[NDArray[np.int64]], cells: AnnData) -> list[NDArray[np.int64]]:
        return sentences(ranked, length=self._max_length, special=self._special, names=list(cells.obs_names))

    def _batch(self, tokens: Sequence[NDArray[np.int64]], cells: NDArray[np.int64]) -> Batch:
        from scfm_eval.models.geneformer_network import Batch

        return Batch.of([tokens[i] for i in cells], enclosed=bool(self._special), device=self._bert.device)

    def _pooled(self, tokens: Sequence[NDArray[np.int64]], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        from scfm_eval.models.geneformer_network import pooled_layers

        return pool_in_batches(
            lambda batch: pooled_layers(self._bert, self._batch(tokens, batch), pooling=self.pooling, layers=layers),
            sentence_lengths(tokens),
            **self._how(),
        )

    def _attention(self, read: Sequence[NDArray[np.int64]]) -> Tensor:
        from scfm_eval.models.geneformer_network import attention

        return attention(self._bert, self._batch(read, np.arange(len(read))))

    def _encoder(self) -> Encoder:
        from scfm_eval.models.geneformer_network import Batch, pooled_layers
        from scfm_eval.models.unfreezing import Encoder

        model, last = self._bert, self._bert.config.num_hidden_layers

        def pooled(tokens: Sequence[NDArray[np.int64]]) -> Tensor:
            batch = Batch.of(tokens, enclosed=bool(self._special), device=model.device)
            return pooled_layers(model, batch, pooling=self.pooling, layers=[last])[0]

        return Encoder(model.bert, model.bert.encoder.layer, model.config.hidden_size, pooled)

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.geneformer_network import bert

        self._bert = bert(self._bert.config.to_dict(), seed=seed).to(self._bert.device)

    def _check_pooling(self) -> None:
        if self.pooling == "cls" and not self.genes.special:
            raise InvalidInputError(
                asked=f"{self.name} with pooling 'cls'",
                found="a token dictionary without <cls>, which is Geneformer V1",
                remedy="use pooling='mean', or a V2 checkpoint",
            )

    def _require_release(self) -> None:
        release = RELEASES.get(len(self.genes.token), self.corpus)
        if self.corpus not in release:
            guards.refuse(
                "pretrained",
                asked=f"the {self.corpus} release as {self.name}",
                found=f"the token dictionary of {release}",
                remedy=f"give these weights to the name of that release, or those of {self.variant} to this one",
            )

    @classmethod
    def _home(cls) -> Home:
        model = [f"{cls.variant}/{file}" for file in ("config.json", "model.safetensors")]
        genes = [f"{cls.dictionaries}/{stem}_{cls.corpus}.pkl" for stem in DICTIONARIES]
        return replace(super()._home(), files=(*model, *genes))

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
    published_parameters = 10_000_000
    published_genes = 25_424
    published_layers = 6
    variant = "Geneformer-V1-10M"
    dictionaries = "geneformer/gene_dictionaries_30m"
    corpus = "gc30M"


class GeneformerV2Large(Geneformer):
    """Geneformer V2-316M, frozen; see :class:`Geneformer` for the parameters."""

    name = "geneformer-v2-316m"
    published_parameters = 316_000_000
    published_layers = 18
    variant = "Geneformer-V2-316M"


class GeneformerCancer(Geneformer):
    """Geneformer V2-104M after continued pretraining on cancer cells, frozen; parameters of :class:`Geneformer`."""

    name = "geneformer-v2-104m-clcancer"
    variant = "Geneformer-V2-104M_CLcancer"


class GeneformerMini(Geneformer):
    """A small Geneformer V2 that comes with the package, frozen; parameters of :class:`Geneformer`.

    Without ``weights``, ``$SCFM_EVAL_WEIGHTS/geneformer-mini`` is taken where it is there, else those of the package.
    3 blocks of width 96, sentences of 256 tokens, pretrained by ``python -m scfm_eval.pretrain`` on 22,533 human cells
    of eleven sources; ``scfm_eval/weights/geneformer-mini/README.md`` is its card.
    """

    name = "geneformer-mini"
    revision = "1"
    licence = "BSD-3-Clause; data: see its card"
    home = ""
    published_parameters = 1_854_563
    published_genes = 16_447
    published_layers = 3
    packaged: ClassVar[str] = "geneformer-mini"
    pretrained_on: ClassVar[tuple[str, ...]] = ("pbmc3k", "hao_pbmc", "pancreas", "heart", "scib_pancreas", "hpancreas")
    fine_tuning: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "epochs": 5}
    untrained: ClassVar[str] = "geneformer-untrained"


class UntrainedGeneformer(GeneformerMini):
    """Control: :class:`GeneformerMini` with random weights; it reads cells in the very same way.

    Its vectors of genes are noise, and its row of a cell is a random function of the cell's sentence.

    Parameters
    ----------
    seed
        Of the random weights.
    weights, device, precision, batch_size, offline
        As in :class:`GeneformerMini`, of whose weights the sizes and the dictionaries are used.
    """

    name = "geneformer-untrained"
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
        options.require_whole("seed", seed)
        super().__init__(weights=weights, device=device, precision=precision, batch_size=batch_size, offline=offline)
        self._draw_weights(seed)
        self.weights_sha256 = self.loaded_share = None

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return settings and dictionaries in the weights folder: the checkpoint decides nothing here."""
        from scfm_eval.models.geneformer_network import bert_files

        model, places = cls._places(Path(weights))
        return [bert_files(model)[0], *GeneDictionaries.read(places).files]

"""LangCell: a BERT over the ranked genes of a cell, trained together with descriptions of cells in words.

Zhao et al. 2024, doi:10.48550/arXiv.2405.06708.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy.special import softmax

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.attention import AttendsToGenes
from scfm_eval.models.batching import (
    Precision,
    Unread,
    chosen_batch_size,
    gene_rows,
    layer_number,
    pool_in_batches,
    sentence_lengths,
    usual_batch_size,
)
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.langcell_texts import read_text_vectors
from scfm_eval.models.langcell_tokens import GeneTable, Pooling, Ranking, dictionary_files, sentences
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.unfreezing import Encoder

_NO_TEXTS = "it has no text vectors, which its labels come from"
_HOW_TO_GET_TEXTS = (
    "encode a description of each label with LangCell's text_bert and text_proj (text_encode in its zero-shot.ipynb), "
    "store the rows as .npz (labels, vectors) or .parquet (column label), and give the path as text_vectors: to the "
    "constructor, or as a class attribute of a subclass"
)


class LangCell(PublishedWeights, FineTunes, AttendsToGenes):
    """LangCell's cell encoder with its projection, frozen; genes are Ensembl ids as they stand, without a version.

    The checkpoint of the cell encoder has no masked-LM head, so that expression cannot be reconstructed natively.

    Parameters
    ----------
    weights
        Folder with ``cell_bert/`` (``config.json`` and the checkpoint), ``cell_proj.bin``, and, from the folder
        ``geneformer_001/geneformer`` of the published code, ``token_dictionary.pkl`` and
        ``gene_median_dictionary.pkl``.
        ``None`` looks in ``$SCFM_EVAL_WEIGHTS/langcell``.
    device, precision
        Where it runs, and the type that matrix products run in.
    pooling
        ``"projection"`` of ``<cls>`` into the space of the texts, of unit length, as published; the hidden state at
        ``"cls"``; its ``"mean"`` over all tokens, or over genes alone (``"mean_genes"``).
    layer
        Layer that :meth:`embed` returns with another pooling than the projection, which is of the last one.
    ranking
        ``"float32"`` ranks genes with the rounding of the published code.
    unread
        ``"keep"`` gives what the published code gives for a cell without any gene that can be read, which is refused
        otherwise.
    text_vectors
        ``.npz`` or ``.parquet`` with a vector for each label, made with LangCell's text encoder and ``text_proj``; only
        :meth:`annotate` needs it. ``None`` takes the class attribute of that name.
    temperature
        What cosine similarities of cells and labels are divided by before the softmax; 0.05 is upstream's.
    batch_size
        Cells of full length in a batch; shorter cells travel in larger batches of as many tokens. ``None`` takes
        what suits the device.
    offline
        Never download; there is no pinned place to download from.
    """

    name: ClassVar[str] = "langcell"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "ensembl"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    revision: ClassVar[str] = "69e41ef2fae485b67703294b50f3150bb1d5bb9b"
    licence: ClassVar[str] = "MIT"
    weights_licence: ClassVar[str] = "not stated"
    citation: ClassVar[str] = "10.48550/arXiv.2405.06708"
    home: ClassVar[str] = "https://drive.google.com/drive/folders/1cuhVG9v0YoAnjW-t_WMpQQguajumCBTp"
    published_genes: ClassVar[int | None] = 25_424
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    definition: ClassVar[str] = (
        "A cell without any gene that it knows is refused; unread='keep' gives what upstream does: <cls> alone, or all "
        "genes in the order of the columns for a cell without any count. Genes are ranked in double precision "
        "(ranking='float32' rounds as upstream). annotate takes the similarity with the texts alone, which is 0.1 of "
        "upstream's score beside 0.9 of its cell-text matching head."
    )
    text_vectors: ClassVar[str | Path | None] = None

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        pooling: Pooling = "projection",
        layer: int = -1,
        ranking: Ranking = "exact",
        unread: Unread = "refuse",
        text_vectors: str | Path | None = None,
        temperature: float = 0.05,
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.langcell_network import load_encoder

        options.require_known("pooling", pooling, known=get_args(Pooling))
        options.require_known("ranking", ranking, known=get_args(Ranking))
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_known("precision", precision, known=get_args(Precision))
        self.device, self.precision = device, precision
        self.batch_size = chosen_batch_size(batch_size, usual=usual_batch_size(device))
        self.pooling, self.ranking, self.unread = pooling, ranking, unread
        self.temperature = _positive(temperature)
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            self.genes = GeneTable.read(folder)
            loaded = load_encoder(folder, n_tokens=self.genes.n_tokens)
            self._network = loaded.network.to(device)
            self._max_length: int = loaded.network.bert.config.max_position_embeddings
            self.layer = self._chosen_layer(layer)
            self.n_parameters, self.loaded_share = loaded.n_parameters, loaded.share
            texts, width = text_vectors or type(self).text_vectors, loaded.network.projection.out_features
            self._texts = None if texts is None else read_text_vectors(Path(texts), width=width)
            beside = [] if texts is None else [Path(texts)]
            self.weights_sha256 = checkpoint.weights_sha256([*loaded.files, *self.genes.files, *beside])

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint, settings and dictionaries in the weights folder, and the text vectors of the class."""
        from scfm_eval.models.langcell_network import network_files

        texts = [] if cls.text_vectors is None else [Path(cls.text_vectors)]
        return [*network_files(Path(weights)), *dictionary_files(Path(weights)), *texts]

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the Ensembl ids that the dictionaries in the weights folder can read."""
        return frozenset(GeneTable.read(Path(weights)).genes)

    @classmethod
    def lacks_labels(cls) -> str:
        """Return why the class as it stands cannot annotate, and what to do; empty where it has text vectors."""
        return "" if cls.text_vectors is not None else f"{_NO_TEXTS}; {_HOW_TO_GET_TEXTS}"

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the tokens of each cell, ``<cls>`` first, not padded; raises like :meth:`embed`."""
        return sentences(cells, table=self.genes, length=self._max_length, ranking=self.ranking, unread=self.unread)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A gene stands in several columns, or a cell has no gene that the model can read.
        """
        return self._pooled(self._read(cells), [self.layer], pooling=self.pooling)[0]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, the input first; ``<cls>`` where the pooling is the projection.

        Raises like :meth:`embed`.
        """
        layers = range(self._network.n_layers + 1)
        return self._pooled(self._read(cells), layers, pooling=self._hidden_pooling)

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the word embedding of each gene's token ``(n_genes, d)``, NaN for a gene that has none.

        It holds neither a position nor a context: embeddings of genes in cells are another thing.
        """
        words = self._network.bert.embeddings.word_embeddings.weight.detach().float().cpu().numpy()
        return gene_rows(words, token=self._gene_tokens(genes))

    def annotate(self, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the labels of the text vectors ``(C,)`` and the probability of each for each cell ``(n_cells, C)``.

        It is the softmax of the cosine similarities of a cell's projection with the labels, over ``temperature``.

        Raises
        ------
        InvalidInputError
            There are no text vectors; or as :meth:`embed`.
        """
        if self._texts is None:
            raise InvalidInputError(
                asked=f"labels of {cells.n_obs} cells by {self.name}", found=_NO_TEXTS, remedy=_HOW_TO_GET_TEXTS
            )
        labels, directions = self._texts
        rows = self._pooled(self._read(cells), [self._network.n_layers], pooling="projection")[0]
        similarity = rows.astype(np.float64) @ directions.T
        return labels, softmax(similarity / self.temperature, axis=1).astype(np.float32)

    @property
    def _hidden_pooling(self) -> Pooling:
        return "cls" if self.pooling == "projection" else self.pooling

    def _pooled(
        self, tokens: Sequence[NDArray[np.int64]], layers: Sequence[int], *, pooling: Pooling
    ) -> list[NDArray[np.float32]]:
        return pool_in_batches(
            lambda batch: self._network.pooled_layers([tokens[i] for i in batch], pooling=pooling, layers=layers),
            sentence_lengths(tokens),
            **self._how(),
        )

    @property
    def _full_length(self) -> int:
        return self._max_length

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        return self.genes.tokens_of(genes)

    def _attention(self, read: Sequence[NDArray[np.int64]]) -> Tensor:
        return self._network.attention(read)

    def _encoder(self) -> Encoder:
        from scfm_eval.models.unfreezing import Encoder

        network, pooling = self._network, self._hidden_pooling

        def pooled(tokens: Sequence[NDArray[np.int64]]) -> Tensor:
            return network.pooled_layers(tokens, pooling=pooling, layers=[network.n_layers])[0]

        bert = network.bert
        return Encoder(bert, bert.encoder.layer, bert.config.hidden_size, pooled)

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.langcell_network import build_encoder

        weight, settings = self._network.projection.weight, self._network.bert.config.to_dict()
        self._network = build_encoder(settings, projected_width=len(weight), seed=seed).to(weight.device)

    def _chosen_layer(self, layer: int) -> int:
        n_layers = self._network.n_layers + 1
        chosen = layer_number(layer, n_layers=n_layers)
        if self.pooling == "projection" and chosen != n_layers - 1:
            raise InvalidInputError(
                asked=f"the projection of layer {layer} of {self.name}",
                found="a projection that was trained on the last layer",
                remedy="use layer=-1, or pooling='cls'",
            )
        return chosen


def _positive(temperature: float) -> float:
    if isinstance(temperature, int | float) and 0 < temperature < np.inf:
        return temperature
    raise InvalidInputError(
        asked=f"temperature {temperature!r}", found="no number above 0", remedy="use 0.05, as published"
    )

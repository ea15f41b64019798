"""scFoundation: a transformer over the expressed genes of a cell, told from and to which depth of sequencing it reads.

Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.attention import AttendsToGenes
from scfm_eval.models.batching import (
    Precision,
    chosen_batch_size,
    gene_rows,
    layer_number,
    pool_in_batches,
    sentence_lengths,
    usual_batch_size,
    values_in_batches,
)
from scfm_eval.models.counts import gene_places
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.licences import require_accepted
from scfm_eval.models.performer import Stabiliser
from scfm_eval.models.protocols import Reconstruction
from scfm_eval.models.scfoundation_tokens import (
    N_DEPTH,
    InputType,
    Pooling,
    PreNormalized,
    Reading,
    Sentence,
    read_genes,
    sentences,
)
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

Version = Literal["ce", "rde"]

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.scfoundation_network import Part, ScFoundationNetwork
    from scfm_eval.models.unfreezing import Encoder

_PARTS: dict[str, Part] = {"ce": "cell", "rde": "rde"}
_GENES = "OS_scRNA_gene_index.19264.tsv"
_LICENCE = "https://github.com/biomap-research/scFoundation/blob/fef74d3bea5c0c8a61474e26cceaa34f8fb98605/MODEL_LICENSE"
_USUAL_LENGTH = 2048
_OWN_DEPTH = "f1"


class ScFoundation(PublishedWeights, FineTunes, AttendsToGenes):
    """scFoundation, frozen.

    A checkpoint holds three networks of one shape: two that embed cells, and ``gene``, which answers whatever is asked
    of genes: :meth:`embed_genes`, :meth:`embed_genes_in_cells`, :meth:`predict_expression`,
    :meth:`reconstruct_layers` and :meth:`score_gene_pairs`. It is read when one of these is called first.

    Parameters
    ----------
    weights
        Folder with ``models.ckpt`` and the gene list ``OS_scRNA_gene_index.19264.tsv``, or upstream's folder ``model``
        with the former in ``models``. ``None`` looks in ``$SCFM_EVAL_WEIGHTS/scfoundation``: the checkpoint has no
        open address, and the gene list is in upstream's repository.
    device, precision
        Where it runs, and the type that matrix products run in.
    version
        Network that embeds cells: ``"ce"``, or ``"rde"`` for the enhancement of read depth.
    pooling
        ``"all"`` joins the S token, the T token, the maximum and the mean over genes; ``"max"`` is the maximum over
        all tokens.
    layer
        Layer that :meth:`embed` returns, counted like a list of ``n_blocks + 2`` entries: the input, the output of
        each block, and that of the final norm.
    tgthighres, input_type, pre_normalized, bulk_target
        See :class:`~scfm_eval.models.scfoundation_tokens.Reading`; the first three have upstream's names.
    batch_size
        Cells of 2,048 tokens in a batch; there is no longest cell, and others travel in batches of as many tokens.
        ``None`` takes what suits the device.
    offline
        Never download.
    """

    name: ClassVar[str] = "scfoundation"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "symbol"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    revision: ClassVar[str] = "d09626a5c1bc30b9c6227378677b61e0b987fe8b"
    licence: ClassVar[str] = "Apache-2.0"
    weights_licence: ClassVar[str] = "The scFoundation License (non-commercial research only)"
    asks_licence: ClassVar[bool] = True
    citation: ClassVar[str] = "10.1038/s41592-024-02305-7"
    home: ClassVar[str] = (
        "https://hopebio2020.sharepoint.com/:f:/s/PublicSharedfiles/"
        "EmUQnvZMETlDvoCaBduCNeIBQArcOrd8T8iEpiGofFZ9CQ?e=3SpPZU"
    )
    files: ClassVar[tuple[str, ...]] = ("models.ckpt", _GENES)
    published_parameters: ClassVar[int] = 100_000_000
    published_genes: ClassVar[int] = 19_264
    published_layers: ClassVar[int] = 12
    definition: ClassVar[str] = (
        "Genes are always found by name, and the tokens T and S are read whatever their values are; upstream takes "
        "columns by position where there are enough of them, and drops T or S of 0 or less, so that other tokens are "
        "pooled in their place. Gene outputs are stabilised cell by cell; stabiliser='batch' gives upstream's "
        "gene_batch. Bulk samples are scaled to 10,000 counts; bulk_target='median' gives upstream's."
    )

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        version: Version = "ce",
        pooling: Pooling = "all",
        layer: int = -1,
        tgthighres: str = "t4",
        input_type: InputType = "singlecell",
        pre_normalized: PreNormalized = "F",
        bulk_target: float | Literal["median"] = 1e4,
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.scfoundation_network import load_network

        options.require_known("precision", precision, known=get_args(Precision))
        options.require_known("pooling", pooling, known=get_args(Pooling))
        options.require_known("version", version, known=get_args(Version))
        self.device, self.precision = device, precision
        self.batch_size = chosen_batch_size(batch_size, usual=usual_batch_size(device))
        self.reading = Reading(tgthighres, input_type, pre_normalized, bulk_target)
        self.pooling, self.version = pooling, version
        self._files = self.sources(self.locate(weights, offline=offline))
        with phase("load"):
            self.genes = read_genes(self._files[1])
            loaded = load_network(self._files[0], part=_PARTS[version], n_genes=len(self.genes))
            self.n_parameters, self.loaded_share = loaded.n_parameters, loaded.share
            self.layer = layer_number(layer, n_layers=loaded.network.n_layers)
            self._network = loaded.network.to(device)
            self.weights_sha256: str | None = checkpoint.weights_sha256(self._files)

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder; where there is none, their licence is asked for before it is said where they are.

        Raises
        ------
        InvalidInputError
            The weights are nowhere, or their licence has not been accepted.
        """
        if weights is None and not offline and not cls.available():
            require_accepted(cls.name, licence=cls.weights_licence, address=_LICENCE, by_hand=cls.home)
        return super().locate(weights, offline=offline)

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint and gene list of the weights folder."""
        return list(checkpoint.choose_files(Path(weights), [cls.files, (f"models/{cls.files[0]}", _GENES)]))

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene symbols in the gene list of the weights folder."""
        return frozenset(read_genes(cls.sources(weights)[1]))

    def tokenise(self, cells: AnnData) -> list[Sentence]:
        """Return places in the gene list and values of each cell's expressed genes, then T and S; not padded.

        Genes are ``var["gene_name"]`` where that column exists, else ``var_names``. Raises like :meth:`embed`.
        """
        return sentences(cells, order=self.genes, reading=self.reading)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, 4 d)``, or ``(n_cells, d)`` for the pooling ``"max"``.

        A cell with a single count has S = 0 and is embedded like any other; upstream stops at it.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read, which upstream stops at too, or a total that is not positive;
            or a gene of the list stands in several columns.
        """
        return self._pooled(self._read(cells), [self.layer])[0]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array per layer, pooled as in :meth:`embed`, the input first; raises like :meth:`embed`."""
        return self._pooled(self._read(cells), range(self._network.n_layers))

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the position embedding of each gene ``(n_genes, d)``; NaN for a gene that is not in the list.

        It is what says to the network ``gene`` which gene a value is of; the value itself is left out.
        """
        return gene_rows(self._gene_network.gene_vectors(), token=self._gene_tokens(genes))

    def embed_genes_in_cells(self, cells: AnnData, *, stabiliser: Stabiliser = "cell") -> NDArray[np.float32]:
        """Return the decoder's vector of every gene of the list in every cell ``(n_cells, n_list, d)``.

        It is upstream's ``gene``, 39 MB per cell at the published sizes. Raises like :meth:`embed`.

        Parameters
        ----------
        cells
            Not changed.
        stabiliser
            ``"batch"`` is upstream's ``gene_batch``: all cells in one batch, on which each of them depends.
        """
        options.require_known("stabiliser", stabiliser, known=get_args(Stabiliser))
        return self._of_all_genes(
            cells,
            lambda read: self._gene_network.gene_outputs(read, stabiliser=stabiliser),
            at_once=stabiliser == "batch",
        )

    def predict_expression(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the log-normalised expression of every gene of the list at depth T ``(n_cells, n_list)``.

        It is upstream's ``gene_expression``. Raises like :meth:`embed`.
        """
        return self._of_all_genes(cells, lambda read: self._gene_network.expression(read))

    def reconstruct_layers(self, cells: AnnData) -> Reconstruction:
        """Return what decoder and expression head give on each layer, beside the log-normalised values that were read.

        T is set to S, whatever ``tgthighres`` is: only at a cell's own depth are the values that were read those that
        the head was trained to give. The decoder gets each layer in place of the last one, for which alone it was
        trained, and no value is masked: this says how much of the input a layer still holds in the form in which the
        decoder looks for it. Each layer is a pass of the decoder over the whole gene list, which asks for a GPU at the
        published sizes. Raises like :meth:`embed`; bulk and values normalised before have no such depth.

        Raises
        ------
        InvalidInputError
            Also where the cells are no raw counts of single cells.
        """
        if (self.reading.input_type, self.reading.pre_normalized) != ("singlecell", "F"):
            raise InvalidInputError(
                asked=f"a reconstruction of {cells.n_obs} cells at their own depth",
                found=f"{self.reading.input_type} with pre_normalized {self.reading.pre_normalized!r}",
                remedy="give raw counts of single cells",
            )
        read = self._read(cells, reading=replace(self.reading, tgthighres=_OWN_DEPTH))
        n_values = _lengths(read) - N_DEPTH
        network = self._gene_network
        cell, layers = values_in_batches(
            lambda batch: network.expression_layers([read[i] for i in batch]),
            np.full(len(read), len(self.genes) + N_DEPTH),
            n_values=n_values,
            **self._how(),
        )
        return Reconstruction(
            target=np.concatenate([values[:-N_DEPTH] for _, values in read]), cell=cell, layers=layers
        )

    @cached_property
    def _gene_network(self) -> ScFoundationNetwork:
        from scfm_eval.models.scfoundation_network import load_network

        with phase("load"):
            return load_network(self._files[0], part="gene", n_genes=len(self.genes)).network.to(self.device)

    def _read(self, cells: AnnData, *, reading: Reading | None = None) -> list[Sentence]:
        with phase("tokenise"):
            return sentences(cells, order=self.genes, reading=reading or self.reading)

    def _pooled(self, read: Sequence[Sentence], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        return pool_in_batches(
            lambda batch: self._network.pooled_layers([read[i] for i in batch], pooling=self.pooling, layers=layers),
            _lengths(read),
            **self._how(),
        )

    def _of_all_genes(
        self, cells: AnnData, answer: Callable[[Sequence[Sentence]], Tensor], *, at_once: bool = False
    ) -> NDArray[np.float32]:
        read = self._read(cells)
        how, n_places = self._how(), len(self.genes) + N_DEPTH
        how["token_budget"] = n_places * len(read) if at_once else how["token_budget"]
        return pool_in_batches(lambda batch: [answer([read[i] for i in batch])], np.full(len(read), n_places), **how)[0]

    @property
    def _full_length(self) -> int:
        return _USUAL_LENGTH

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        return gene_places(genes, order=self.genes)

    def _attention(self, read: Sequence[Sentence]) -> Tensor:
        # questions about genes go to the network of that name
        return self._gene_network.attention(read)

    def _encoder(self) -> Encoder:
        from torch import nn

        from scfm_eval.models.unfreezing import Encoder

        network = self._network

        def pooled(cells: Sequence[Sentence]) -> Tensor:
            # upstream fine-tunes on the maximum, too
            return network.pooled_layers(cells, pooling="max", layers=[network.n_layers - 1])[0]

        parts = nn.ModuleList([network.token_emb, network.pos_emb, network.encoder])
        return Encoder(parts, network.blocks, network.sizes.width, pooled, length=lambda cell: len(cell[0]))

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.scfoundation_network import build_network

        self._network = build_network(self._network.sizes, seed=seed).to(self.device)


def _lengths(read: Sequence[Sentence]) -> NDArray[np.int64]:
    return sentence_lengths([places for places, _ in read])

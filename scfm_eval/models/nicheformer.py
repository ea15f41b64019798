"""Nicheformer: a transformer over the ranked genes of a dissociated or spatially resolved cell, human or mouse.

Tejada-Lapuerta et al. 2025, doi:10.1038/s41592-025-02814-z.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.models import checkpoint, options
from scfm_eval.models.attention import AttendsToGenes
from scfm_eval.models.batching import (
    Precision,
    Unread,
    chosen_batch_size,
    gene_rows,
    layer_number,
    pool_in_batches,
    refuse_unread,
    sentence_lengths,
    usual_batch_size,
    values_in_batches,
)
from scfm_eval.models.counts import aligned_counts, gene_places
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.nicheformer_tokens import (
    FIRST_GENE,
    N_CONTEXT,
    Means,
    Pooling,
    context_tokens,
    ranked_genes,
    read_means,
    read_order,
    sources,
)
from scfm_eval.models.protocols import Reconstruction
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.unfreezing import Encoder


class Nicheformer(PublishedWeights, FineTunes, AttendsToGenes):
    """Nicheformer, frozen; genes are ``var["ensembl_id"]`` where that column exists, else ``var_names``.

    Parameters
    ----------
    weights
        Folder with ``nicheformer.ckpt``, ``model.h5ad`` and ``<technology>_mean_script.npy``; the latter two are in
        ``data/model_means`` of the published code.
    device, precision
        Where it runs, and the type that matrix products run in.
    specie, assay, modality
        What the three tokens in front of the genes say of all cells: ``"human"`` or ``"mouse"``; e.g. ``"10x 3' v3"``
        or ``"merfish"``; ``"dissociated"`` or ``"spatial"``. Genes are named as human ones in either case: of the
        20,310 ids of the release 151 are of mice, so that cells of mice are read through orthologs (``--orthologs``).
    technology
        Whose mean the counts are divided by: ``"dissociated"``, ``"merfish"``, ``"cosmx"``, ``"xenium"``, ``"iss"``.
        ``None`` takes that of dissociated cells, and of the assay for spatial ones.
    means
        What is done to means. ``"filled"``: a gene that the technology never saw (NaN, or 0) has 1. ``"rounded"``: they
        are rounded half up as well, as upstream's notebooks of tokenisation do, so that many genes tie.
        ``"raw"``: NaN stays, so that every such gene is a token of every cell, as in upstream's notebook of embeddings.
    pooling
        ``"mean"`` over the genes of a cell, or ``"padded_mean"``, as upstream, over padding too.
    with_context
        Whether the three tokens in front count in the mean.
    layer
        Layer that :meth:`embed` returns, counted like a list of ``n_blocks + 1`` entries.
    unread
        Whether a cell without any gene that the model can read is refused, or has the row that its context gives:
        zeros with ``"mean"`` over genes.
    batch_size
        Cells of full length in a batch; shorter cells travel in larger batches of as many tokens. ``None`` takes what
        suits the device.
    offline
        Never download.
    """

    name: ClassVar[str] = "nicheformer"
    role: ClassVar[str] = "model"
    revision: ClassVar[str] = "485cadbc5caa15119adfd54228f8a8af835fcabc"
    licence: ClassVar[str] = "BSD-3-Clause"
    weights_licence: ClassVar[str] = "not stated in the code's repository"
    citation: ClassVar[str] = "10.1038/s41592-025-02814-z"
    home: ClassVar[str] = "https://data.mendeley.com/preview/87gm9hrgm8?a=d95a6dde-e054-4245-a7eb-0522d6ea7dff"
    gene_ids: ClassVar[str] = "ensembl"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    definition: ClassVar[str] = (
        "Means are not rounded, and a gene without one has 1 (upstream rounds in one notebook, means='rounded', and "
        "makes such genes tokens of every cell in another, means='raw'); equal genes stand in the model's order. A row "
        "is the mean over the genes of a cell, where upstream averages over padding too (pooling='padded_mean'). A "
        "cell without readable genes is refused (unread='keep' does not). All cells are given one specie and one assay "
        "(human, 10x 3' v3), which are options: mouse cells, read through orthologs, ask for specie='mouse'."
    )
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    published_parameters: ClassVar[int] = 49_302_040
    published_genes: ClassVar[int] = 20_310
    published_layers: ClassVar[int] = 12

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        specie: str = "human",
        assay: str = "10x 3' v3",
        modality: str = "dissociated",
        technology: str | None = None,
        means: Means = "filled",
        pooling: Pooling = "mean",
        with_context: bool = False,
        layer: int = -1,
        unread: Unread = "refuse",
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.nicheformer_network import load_network

        options.require_known("means", means, known=get_args(Means))
        options.require_known("pooling", pooling, known=get_args(Pooling))
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_flag("with_context", with_context)
        options.require_known("precision", precision, known=get_args(Precision))
        self.device, self.precision = device, precision
        self.batch_size = chosen_batch_size(batch_size, usual=usual_batch_size(device))
        self.pooling, self.with_context, self.unread = pooling, with_context, unread
        self._context = context_tokens(specie=specie, assay=assay, modality=modality)
        self.technology = technology or ("dissociated" if modality == "dissociated" else assay)
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            (network, order, mean) = checkpoint.choose_files(
                folder, [("nicheformer.ckpt", "model.h5ad", f"{self.technology}_mean_script.npy")]
            )
            self.genes = read_order(order)
            self._mean = read_means(mean, n_genes=len(self.genes), means=means)
            loaded = load_network(network, n_genes=len(self.genes))
            self.n_parameters, self.unused_tensors = loaded.n_parameters, loaded.unused
            self.layer = layer_number(layer, n_layers=len(loaded.network.blocks) + 1)
            self._network = loaded.network.to(device)
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = checkpoint.weights_sha256([network, order, mean])

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint, order of genes and means of every technology in the weights folder."""
        return sources(Path(weights))

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the Ensembl ids in ``model.h5ad``: human ones, and mouse ones of genes without a human ortholog."""
        return frozenset(read_order(sources(Path(weights))[1]))

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the sentence of each cell, not padded: three tokens of context and its genes.

        Raises like :meth:`embed`.
        """
        ids = [str(gene) for gene in cells.var.get("ensembl_id", cells.var_names)]
        counts = aligned_counts(cells, genes=ids, order=self.genes)
        counts.eliminate_zeros()
        ranked = ranked_genes(counts, mean=self._mean, n_genes=self._full_length - N_CONTEXT)
        if self.unread == "refuse":
            refuse_unread(np.diff(counts.indptr), names=list(cells.obs_names))
        return [np.concatenate([self._context, genes + FIRST_GENE]) for genes, _ in ranked]

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read, or a gene has several columns.
        """
        return self._pooled(self._read(cells), [self.layer])[0]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, the input embedding first; raises like :meth:`embed`."""
        return self._pooled(self._read(cells), range(len(self._network.blocks) + 1))

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the embedding of each gene's token ``(n_genes, d)``, NaN for a gene that has none.

        It holds neither a position nor a context: embeddings of genes in cells are another thing.
        """
        table = self._network.embeddings.weight.detach().float().cpu().numpy()
        return gene_rows(table, token=self._gene_tokens(genes))

    def reconstruct_layers(self, cells: AnnData) -> Reconstruction:
        """Return the ranks that the masked-token head expects on each layer, beside those that were read.

        Ranks run from 1 at the front of a cell's genes to 0 at their end, in even steps. The head names genes, not
        values: see :func:`scfm_eval.models.blocks.expected_ranks`. No gene is masked, so that this says how much of the
        identity of its own gene a layer still holds at a place, in the form in which the head looks for it; the head
        was trained on the last layer. Raises like :meth:`embed`.
        """
        read = self._read(cells)
        lengths = sentence_lengths(read)
        n_genes = lengths - N_CONTEXT
        cell, layers = values_in_batches(
            lambda batch: self._network.ranked_layers([read[i] for i in batch]),
            lengths,
            n_values=n_genes,
            **self._how(),
        )
        target = np.concatenate([np.linspace(1, 0, n, dtype=np.float32) for n in n_genes])
        return Reconstruction(target=target, cell=cell, layers=layers)

    @property
    def _full_length(self) -> int:
        return int(self._network.sizes["length"])

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        place = gene_places(genes, order=self.genes)
        return np.where(place < 0, -1, place + FIRST_GENE)

    def _lengths(self, read: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        if self.pooling == "padded_mean":
            return np.full(len(read), self._full_length)
        return sentence_lengths(read)

    def _pooled(self, read: Sequence[NDArray[np.int64]], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        how: dict[str, Any] = {"pooling": self.pooling, "with_context": self.with_context, "layers": layers}
        return pool_in_batches(
            lambda batch: self._network.pooled_layers([read[i] for i in batch], **how),
            self._lengths(read),
            **self._how(),
        )

    def _attention(self, read: Sequence[NDArray[np.int64]]) -> Tensor:
        return self._network.attention(read)

    def _encoder(self) -> Encoder:
        from torch import nn

        from scfm_eval.models.unfreezing import Encoder

        network, length = self._network, self._full_length
        how: dict[str, Any] = {"pooling": self.pooling, "with_context": self.with_context}

        def pooled(cells: Sequence[NDArray[np.int64]]) -> Tensor:
            return network.pooled_layers(cells, **how, layers=[len(network.blocks)])[0]

        parts = nn.ModuleList([network.embeddings, network.positional_embedding, network.dropout, network.encoder])
        counted = {"length": lambda _: length} if self.pooling == "padded_mean" else {}
        return Encoder(parts, network.blocks, network.sizes["width"], pooled, **counted)

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.nicheformer_network import build_network

        self._network = build_network(seed=seed, **self._network.sizes).to(self.device)

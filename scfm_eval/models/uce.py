"""UCE: a transformer over the proteins of the genes that a cell expresses, for cells of several species.

Rosen et al. 2023, doi:10.1101/2023.11.28.568918.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.archives import take_out
from scfm_eval.datasets.download import RemoteFile
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import options
from scfm_eval.models.attention import AttendsToGenes
from scfm_eval.models.batching import (
    Precision,
    chosen_batch_size,
    pool_in_batches,
    refuse_unread,
    sentence_lengths,
    usual_batch_size,
)
from scfm_eval.models.checkpoint import weights_sha256
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.uce_tokens import (
    PROTEINS,
    Genes,
    Padding,
    Sampling,
    Sizes,
    checkpoint_file,
    gene_files,
    read_counts,
    sentences,
    upstream_filter,
)
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.unfreezing import Encoder

_FIGSHARE = "https://figshare.com/ndownloader/files/"
_PACKED = "protein_embeddings.tar.gz"
_GENES_AT_ONCE = 1024
_UPSTREAM_BATCH = 25


class UCE(PublishedWeights, FineTunes, AttendsToGenes):
    """UCE with 33 layers, frozen; genes are symbols in ``var_names``, whatever their case.

    A gene can be read where it has a protein embedding and one place in the genome. Several columns of one gene are
    refused, and so is a cell without any count of such a gene, for which upstream fails too.

    The checkpoint's binary decoder, which says of a cell and a gene whether the one expresses the other, gives no
    ``reconstruct_layers``: nothing in upstream's code calls it, and other public code for these weights joins cell and
    gene in the other order, which no size of the release tells apart.

    Parameters
    ----------
    weights
        Folder with the checkpoint, ``species_offsets.pkl``, ``species_chrom.csv`` and ``protein_embeddings/``;
        ``settings.json`` there states sizes other than the release's. ``None`` looks in ``$SCFM_EVAL_WEIGHTS/<name>``
        and then takes the release.
    device, precision
        Where it runs, and the type that matrix products run in.
    species
        One of the eight of the release; ``None`` is the class's, for which also the genes of the view are chosen. To
        benchmark cells of another one, state ``species`` and ``organisms`` in a class of your own that inherits this.
    sampling
        ``"cell"`` draws the genes of a cell from a generator that ``seed`` and the cell's own genes and counts
        determine; ``"upstream"`` from one that is seeded once, over the cells in their order.
    seed
        Of that generator.
    padding
        ``"masked"`` never attends to padding; ``"attended"`` adds 1 to its scores, as upstream does in batches of
        ``batch_size`` cells in their order, so that a cell depends on the others.
    filtering
        Whether genes are dropped as upstream does by default (those seen in fewer than 10 cells); cells that it drops
        too are refused, see :meth:`filtered`.
    normalise
        Whether a row is given unit length.
    batch_size
        Cells of full length in a batch; with masked padding, shorter cells travel in larger batches of as many
        tokens. ``None`` takes what suits the device, or upstream's 25 where padding is attended to.
    offline
        Never download.
    """

    name: ClassVar[str] = "uce"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "symbol"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    species: ClassVar[str] = "human"
    revision: ClassVar[str] = "8ead6e07af0c80f75653598138bb704e865b45c8"
    licence: ClassVar[str] = "MIT"
    weights_licence: ClassVar[str] = "CC-BY-4.0"
    citation: ClassVar[str] = "10.1101/2023.11.28.568918"
    home: ClassVar[str] = "https://figshare.com/articles/dataset/Universal_Cell_Embedding_Model_Files/24320806"
    definition: ClassVar[str] = (
        "Upstream attends to padding and draws genes from one global generator, so that a cell depends on its batch; "
        'here padding is masked and each cell seeds its own draw. padding="attended", sampling="upstream" and '
        "filtering give upstream's."
    )
    published_parameters: ClassVar[int] = 674_745_857
    published_genes: ClassVar[int] = 143_570
    published_layers: ClassVar[int] = 33
    checkpoint: ClassVar[str] = "33l_8ep_1024t_1280.torch"
    downloads: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(f"{_FIGSHARE}43423236", "33l_8ep_1024t_1280.torch"),
        RemoteFile(f"{_FIGSHARE}42706555", "species_offsets.pkl"),
        RemoteFile(f"{_FIGSHARE}42706558", "species_chrom.csv"),
        RemoteFile(f"{_FIGSHARE}42715213", _PACKED, holds=tuple(PROTEINS.values())),
    )

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        species: str | None = None,
        sampling: Sampling = "cell",
        seed: int = 0,
        padding: Padding = "masked",
        filtering: bool = False,
        normalise: bool = True,
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.uce_network import load_network

        options.require_known("precision", precision, known=get_args(Precision))
        options.require_known("sampling", sampling, known=get_args(Sampling))
        options.require_known("padding", padding, known=get_args(Padding))
        options.require_flag("filtering", filtering)
        options.require_flag("normalise", normalise)
        options.require_whole("seed", seed)
        usual = _UPSTREAM_BATCH if padding == "attended" else usual_batch_size(device)
        self.device, self.precision = device, precision
        self.batch_size = chosen_batch_size(batch_size, usual=usual)
        # decides what a cell gives where padding is attended to, so that it stays when memory runs out
        self._n_together = self.batch_size
        self.batch_decides = padding == "attended"
        self.sampling, self.seed, self.padding = sampling, seed, padding
        self.filtering, self.normalise = filtering, normalise
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            self._sizes = self._read_sizes(folder)
            self.genes = Genes.read(folder, species=species or self.species, sizes=self._sizes)
            files = self._files(folder, species=self.genes.species)
            loaded, self._table = load_network(files[0], sizes=self._sizes, n_chromosomes=self.genes.n_chromosomes)
            self._network = loaded.network.to(device)
            self.n_parameters, self.unused_tensors = loaded.n_parameters, loaded.unused
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = weights_sha256(files)

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded and unpacked if need be; raises ``InvalidInputError`` without one."""
        folder = super().locate(weights, offline=offline)
        packed = folder / _PACKED
        if packed.exists() and not all((folder / file).exists() for file in PROTEINS.values()):
            take_out(packed, list(PROTEINS.values()), folder=folder)
        return folder

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return the checkpoint and the files of genes of the class's species, and ``settings.json`` if it is there."""
        return cls._files(Path(weights), species=cls.species)

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the symbols of the genes of the class's species that can be read."""
        folder = Path(weights)
        return frozenset(Genes.read(folder, species=cls.species, sizes=cls._read_sizes(folder)).symbols.tolist())

    @staticmethod
    def filtered(cells: AnnData) -> AnnData:
        """Return the cells and genes that upstream's filter leaves; ``cells`` is not changed.

        First genes seen in fewer than 10 cells are dropped, then cells with fewer than 25 of the genes that are left.
        Genes that UCE cannot read count too, so that it is given all of them.
        """
        return upstream_filter(cells)

    def tokenise(self, cells: AnnData) -> list[NDArray[np.int64]]:
        """Return the sentence of tokens of each cell, not padded; raises like :meth:`embed`."""
        if self.filtering:
            cells = self._kept(cells)
        counts, places = read_counts(cells, self.genes, sampling=self.sampling)
        refuse_unread(np.diff(counts.indptr), names=list(cells.obs_names))
        return sentences(
            counts, places=places, genes=self.genes, sizes=self._sizes, sampling=self.sampling, seed=self.seed
        )

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the decoded ``<cls>`` of each cell ``(n_cells, d)`` in the order of ``obs_names``.

        Rows are of unit length, unless ``normalise=False`` was asked for.

        Raises
        ------
        InvalidInputError
            A gene stands in several columns, a cell has no gene that the model can read, upstream's filter is on and
            drops a cell, or a sentence is too long.
        """
        return self._pooled(self._read(cells), lambda batch: [self._decoded(self._cls_layers(batch)[-1])])[0]

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return ``<cls>`` on each layer ``(n_cells, d)``, the input first; raises like :meth:`embed`.

        It is not decoded and not normalised. On the input it is the same for all cells: what they contain comes to it
        by attention only.
        """
        return self._pooled(self._read(cells), self._cls_layers)

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return what enters the transformer for each gene ``(n_genes, d)``, NaN for a gene that cannot be read.

        It is the gene's normalised protein embedding after the model's own ``encoder`` (linear, GELU, LayerNorm),
        without the position and the common factor that follow. It is not what ``gene_embedding_layer`` of the
        checkpoint gives, a layer that belongs to the binary decoder.
        """
        import torch

        token = self._gene_tokens(genes)
        known = np.flatnonzero(token >= 0)
        made = np.full((len(token), self._sizes.emsize), np.nan, dtype=np.float32)
        with torch.inference_mode():
            for part in np.split(known, range(_GENES_AT_ONCE, len(known), _GENES_AT_ONCE)):
                rows = self._table[torch.from_numpy(token[part])]
                made[part] = self._network.vectors(rows).float().cpu().numpy()
        return made

    def _gene_tokens(self, genes: Sequence[str]) -> NDArray[np.int64]:
        place = self.genes.places(genes)
        return np.where(place < 0, -1, self.genes.token[place])

    def _kept(self, cells: AnnData) -> AnnData:
        kept = self.filtered(cells)
        dropped = cells.obs_names[~cells.obs_names.isin(kept.obs_names)]
        if len(dropped):
            raise InvalidInputError(
                asked=f"a row of {self.name} for each of {cells.n_obs} cells, with upstream's filter",
                found=f"{len(dropped)} cells that it drops: {', '.join(dropped[:5])}",
                remedy="embed what filtered(cells) leaves with filtering=False, or leave the filter off",
            )
        return kept

    def _cls_layers(self, cells: Sequence[NDArray[np.int64]]) -> list[Tensor]:
        return self._network.cls_layers(cells, table=self._table, padding=self.padding)

    def _decoded(self, cls: Tensor) -> Tensor:
        from torch import nn

        rows: Tensor = self._network.decoder(cls)
        return nn.functional.normalize(rows.float(), dim=-1) if self.normalise else rows

    def _pooled(
        self, read: Sequence[NDArray[np.int64]], forward: Callable[[Sequence[NDArray[np.int64]]], list[Tensor]]
    ) -> list[NDArray[np.float32]]:
        how = self._how()

        def pooled(cells: slice) -> list[NDArray[np.float32]]:
            part = read[cells]
            return pool_in_batches(lambda batch: forward([part[i] for i in batch]), sentence_lengths(part), **how)

        if self.padding == "masked":
            return pooled(slice(None))
        how["token_budget"] = self._n_together * self._sizes.pad_length
        parts = [pooled(slice(start, start + self._n_together)) for start in range(0, len(read), self._n_together)]
        return [np.concatenate(layer) for layer in zip(*parts, strict=True)]

    @property
    def _full_length(self) -> int:
        return self._sizes.pad_length

    def _attention(self, read: Sequence[NDArray[np.int64]]) -> Tensor:
        return self._network.attention(read, table=self._table)

    def _encoder(self) -> Encoder:
        from torch import nn

        from scfm_eval.models.unfreezing import Encoder

        network = self._network

        def pooled(cells: Sequence[NDArray[np.int64]]) -> Tensor:
            # not decoded: the head stands on the state that the blocks give, as in other transformers
            return self._cls_layers(cells)[-1]

        parts = nn.ModuleList([network.encoder, network.pos_encoder, network.transformer_encoder])
        return Encoder(parts, network.blocks, self._sizes.emsize, pooled)

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.uce_network import redrawn

        self._network = redrawn(self._network, seed=seed)

    @classmethod
    def _read_sizes(cls, folder: Path) -> Sizes:
        return Sizes.read(folder, n_layers=cls.published_layers)

    @classmethod
    def _files(cls, folder: Path, *, species: str) -> list[Path]:
        file = checkpoint_file(folder, published=cls.checkpoint)
        files = [file, *gene_files(folder, species=species), folder / "settings.json"]
        return [file for file in files if file.exists()]


class UCE4Layers(UCE):
    """UCE with 4 layers, frozen; parameters of :class:`UCE`."""

    name = "uce-4layers"
    checkpoint = "4layer_model.torch"
    published_parameters = 104_100_097
    published_layers = 4
    downloads = (RemoteFile(f"{_FIGSHARE}42706576", "4layer_model.torch"), *UCE.downloads[1:])

"""UCE: a transformer over the proteins of the genes that a cell expresses, for cells of several species.

Rosen et al. 2023, doi:10.1101/2023.11.28.568918.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.download import RemoteFile
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.attention import PairMeans, number_of
from scfm_eval.models.batching import (
    Precision,
    batches_by_length,
    pool_in_batches,
    refuse_unread,
    usual_batch_size,
)
from scfm_eval.models.checkpoint import weights_sha256
from scfm_eval.models.files import refusing
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.uce_tokens import (
    Genes,
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

    from scfm_eval.models.uce_network import Padding
    from scfm_eval.models.unfreezing import Encoder

_FIGSHARE = "https://figshare.com/ndownloader/files/"
_PROTEINS = "protein_embeddings"
_GENES_AT_ONCE = 1024
_UPSTREAM_BATCH = 25


class UCE(PublishedWeights, FineTunes):
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
        RemoteFile(f"{_FIGSHARE}42715213", f"{_PROTEINS}.tar.gz"),
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

        usual = _UPSTREAM_BATCH if padding == "attended" else usual_batch_size(device)
        self.device, self.precision, self.batch_size = device, precision, batch_size or usual
        # decides what a cell gives where padding is attended to, so that it stays when memory runs out
        self._n_together = self.batch_size
        self.sampling, self.seed, self.padding = sampling, seed, padding
        self.filtering, self.normalise = filtering, normalise
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            self._sizes = self._read_sizes(folder)
            self.genes = Genes.read(folder, species=species or self.species, sizes=self._sizes)
            files = self._files(folder, species=self.genes.species)
            loaded = load_network(files[0], sizes=self._sizes, n_chromosomes=self.genes.n_chromosomes)
            self._network, self._table = loaded.network.to(device), loaded.table
            self.n_parameters, self.unused_tensors = loaded.n_parameters, loaded.unused
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = weights_sha256(files)

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded and unpacked if need be; raises ``InvalidInputError`` without one."""
        folder = super().locate(weights, offline=offline)
        packed = folder / f"{_PROTEINS}.tar.gz"
        if packed.exists() and not (folder / _PROTEINS).exists():
            with refusing(asked=f"the files in {packed}", remedy="delete it, and fetch it again"):
                _unpack(packed)
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
        """Return the decoded ``<cls>`` of each cell ``(n_cells, d)``, of unit length, in the order of ``obs_names``.

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

        places = self.genes.places(genes)
        known = np.flatnonzero(places >= 0)
        made = np.full((len(places), self._sizes.emsize), np.nan, dtype=np.float32)
        with torch.inference_mode():
            for part in np.split(known, range(_GENES_AT_ONCE, len(known), _GENES_AT_ONCE)):
                rows = self._table[torch.from_numpy(self.genes.token[places[part]])]
                made[part] = self._network.vectors(rows).float().cpu().numpy()
        return made

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return attention in the last block ``(n_genes, n_genes)``: what the column's gene pays to the row's.

        Mean over heads, over the places where a gene was drawn, and over the cells in which both were; NaN where there
        is no such cell, and on the diagonal. Padding is masked. Raises like :meth:`embed`.
        """
        import torch

        read, means = self._read(cells), PairMeans(len(genes))
        number = np.full(len(self._table), -1, dtype=np.int64)
        asked = number_of([gene.upper() for gene in genes])
        places = self.genes.places(list(asked))
        number[self.genes.token[places[places >= 0]]] = np.array(list(asked.values()), dtype=np.int64)[places >= 0]
        lengths = _lengths(read)
        with phase("forward"), torch.inference_mode():
            for batch in batches_by_length(lengths, token_budget=self._how()["token_budget"]):
                attention = self._network.attention([read[i] for i in batch], table=self._table).cpu().numpy()
                for i, paid in zip(batch, attention, strict=True):
                    means.add(paid[: lengths[i], : lengths[i]], gene=number[read[i]])
        return means.scores()

    def _read(self, cells: AnnData) -> list[NDArray[np.int64]]:
        with phase("tokenise"):
            return self.tokenise(cells)

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
            return pool_in_batches(lambda batch: forward([part[i] for i in batch]), _lengths(part), **how)

        if self.padding == "masked":
            return pooled(slice(None))
        how["token_budget"] = self._n_together * self._sizes.pad_length
        parts = [pooled(slice(start, start + self._n_together)) for start in range(0, len(read), self._n_together)]
        return [np.concatenate(layer) for layer in zip(*parts, strict=True)]

    def _how(self) -> dict[str, Any]:
        budget = self.batch_size * self._sizes.pad_length
        return {"token_budget": budget, "device": self.device, "precision": self.precision, "name": self.name}

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


def _lengths(read: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.array([len(cell) for cell in read], dtype=np.int64)


def _unpack(packed: Path) -> None:
    """Unpack the archive of protein embeddings beside itself; an interrupted one leaves nothing behind."""
    with tempfile.TemporaryDirectory(dir=packed.parent) as inside, tarfile.open(packed) as tar:
        tar.extractall(inside, filter="data")
        (Path(inside) / _PROTEINS).rename(packed.parent / _PROTEINS)

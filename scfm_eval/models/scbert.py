"""scBERT: a Performer over all genes of a list, each with a bin of its expression.

Wang et al. 2022, doi:10.1038/s42256-022-00534-z. The code of upstream is under the GPL and nothing of it is used here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.attention import PairMeans
from scfm_eval.models.batching import (
    Precision,
    Unread,
    chosen_batch_size,
    gene_rows,
    layer_number,
    pool_in_batches,
    refuse_unread,
    require_known,
    sentence_lengths,
    values_in_batches,
)
from scfm_eval.models.counts import aligned_counts, gene_places
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.performer import Stabiliser
from scfm_eval.models.protocols import Effect, Reconstruction
from scfm_eval.models.scbert_tokens import Pooling, Sentence, perturbed, read_genes, sentences
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

    from scfm_eval.models.unfreezing import Encoder

_FILES = ("panglao_pretrain.pth", "panglao_10000.h5ad")


class ScBERT(PublishedWeights, FineTunes):
    """scBERT, frozen.

    At the published size (16,907 positions, 10 heads, 266 features) the features of queries and keys of one cell are
    180 MB each, and an embedding needs about 1 GB of memory per cell of a batch; fine-tuning keeps them for the
    gradients of all six blocks.

    Parameters
    ----------
    weights
        Folder with ``panglao_pretrain.pth`` and ``panglao_10000.h5ad``, of which only the names of the genes are read.
    device, precision
        Where it runs, and the type that matrix products run in; attention is always computed in float32.
    pooling
        Mean over the ``"genes"`` of the list, mean over ``"all"`` positions, ``"max"`` over genes, the ``"last"``
        position, which is no gene, or mean over the ``"expressed"`` genes whose token is not 0 (0 where there is
        none). Upstream has no embedding of cells. The mean over genes is the default because it is over the same
        genes in every cell, is there for every cell, and leaves out the position that is no gene.
    layer
        Layer that :meth:`embed` returns, counted like a list of ``n_blocks + 1`` entries; the last one after the final
        norm.
    stabiliser
        ``"cell"``: the keys of each cell are stabilised by themselves. ``"batch"``: over all cells of a batch, as
        upstream does when it is given several at a time; rows then depend on the other cells of the batch, and these
        are the next ``batch_size`` ones in the order of the cells, however much memory there is.
    bin_num
        Largest token.
    unread
        ``"refuse"`` raises for a cell without any gene of the list, ``"keep"`` embeds it as a cell of zeros.
    batch_size
        Cells in a batch; ``None`` takes 1 on the CPU, else 8, and is refused with ``stabiliser="batch"``.
    offline
        Never download.
    """

    name: ClassVar[str] = "scbert"
    role: ClassVar[str] = "model"
    revision: ClassVar[str] = "262fd4b91f3f1c21a6e595d03d4ef423e16ffc99"
    licence: ClassVar[str] = "MIT (performer-pytorch); nothing of upstream's GPL-3.0 code is used"
    weights_licence: ClassVar[str] = "GPL-3.0"
    citation: ClassVar[str] = "10.1038/s42256-022-00534-z"
    home: ClassVar[str] = "https://github.com/TencentAILabHealthcare/scBERT"
    gene_ids: ClassVar[str] = "symbol"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    # without gene2vec, which was not learned
    published_parameters: ClassVar[int | None] = 5_007_207
    published_genes: ClassVar[int | None] = 16_906
    published_layers: ClassVar[int | None] = 6
    definition: ClassVar[str] = (
        "Keys of the attention are stabilised cell by cell, as upstream computes when it is given one cell at a time; "
        'stabiliser="batch" takes the whole batch, whose size has to be stated. No cell is dropped for having fewer '
        "than 200 genes. Upstream has no embedding of cells: the default is the mean over the genes of its list."
    )
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    # of the published training, whose batches were of 3 cells
    fine_tuning: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "batch_size": 3}

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        pooling: Pooling = "genes",
        layer: int = -1,
        stabiliser: Stabiliser = "cell",
        bin_num: int = 5,
        unread: Unread = "refuse",
        batch_size: int | None = None,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.scbert_network import load_network

        options.require_known("precision", precision, known=get_args(Precision))
        options.require_known("pooling", pooling, known=get_args(Pooling))
        options.require_known("stabiliser", stabiliser, known=get_args(Stabiliser))
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_whole("bin_num", bin_num, least=1)
        _require_stated(batch_size, stabiliser=stabiliser)
        self.device, self.precision, self.stabiliser = device, precision, stabiliser
        self.batch_size = chosen_batch_size(batch_size, usual=1 if device == "cpu" else 8)
        # decides what a cell gives where the whole batch is stabilised, so that it stays when memory runs out
        self._n_together = self.batch_size
        self.batch_decides = stabiliser == "batch"
        self.pooling, self.bin_num, self.unread = pooling, bin_num, unread
        files = self.sources(self.locate(weights, offline=offline))
        with phase("load"):
            self.genes = read_genes(files[1])
            loaded = load_network(files[0], n_genes=len(self.genes), bin_num=bin_num, stabiliser=stabiliser)
            self.n_parameters = loaded.n_parameters
            self._network = loaded.network.to(device)
            self.layer = layer_number(layer, n_layers=loaded.network.sizes.depth + 1)
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = checkpoint.weights_sha256(files)

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return the checkpoint and the file with the list of genes in the weights folder."""
        return list(checkpoint.choose_files(Path(weights), [_FILES]))

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene symbols in the list of the weights folder."""
        return frozenset(read_genes(cls.sources(weights)[1]))

    def tokenise(self, cells: AnnData) -> list[Sentence]:
        """Return the places and tokens of each cell's genes whose token is not 0; raises like :meth:`embed`."""
        counts = aligned_counts(cells, genes=list(cells.var_names), order=self.genes)
        if self.unread == "refuse":
            refuse_unread((counts > 0).getnnz(axis=1), names=list(cells.obs_names))
        return sentences(counts, bin_num=self.bin_num)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene that the model can read.
        """
        return self._embedded(self._read(cells))

    def embed_layers(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return one array ``(n_cells, d)`` per layer, before the final norm, the input first; raises as embed."""
        return self._pooled(self._read(cells), range(self._network.sizes.depth + 1))

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the gene2vec row of each gene ``(n_genes, d)``; NaN for a gene that is not in the list.

        It does not depend on a cell; :meth:`encode` gives the vectors of genes in their cells.
        """
        return gene_rows(self._network.positions.float().cpu().numpy(), token=gene_places(genes, order=self.genes))

    def encode(self, cells: AnnData, *, genes: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return the vector of each gene in each cell after the last layer ``(n_cells, n_genes, d)``.

        Parameters
        ----------
        cells
            Raises like :meth:`embed`.
        genes
            ``None`` gives all positions, the last of which is no gene; NaN for a gene that is not in the list.
        """
        import torch

        read = self._read(cells)
        place = np.arange(len(self.genes) + 1) if genes is None else gene_places(genes, order=self.genes)

        def forward(batch: NDArray[np.int64]) -> list[Tensor]:
            return [self._network.encodings([read[i] for i in batch])[:, torch.from_numpy(place)]]

        (made,) = pool_in_batches(forward, self._lengths(read), **self._how())
        made[:, place < 0] = np.nan
        return made

    def reconstruct_layers(self, cells: AnnData) -> Reconstruction:
        """Return the bin that the head expects on each layer, beside the token that was read, of expressed genes.

        The head was trained on masked genes whose token is not 0, so that the mean is over the bins from 1, and genes
        with token 0 are left out. Raises like :meth:`embed`.
        """
        read = self._read(cells)
        cell, layers = values_in_batches(
            lambda batch: self._network.decoded_layers([read[i] for i in batch]),
            self._lengths(read),
            n_values=sentence_lengths([places for places, _ in read]),
            **self._how(),
        )
        target = np.concatenate([tokens for _, tokens in read]).astype(np.float32)
        return Reconstruction(target=target, cell=cell, layers=layers)

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return ``(n_genes, n_genes)``: how much the column's gene attends to the row's, mean over heads and blocks.

        A cell counts for a pair when the tokens of both genes are not 0 in it. Linear attention has no matrix: only
        the entries between genes that are asked for are computed. Raises like :meth:`embed`.
        """
        import torch

        asked, read = gene_places(genes, order=self.genes), self._read(cells)
        means = PairMeans(asked)
        with phase("forward"), torch.inference_mode():
            for cell in read:
                places = cell[0][np.isin(cell[0], asked)]
                if len(places) > 0:
                    means.add(self._network.attention_between(cell, places), tokens=places)
        return means.scores()

    def perturb(self, cells: AnnData, *, genes: Sequence[str], effect: Effect) -> NDArray[np.float32]:
        """Return rows as :meth:`embed` does, after a knockdown to token 0 or an activation to the largest token.

        Raises
        ------
        InvalidInputError
            A gene is not known, or a cell has no gene that the model can read.
        """
        read, places = self._read(cells), gene_places(genes, order=self.genes)
        require_known(genes, token=places, model=self.name)
        return self._embedded([perturbed(cell, places=places, effect=effect, bin_num=self.bin_num) for cell in read])

    def _how(self) -> dict[str, Any]:
        how = super()._how()
        if self.stabiliser == "batch":
            # all sentences are of one length, so that batches are the cells in their order
            how["token_budget"] = self._n_together * self._full_length
        return how

    def _lengths(self, read: Sequence[Sentence]) -> NDArray[np.int64]:
        return np.full(len(read), self._full_length)

    def _embedded(self, read: Sequence[Sentence]) -> NDArray[np.float32]:
        if self.layer < self._network.sizes.depth:
            return self._pooled(read, [self.layer])[0]
        forward = self._final
        return pool_in_batches(lambda batch: [forward([read[i] for i in batch])], self._lengths(read), **self._how())[0]

    def _final(self, cells: Sequence[Sentence]) -> Tensor:
        from scfm_eval.models.scbert_network import pooled

        return pooled(self._network.encodings(cells), self._network.tokens(cells), self.pooling)

    def _pooled(self, read: Sequence[Sentence], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        return pool_in_batches(
            lambda batch: self._network.pooled_layers([read[i] for i in batch], pooling=self.pooling, layers=layers),
            self._lengths(read),
            **self._how(),
        )

    @property
    def _full_length(self) -> int:
        return len(self.genes) + 1

    def _encoder(self) -> Encoder:
        from torch import nn

        from scfm_eval.models.unfreezing import Encoder

        network = self._network
        # gene2vec was frozen in pretraining, and stays so: it is no parameter of the network
        parts = nn.ModuleList([network.token_emb, network.blocks, network.norm])
        length = network.sizes.length
        return Encoder(parts, network.blocks, network.sizes.width, self._final, length=lambda _: length)

    def _draw_weights(self, seed: int) -> None:
        from scfm_eval.models.scbert_network import build_network

        old = self._network
        self._network = build_network(old.sizes, stabiliser=old.stabiliser, seed=seed).to(self.device)


def _require_stated(batch_size: int | None, *, stabiliser: Stabiliser) -> None:
    if stabiliser == "batch" and batch_size is None:
        raise InvalidInputError(
            asked="scbert with stabiliser 'batch'",
            found="no batch_size, on which every row then depends",
            remedy="state the batch_size, or use stabiliser='cell'",
        )

"""SCimilarity: a small encoder that puts cells of one type beside each other, trained by triplets.

Heimberg et al. 2024, doi:10.1038/s41586-024-08411-y.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.bounds import read_text
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.batching import (
    Precision,
    Unread,
    gene_rows,
    pool_in_batches,
    refuse_unread,
)
from scfm_eval.models.counts import aligned_counts, gene_places
from scfm_eval.models.files import refusing
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

_FILES = ("encoder.ckpt", "gene_order.tsv", "layer_sizes.json")
_TOTAL = 10_000
_CELLS_OF_GRADIENTS = 64
_REMEDY = "use the files that were published with the checkpoint"


class SCimilarity(PublishedWeights):
    """SCimilarity's encoder, frozen; genes are symbols in ``var_names``.

    Counts are aligned to the file's list of genes by name, scaled to 10,000 in all and given as ln(1 + x). It has no
    ``embed_layers``: input, hidden blocks and output each have a width of their own, and :meth:`hidden_blocks` gives
    the blocks as they are. It is not fine-tuned either: it reads no sentences and has no blocks of one width.

    Parameters
    ----------
    weights
        Folder with ``encoder.ckpt``, ``gene_order.tsv`` and ``layer_sizes.json``, as in the release. ``None`` looks in
        ``$SCFM_EVAL_WEIGHTS/scimilarity``; the release is one large archive that is not downloaded here.
    device, precision
        Where it runs, and the type that matrix products run in.
    fewest_genes
        Cells that share fewer genes with the list are refused; 5,000 is upstream's.
    unread
        ``"keep"`` gives a cell without any count of these genes the row of an empty cell, as upstream does; else it
        is refused.
    normalise
        Whether a row is given unit length.
    batch_size
        Cells at a time.
    offline
        Never download.
    """

    name: ClassVar[str] = "scimilarity"
    role: ClassVar[str] = "model"
    gene_ids: ClassVar[str] = "symbol"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    tolerances: ClassVar[dict[str, float]] = {"bfloat16": 1e-3, "float16": 1e-4}
    revision: ClassVar[str] = "3ce3ec81e122a115eb3e667706725120f7ee252d"
    licence: ClassVar[str] = "Apache-2.0"
    weights_licence: ClassVar[str] = "stated in the Zenodo record"
    citation: ClassVar[str] = "10.1038/s41586-024-08411-y"
    home: ClassVar[str] = "https://zenodo.org/records/10685499"
    published_genes: ClassVar[int] = 28_231
    definition: ClassVar[str] = (
        "Upstream sorts the genes by name, which puts them into wrong inputs where gene_order.tsv is not sorted; here "
        "they are aligned by name. Upstream gives a cell without any readable gene a row; here it is refused unless "
        'unread="keep".'
    )

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
        fewest_genes: int = 5000,
        unread: Unread = "refuse",
        normalise: bool = True,
        batch_size: int = 1024,
        offline: bool = False,
    ) -> None:
        from scfm_eval.models.scimilarity_network import load_encoder

        options.require_known("precision", precision, known=get_args(Precision))
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_flag("normalise", normalise)
        options.require_whole("fewest_genes", fewest_genes, least=0)
        options.require_whole("batch_size", batch_size, least=1)
        self.device, self.precision, self.batch_size = device, precision, batch_size
        self.fewest_genes, self.unread, self.normalise = fewest_genes, unread, normalise
        folder = self.locate(weights, offline=offline)
        with phase("load"):
            weights_file, listed, sizes = files = self.sources(folder)
            self.genes = read_gene_order(listed)
            loaded = load_encoder(weights_file, sizes=sizes, n_genes=len(self.genes))
            self._encoder, self.n_parameters = loaded.network.to(device), loaded.n_parameters
            self.loaded_share: float | None = loaded.share
            self.weights_sha256: str | None = checkpoint.weights_sha256(files)

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return checkpoint, list of genes and sizes in the weights folder."""
        return list(checkpoint.choose_files(Path(weights), [_FILES]))

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene symbols of the list in the weights folder."""
        return frozenset(read_gene_order(cls.sources(weights)[1]))

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return one row per cell ``(n_cells, d)`` in the order of ``cells.obs_names``.

        Rows are of unit length, unless ``normalise=False`` was asked for.

        Raises
        ------
        InvalidInputError
            Too few genes are shared, a gene stands in several columns, or a cell has no gene that the model can read.
        """
        embedded, normalise = self._encoder.embedded, self.normalise
        return self._forward(cells, lambda expression: [embedded(expression, normalise=normalise)])[0]

    def hidden_blocks(self, cells: AnnData) -> list[NDArray[np.float32]]:
        """Return the output of each hidden block ``(n_cells, width of the block)``; raises like :meth:`embed`."""
        return self._forward(cells, lambda expression: list(self._encoder.layers(expression))[:-1])

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return each gene's weights in the first layer ``(n_genes, d)``, NaN for a gene that is not in the list.

        What enters the network is the sum of these vectors, each times the expression of its gene, plus a bias.
        """
        return gene_rows(self._encoder.gene_weights(), token=gene_places(genes, order=self.genes))

    def score_gene_pairs(self, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return how alike two genes move a cell ``(n_genes, n_genes)``, from −1 to 1, the same in both directions.

        It is the cosine between the derivatives of the embedding with respect to the two genes' log-normalised
        expression, mean over ``cells``, whether or not these express them. NaN on the diagonal, and for a gene that is
        not in the list or not among those of ``cells``. Raises like :meth:`embed`.
        """
        expression = self._expression(cells)
        places = gene_places(genes, order=self.genes)
        read = (places >= 0) & np.isin(genes, cells.var_names.to_numpy(dtype=np.str_))
        total = np.zeros((int(read.sum()),) * 2)
        with phase("forward"):
            for start in range(0, cells.n_obs, _CELLS_OF_GRADIENTS):
                rows = self._dense(expression[start : start + _CELLS_OF_GRADIENTS])
                total += self._encoder.likeness(rows, places[read], normalise=self.normalise)
        made = np.full((len(genes), len(genes)), np.nan, dtype=np.float32)
        made[np.ix_(read, read)] = total / cells.n_obs
        np.fill_diagonal(made, np.nan)
        return made

    def log_normalised(self, cells: AnnData) -> sparse.csr_matrix:
        """Return what the encoder reads ``(n_cells, n_list)``: ln(1 + x) of counts scaled to 10,000 over the list.

        A cell without any of these counts stays zero.

        Raises
        ------
        InvalidInputError
            Too few genes are shared, or a gene stands in several columns.
        """
        genes = [str(gene) for gene in cells.var_names]
        shared = len(set(genes) & set(self.genes))
        if shared < self.fewest_genes:
            raise InvalidInputError(
                asked=f"cells that share {self.fewest_genes} genes or more with {self.name}",
                found=f"{shared} of its {len(self.genes)} genes",
                remedy="give cells with all their genes as symbols, or lower fewest_genes if that is meant",
            )
        counts = aligned_counts(cells, genes=genes, order=self.genes)
        counts.eliminate_zeros()
        n_counts = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        scale = np.divide(_TOTAL, n_counts, out=np.zeros_like(n_counts), where=n_counts > 0)
        counts.data = np.log1p(counts.data * np.repeat(scale, np.diff(counts.indptr))).astype(np.float32)
        return counts

    def _expression(self, cells: AnnData) -> sparse.csr_matrix:
        with phase("tokenise"):
            expression = self.log_normalised(cells)
            if self.unread == "refuse":
                refuse_unread(np.diff(expression.indptr), names=list(cells.obs_names))
            return expression

    def _forward(self, cells: AnnData, layers: Callable[[Tensor], list[Tensor]]) -> list[NDArray[np.float32]]:
        expression = self._expression(cells)
        return pool_in_batches(
            lambda batch: layers(self._dense(expression[batch])),
            np.ones(cells.n_obs, dtype=np.int64),
            token_budget=self.batch_size,
            device=self.device,
            precision=self.precision,
            name=self.name,
        )

    def _dense(self, expression: sparse.csr_matrix) -> Tensor:
        import torch

        return torch.from_numpy(expression.toarray()).to(self.device)


def read_gene_order(path: Path) -> list[str]:
    """Return the symbols in a file of one per line.

    Raises
    ------
    InvalidInputError
        It cannot be read, is empty, names a gene twice, or holds more than names.
    """
    with refusing(asked=f"the genes in {path}", remedy=_REMEDY):
        genes = read_text(path, encoding="utf-8-sig").split("\n")
    genes = [gene.strip() for gene in genes if gene.strip()]
    strange = [gene for gene in genes if re.search(r"[\s,;\"']", gene)]
    if strange:
        raise InvalidInputError(
            asked=f"the genes in {path}, one a line",
            found=f"a line with more than a name: {strange[0]!r}",
            remedy=_REMEDY,
        )
    if not genes or len(set(genes)) < len(genes):
        raise InvalidInputError(
            asked=f"the genes in {path}, each once",
            found=f"{len(genes)} names, {len(genes) - len(set(genes))} of them repeated",
            remedy=_REMEDY,
        )
    return genes

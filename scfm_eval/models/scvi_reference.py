"""Pretrained references of scvi-tools, as scvi-hub publishes them: scVI and scANVI, applied to new cells as they are.

Lopez et al. 2018, doi:10.1038/s41592-018-0229-2; Xu et al. 2021, doi:10.15252/msb.20209620.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.batching import Unread, refuse_unread
from scfm_eval.models.namespaces import counts_by_name
from scfm_eval.models.scvi_saved import Saved, build_module, read_saved
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

_FILE = "model.pt"


class ScVIReference(PublishedWeights):
    """A pretrained scVI, frozen: nothing is learned from the new cells.

    Genes are found by name; where the reference has Ensembl ids and the cells symbols, or the other way about, by the
    packaged table of genes. A gene that the cells lack counts as zero. An encoder that reads continuous or further
    categorical covariates is refused, as new cells have none of these.

    Parameters
    ----------
    weights
        Folder with the ``model.pt`` that scvi-tools 0.15 or later saved, e.g. a copy of a repository of scvi-hub.
    device
        Where it runs, in float32.
    batch
        Of which batch of the reference new cells count, where the encoder reads the batch; ``None`` takes the mean over
        all batches of the reference.
    unread
        ``"refuse"`` raises for a cell without any gene of the reference, ``"keep"`` embeds it as a cell of zeros.
    batch_size
        Cells that are made dense together.
    offline
        Never download; there is nothing to download.
    """

    name: ClassVar[str] = "scvi-reference"
    role: ClassVar[str] = "model"
    revision: ClassVar[str] = version("scvi-tools")
    licence: ClassVar[str] = "BSD-3-Clause"
    weights_licence: ClassVar[str] = "that of the reference which is given"
    citation: ClassVar[str] = "10.1038/s41592-018-0229-2"
    home: ClassVar[str] = "https://huggingface.co/scvi-tools"
    gene_ids: ClassVar[str | None] = None
    definition: ClassVar[str] = (
        "The mean of the latent distribution of new cells as they are, without the training on them that scArches "
        "does. Where the encoder reads the batch, it is the mean over all batches of the reference; "
        'batch="NAME" takes one of them.'
    )
    module: ClassVar[str] = "SCVI"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        batch: str | None = None,
        unread: Unread = "refuse",
        batch_size: int = 512,
        offline: bool = False,
    ) -> None:
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_whole("batch_size", batch_size, least=1)
        self.device, self.unread, self.batch_size = device, unread, batch_size
        (file,) = self.sources(self.locate(weights, offline=offline))
        with phase("load"):
            self._saved = read_saved(file, module=self.module)
            self.genes = self._saved.genes
            self._module: Any = build_module(self._saved)
            self.n_parameters = checkpoint.load_strictly(self._module, self._saved.tensors)
            self._module = self._module.to(device)
            self._batches = _batches(self._saved, asked=batch)
            self.loaded_share: float | None = checkpoint.loaded_share(self._module, self._saved.tensors)
            self.weights_sha256: str | None = checkpoint.weights_sha256([file])

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return the saved model in the weights folder."""
        return list(checkpoint.choose_files(Path(weights), [(_FILE,)]))

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the names of the reference's genes, in whichever namespace they are."""
        return frozenset(read_saved(cls.sources(weights)[0], module=cls.module).genes)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the mean of the latent distribution ``(n_cells, n_latent)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene of the reference.
        """
        return self._over(cells, lambda latent: latent)

    def _over(self, cells: AnnData, answer: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        """Return the answer to the latent means ``(b, n_latent)``, mean over the batches that new cells count as."""
        import torch

        with phase("tokenise"):
            counts = counts_by_name(cells, order=self.genes, model=self.name)
            if self.unread == "refuse":
                refuse_unread(counts.getnnz(axis=1), names=list(cells.obs_names))
        found = []
        with phase("forward"), torch.inference_mode():
            for start in range(0, counts.shape[0], self.batch_size):
                X = torch.from_numpy(counts[start : start + self.batch_size].toarray()).to(self.device)
                answers = [answer(self._latent(X, batch)) for batch in self._batches]
                found.append(torch.stack(answers).mean(dim=0).cpu().numpy())
        return np.concatenate(found)

    def _latent(self, X: Tensor, batch: int) -> Tensor:
        encoder, of_batch = self._module.z_encoder, X.new_full((len(X), 1), batch).long()
        made: Tensor = encoder.mean_encoder(encoder.encoder(X.log1p() if self._module.log_variational else X, of_batch))
        return made


class ScANVIReference(ScVIReference):
    """A pretrained scANVI, frozen; it names the types of cells too. Parameters of :class:`ScVIReference`."""

    name = "scanvi-reference"
    citation = "10.15252/msb.20209620"
    module = "SCANVI"

    def annotate(self, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the labels of the reference ``(C,)`` and the probability of each ``(n_cells, C)``; raises as embed.

        Where the encoder reads the batch, it is the mean of the probabilities over the batches that :meth:`embed` is
        the mean over.
        """
        return np.array(self._saved.labels, dtype=np.str_), self._over(cells, self._shares)

    def _shares(self, latent: Tensor) -> Tensor:
        from torch.nn.functional import softmax

        classifier = self._module.classifier
        said: Tensor = classifier(latent)
        return softmax(said, dim=-1) if classifier.logits else said


def _batches(saved: Saved, *, asked: str | None) -> list[int]:
    """Return the numbers of the batches that new cells count as."""
    if asked is not None and asked not in saved.batches:
        raise InvalidInputError(
            asked=f"new cells as of batch {asked!r} of the reference",
            found=f"the batches {checkpoint.few(saved.batches)}",
            remedy="name one of these, or leave it out for the mean over all of them",
        )
    if asked is not None:
        return [saved.batches.index(asked)]
    return list(range(len(saved.batches))) if saved.encodes_batch else [0]

"""scVI and scANVI: variational autoencoders of the counts, trained on the dataset itself."""

from __future__ import annotations

import io
import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import gene_positions, highly_variable
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.counts import csr_counts
from scfm_eval.timing import phase

_MINIBATCH = 128
_CELL_VISITS = 8_000_000
_LOGGERS = ("scvi", "lightning.pytorch", "lightning.fabric", "pytorch_lightning")


class _Autoencoder:
    """What scVI and scANVI share: the counts that they read and how a trained network embeds."""

    _unlabelled: str | None = None
    _model: Any

    def __init__(self, *, seed: int = 0, device: str = "cpu", max_epochs: int = 400) -> None:
        self._seed, self._device, self._max_epochs = seed, device, max_epochs

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the mean of the latent distribution, ``(n_cells, 10)``.

        A batch that was not fitted counts as the first fitted one: the encoder does not read the batch, so that no
        latent coordinate depends on the choice.
        """
        with phase("forward"), _quiet(), _reproducible(self._seed):
            return np.asarray(self._model.get_latent_representation(self._counts(cells)), dtype=np.float32)

    def _choose_genes(self, cells: AnnData) -> None:
        if cells.n_obs < 2:
            raise InvalidInputError(
                asked="scVI trained on the fitted cells",
                found=f"{cells.n_obs} cells",
                remedy="fit on at least two cells, one of which is held out",
            )
        self._genes = cells.var_names[highly_variable(cells)]

    def _train_scvi(self, cells: AnnData, *, labels: NDArray[np.str_] | None) -> Any:
        import scvi

        batch = cells.obs["batch"].astype(str) if "batch" in cells.obs else pd.Series("all", index=cells.obs_names)
        self._batches = sorted(set(batch))
        counts = self._counts(cells, labels=labels)
        scvi.model.SCVI.setup_anndata(counts, batch_key="batch", labels_key=None if labels is None else "label")
        model = scvi.model.SCVI(counts)
        model.train(
            max_epochs=min(self._max_epochs, max(1, round(_CELL_VISITS / counts.n_obs))),
            early_stopping=True,
            # 1 nat per cell is about 0.1 % of the bound; half the patience stopped one fit in three 5 % short of it
            early_stopping_min_delta=1.0,
            early_stopping_patience=6,
            check_val_every_n_epoch=5,
            **self._trainer(counts.n_obs),
        )
        return model

    def _counts(self, cells: AnnData, *, labels: NDArray[np.str_] | None = None) -> AnnData:
        X = csr_counts(cells)[:, gene_positions(cells, genes=self._genes)]
        named = cells.obs["batch"].astype(str) if "batch" in cells.obs else pd.Series("", index=cells.obs_names)
        known = named.where(named.isin(self._batches), self._batches[0])
        obs = pd.DataFrame({"batch": pd.Categorical(known, categories=self._batches)}, index=cells.obs_names)
        if self._unlabelled is not None:
            obs["label"] = self._unlabelled if labels is None else labels
        return AnnData(X, obs=obs, var=pd.DataFrame(index=self._genes))

    def _trainer(self, n_cells: int) -> dict[str, Any]:
        on_cpu = self._device == "cpu"
        _, _, index = self._device.partition(":")
        return {
            "accelerator": "cpu" if on_cpu else "gpu",
            "devices": [int(index)] if index else 1,
            "batch_size": _MINIBATCH,
            "enable_progress_bar": sys.stderr.isatty(),
            "logger": False,
            "datasplitter_kwargs": {"external_indexing": list(held_out(n_cells, seed=self._seed))},
        }


class SCVI(_Autoencoder):
    """scVI on the counts of 2,000 highly variable genes with the package's defaults: 10 latent dimensions, 1 layer.

    Training ends when the evidence lower bound of a tenth of the fitted cells, looked at every 5 epochs, has not
    improved by 1 nat per cell for 30 epochs.

    Parameters
    ----------
    seed
        Seed of weights, minibatches and held-out cells.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.
    max_epochs
        No more epochs than these, nor than scvi-tools would take for that many cells (400 up to 20,000 cells).
    """

    name = "scvi"
    role = "baseline"
    revision = version("scvi-tools")
    licence = "BSD-3-Clause"
    citation = "10.1038/s41592-018-0229-2"
    trained_here = True

    def fit(self, cells: AnnData) -> None:
        """Train on ``cells``; where ``obs["batch"]`` is there, the decoder is told the batch.

        Raises
        ------
        InvalidInputError
            There are fewer than two cells.
        """
        with phase("fit"), _quiet():
            self._choose_genes(cells)
            with _reproducible(self._seed):
                self._model = self._train_scvi(cells, labels=None)


class SCANVI(_Autoencoder):
    """scANVI: scVI as in :class:`SCVI`, then 20 epochs more in which the latent space also has to tell the labels.

    Parameters
    ----------
    seed
        Seed of weights, minibatches and held-out cells.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.
    max_epochs
        Limit on the epochs of scVI, and, where it is smaller than 20, on those of scANVI.
    """

    name = "scanvi"
    role = "baseline"
    revision = version("scvi-tools")
    licence = "BSD-3-Clause"
    citation = "10.15252/msb.20209620"
    trained_here = True
    in_default_run = False
    _unlabelled = "no label"

    def fit_with_labels(self, cells: AnnData, *, labels: NDArray[np.str_]) -> None:
        """Train on ``cells`` and their ``labels`` ``(n_cells,)``, both of the training fold only.

        Raises
        ------
        InvalidInputError
            There are fewer than two cells, or labels and cells differ in number.
        """
        import scvi

        if len(labels) != cells.n_obs:
            raise InvalidInputError(
                asked="scANVI trained on labelled cells",
                found=f"{len(labels)} labels for {cells.n_obs} cells",
                remedy="give one label per cell",
            )
        with phase("fit"), _quiet():
            self._choose_genes(cells)
            with _reproducible(self._seed):
                pretrained = self._train_scvi(cells, labels=labels)
                self._model = scvi.model.SCANVI.from_scvi_model(pretrained, unlabeled_category=self._unlabelled)
                self._model.train(max_epochs=min(20, self._max_epochs), **self._trainer(cells.n_obs))


def held_out(n_cells: int, *, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of the cells to train on and of those, about a tenth, that decide when to stop.

    No minibatch of 128 is left with a single cell, over which batch normalisation has no variance.
    """
    n_held = max(1, n_cells // 10)
    n_held += (n_cells - n_held) % _MINIBATCH == 1 and n_cells - n_held > 1
    order = np.random.default_rng(seed).permutation(n_cells)
    return order[n_held:], order[:n_held]


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    import torch
    from lightning.pytorch.utilities.seed import isolate_rng

    threads = torch.get_num_threads()
    # sums depend on the number of threads, and on a busy machine threads that wait for one another at every small
    # operation are many times slower than one; the choice of genes comes before, since numba sets the number anew
    torch.set_num_threads(1)
    try:
        with isolate_rng():
            torch.manual_seed(seed)
            # training draws from numpy's process-wide generator too
            np.random.seed(seed)  # noqa: NPY002
            yield
    except SystemExit as stopped:
        # Lightning turns an interrupt into an exit, which would look like a failure of scVI, and ignores further ones
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from stopped
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    # early stopping prints its reason; the progress bar goes to stderr
    import scvi  # noqa: F401  sets the level of its logger when it is first imported

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

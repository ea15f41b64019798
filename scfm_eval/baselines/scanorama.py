"""Scanorama: batches stitched together by mutual nearest neighbours."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import highly_variable, log_normalised
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.counts import csr_counts
from scfm_eval.timing import phase


def _installed() -> str:
    try:
        return version("scanorama")
    except PackageNotFoundError:
        return "not installed"


class Scanorama:
    """Scanorama on the log-normalised 2,000 highly variable genes, 100 dimensions.

    All cells of the call are integrated with one another: there is nothing fitted by which an unseen cell could be
    placed. Cells are put in the order of their names first, so that the order of the call does not matter.

    Parameters
    ----------
    seed
        Seed of the randomised decomposition.
    """

    name = "scanorama"
    role = "baseline"
    revision = _installed()
    licence = "MIT"
    citation = "10.1038/s41587-019-0113-3"
    needs = ("batch",)
    trained_here = True
    transductive = True
    exceptions: ClassVar[dict[str, str]] = {
        "a_cell_does_not_depend_on_its_neighbours": "Scanorama aligns all batches of a call to each other"
    }
    in_default_run = False

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return integrated coordinates, ``(n_cells, at most 100)``.

        Raises
        ------
        InvalidInputError
            Scanorama is not installed, or cells have no batch.
        """
        scanorama = _import()
        if "batch" not in cells.obs or cells.obs["batch"].isna().any():
            raise InvalidInputError(
                asked="Scanorama over batches", found="cells without a batch", remedy="name the dataset's batch key"
            )
        with phase("forward"):
            return self._integrate(scanorama, cells)

    def _integrate(self, scanorama: ModuleType, cells: AnnData) -> NDArray[np.float32]:
        cells = AnnData(X=csr_counts(cells), obs=cells.obs, var=cells.var)
        by_name = np.argsort(cells.obs_names.to_numpy(dtype=str), kind="stable")
        genes = highly_variable(cells)
        expression = log_normalised(cells.X[by_name])[:, genes]
        batch = cells.obs["batch"].astype(str).to_numpy()[by_name]
        rows = [np.flatnonzero(batch == name) for name in np.unique(batch)]
        with _global_random_state_kept(), redirect_stdout(io.StringIO()):
            parts, _ = scanorama.integrate(
                [expression[of_batch] for of_batch in rows],
                [cells.var_names[genes].to_numpy(dtype=str)] * len(rows),
                seed=self._seed,
                verbose=0,
            )
        embedding = np.empty((cells.n_obs, parts[0].shape[1]), dtype=np.float32)
        embedding[by_name[np.concatenate(rows)]] = np.concatenate(parts)
        return embedding


def _import() -> ModuleType:
    try:
        import scanorama
    except ImportError as error:
        raise InvalidInputError(
            asked="the baseline scanorama", found=str(error), remedy="pip install scfm-eval[scanorama]"
        ) from error
    return scanorama  # type: ignore[no-any-return]


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    # scanorama seeds the process-wide generators
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)

"""Harmony: principal components moved, cluster by cluster, until batches mix."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.expression import PrincipalComponents, gene_positions, highly_variable, log_normalised
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.counts import csr_counts
from scfm_eval.timing import phase

_ALPHA = 0.2
_SIGMA = 0.1
_ROUNDS = 10


@dataclass(frozen=True)
class BatchCorrection:
    """A fitted mixture of experts: what every batch is shifted by in every soft cluster.

    Parameters
    ----------
    centroids
        Unit-length cluster centroids, ``(n_clusters, d)``.
    shifts
        Ridge coefficients, ``(n_clusters, n_batches, d)``.
    """

    centroids: NDArray[np.float64]
    shifts: NDArray[np.float64]

    def apply(self, points: NDArray[np.float64], *, batch: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return corrected coordinates of cells that were not fitted.

        Clusters are assigned to the corrected coordinates, so assignment and correction alternate as in the fit.

        Parameters
        ----------
        points
            Principal components, ``(n_cells, d)``.
        batch
            Position of each cell's batch in ``shifts``; -1, a batch that was not fitted, is left as it is.

        Returns
        -------
        Coordinates, ``(n_cells, d)``.

        References
        ----------
        doi:10.1038/s41467-021-25957-x
        """
        corrected = points.copy()
        for code in range(self.shifts.shape[1]):
            of_batch = batch == code
            moved = points[of_batch]
            for _ in range(_ROUNDS):
                moved = points[of_batch] - self.memberships(moved) @ self.shifts[:, code]
            corrected[of_batch] = moved
        return corrected

    def memberships(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share that each cluster has in each cell by cosine distance, ``(n_cells, n_clusters)``."""
        from scipy.special import softmax

        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        unit = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)
        return np.asarray(softmax(2 * (unit @ self.centroids.T) / _SIGMA, axis=1))


def ridge_shifts(
    points: NDArray[np.float64], *, memberships: NDArray[np.float64], batch: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the batch coefficients of a ridge regression of the cells' coordinates in each cluster.

    The penalty of a batch is 0.2 times the number of its cells that a cluster would hold if batches were evenly
    spread (harmonypy's estimate); the intercept, what a cluster's cells have in common, has none and is left out.

    Parameters
    ----------
    points
        Principal components before correction, ``(n_cells, d)``.
    memberships
        Soft clusters, ``(n_cells, n_clusters)``.
    batch
        Batch of each cell as a number from 0 on, ``(n_cells,)``.

    Returns
    -------
    Coefficients, ``(n_clusters, n_batches, d)``.

    References
    ----------
    doi:10.1038/s41592-019-0619-0
    """
    one_hot = np.eye(batch.max() + 1)[batch]
    design = np.column_stack([np.ones(len(points)), one_hot])
    frequency = one_hot.mean(axis=0)

    def of_cluster(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        weighted = (design * weights[:, None]).T
        penalty = np.r_[0.0, _ALPHA * weights.sum() * frequency]
        # a batch that a cluster does not hold, or an empty cluster, makes the system singular
        return np.asarray(np.linalg.lstsq(weighted @ design + np.diag(penalty), weighted @ points, rcond=None)[0][1:])

    return np.stack([of_cluster(column) for column in memberships.T])


class Harmony:
    """Harmony on the 50 principal components of 2,000 highly variable genes.

    Fitted cells keep the coordinates that harmonypy gave them; cells that were not fitted are placed by the fitted
    mixture of experts, as Symphony does it. A batch that was not fitted is not corrected.

    Parameters
    ----------
    seed
        Seed of the clustering and of the components' solver.
    """

    name = "harmony"
    role = "baseline"
    revision = version("harmonypy")
    licence = "GPL-3.0-or-later"
    citation = "10.1038/s41592-019-0619-0"
    needs = ("batch",)
    trained_here = True

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._components = PrincipalComponents(seed=seed)

    def fit(self, cells: AnnData) -> None:
        """Choose genes, components, clusters and corrections on ``cells``.

        Raises
        ------
        InvalidInputError
            ``obs`` has no ``"batch"``, or a cell has none.
        """
        if "batch" not in cells.obs or cells.obs["batch"].isna().any():
            raise InvalidInputError(
                asked="Harmony over batches", found="cells without a batch", remedy="name the dataset's batch key"
            )
        with phase("fit"):
            self._genes = cells.var_names[highly_variable(cells)]
            self._components.fit(log_normalised(csr_counts(cells))[:, gene_positions(cells, genes=self._genes)])
            codes, self._batches = pd.factorize(cells.obs["batch"].astype(str), sort=True)
            self._integrate(self._points(cells), batch=codes, ids=cells.obs_names)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return corrected coordinates, ``(n_cells, at most 50)``; fitted cells are known by their names."""
        with phase("forward"):
            return self._place(cells)

    def _points(self, cells: AnnData) -> NDArray[np.float64]:
        expression = log_normalised(csr_counts(cells))[:, gene_positions(cells, genes=self._genes)]
        return self._components.transform(expression).astype(np.float64)

    def _integrate(self, points: NDArray[np.float64], *, batch: NDArray[np.intp], ids: pd.Index) -> None:
        from harmonypy import run_harmony

        found = run_harmony(
            points,
            pd.DataFrame({"batch": batch}),
            ["batch"],
            sigma=_SIGMA,
            alpha=_ALPHA,
            nclust=max(1, min(round(len(points) / 30), 100)),
            verbose=False,
            random_state=self._seed,
        )
        self._ids, self._fitted = ids, np.asarray(found.Z_corr, dtype=np.float32)
        lengths = np.linalg.norm(found.Y, axis=0)
        self.correction = BatchCorrection(
            centroids=found.Y.T / np.where(lengths > 0, lengths, 1.0)[:, None],
            shifts=ridge_shifts(points, memberships=np.asarray(found.R), batch=batch),
        )

    def _place(self, cells: AnnData) -> NDArray[np.float32]:
        positions = self._ids.get_indexer(cells.obs_names)
        unseen = np.flatnonzero(positions < 0)
        placed = self._fitted[positions]
        if unseen.size:
            new = cells[unseen]
            batch = self._batches.get_indexer(new.obs["batch"].astype(str))
            placed[unseen] = self.correction.apply(self._points(new), batch=batch)
        return np.asarray(placed, dtype=np.float32)

"""Native reconstruction: a model's own expression head on every layer, against the mean of the cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.fits import Fit, Rows, unseen
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.reconstruction import cell_mae, cell_means, cell_mse, cell_pearson, cell_r2
from scfm_eval.models.protocols import Reconstruction
from scfm_eval.results import ScoreRecord, measure


@dataclass(frozen=True, eq=False)
class Native:
    """What the head gives for the cells that a layer is chosen on, and for those that it is scored on.

    Parameters
    ----------
    validation, test
        Cells of either part, numbered from 0.
    """

    validation: Reconstruction
    test: Reconstruction

    @classmethod
    def of(cls, made: Reconstruction, *, test: NDArray[np.bool_]) -> Native:
        """Divide a reconstruction whose cells are for ``test`` ``(n_cells,)`` or else for validation."""
        (validation, chosen_by), (tested, scored) = _of_cells(made, ~test), _of_cells(made, test)
        unseen(Rows(scored, scored, fits=(Fit("the choice of the layer of the expression head", chosen_by),)))
        return cls(validation, tested)

    @property
    def best(self) -> int:
        """The layer of the least squared error on validation cells."""
        given = self.validation
        return int(np.argmin([cell_mse(given.target, layer, cell=given.cell) for layer in given.layers]))

    @property
    def cell_mean(self) -> NDArray[np.float64]:
        """The mean target of its cell, for each value of the test cells."""
        return cell_means(self.test.target, cell=self.test.cell)[self.test.cell]


_SCORES: Mapping[str, tuple[Metric[Any], Callable[[Native], NDArray[Any]]]] = {
    "native_mse": (cell_mse, lambda given: given.test.layers[given.best]),
    "native_mae": (cell_mae, lambda given: given.test.layers[given.best]),
    "native_r2": (cell_r2, lambda given: given.test.layers[given.best]),
    "native_pearson": (cell_pearson, lambda given: given.test.layers[given.best]),
    "native_last_layer_mse": (cell_mse, lambda given: given.test.layers[-1]),
    "native_last_layer_pearson": (cell_pearson, lambda given: given.test.layers[-1]),
    "native_mean_mse": (cell_mse, lambda given: given.cell_mean),
    "native_mean_mae": (cell_mae, lambda given: given.cell_mean),
}


def native_scores(runs: Sequence[Native], *, weights: NDArray[Any]) -> dict[str, ScoreRecord]:
    """Score the layer that is best on validation cells, the last layer, and the mean of the cell.

    Parameters
    ----------
    runs
        One per seed; none where the model has no head.
    weights
        Bootstrap weights of the test cells ``(n_resamples, n_test)``.
    """

    def scored(metric: Metric[Any], predicted: Callable[[Native], NDArray[Any]]) -> ScoreRecord:
        def statistics() -> list[Statistic]:
            if not runs:
                raise InapplicableMetricError("the model has no expression head: no method reconstruct_layers")
            return [metric.statistic(run.test.target, predicted(run), cell=run.test.cell) for run in runs]

        return measure(metric, statistics, weights=weights)

    return {name: scored(metric, predicted) for name, (metric, predicted) in _SCORES.items()}


def native_table(run: Native) -> list[dict[str, float | None]]:
    """Return errors and correlation of each layer on the test cells; ``None`` for a correlation without a value."""
    return [_row(run.test, layer) for layer in run.test.layers]


def _row(given: Reconstruction, layer: NDArray[np.float32]) -> dict[str, float | None]:
    errors = cell_means((given.target.astype(np.float64) - layer) ** 2, cell=given.cell)
    try:
        pearson = cell_pearson(given.target, layer, cell=given.cell)
    except UndefinedMetricError:
        pearson = None
    return {
        "native_mse": float(errors.mean()),
        "native_mse_sd": float(errors.std()),
        "native_mae": cell_mae(given.target, layer, cell=given.cell),
        "native_pearson": pearson,
    }


def _of_cells(made: Reconstruction, chosen: NDArray[np.bool_]) -> tuple[Reconstruction, NDArray[np.int64]]:
    """Return the values of some cells, which get new numbers, and which cells these values are of."""
    kept = chosen[made.cell]
    number, cells = np.cumsum(chosen) - 1, made.cell[kept]
    return Reconstruction(made.target[kept], number[cells], made.layers[:, kept]), np.unique(cells)

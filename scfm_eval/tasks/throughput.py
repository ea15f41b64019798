"""Throughput: how many cells a second, relative to what the machine can do, and how cost grows with cells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.metrics.metric import Statistic, metric
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.models.protocols import Embedder, learns_here
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.task import N_RESAMPLES, lacks

_SIDE = 1024
_HOW = {"unit of resampling": "round", "calibration": f"float32 matrix product of side {_SIDE} on the host, same round"}


@dataclass(frozen=True)
class Rounds:
    """Seconds by round ``(n_rounds,)``: for some cells, for twice as many, and for one matrix product."""

    once: NDArray[np.float64]
    twice: NDArray[np.float64]
    product: NDArray[np.float64]
    n_cells: int


@dataclass(frozen=True)
class Throughput:
    """Timing of the forward path on a few cells, everything side by side in each round.

    Parameters
    ----------
    n_cells
        Cells of the smaller call.
    n_rounds
        Rounds; intervals are over rounds.
    """

    n_cells: int = 32
    n_rounds: int = 5

    name: ClassVar[str] = "throughput"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[tuple[str, ...]] = ("cells_per_second", "log2_speed", "growth")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one whose cost is its training."""
        if learns_here(model):
            return "it learns from the dataset, so its cost is its training: see the seconds of its other results"
        return lacks(model, Embedder)


def timed(embed: Callable[[AnnData], Any], cells: AnnData, *, task: Throughput) -> Rounds:
    """Time ``embed`` on the first cells, on twice as many, and a matrix product, one after the other in each round."""
    few, many = cells[: task.n_cells].copy(), cells[: 2 * task.n_cells].copy()
    square = np.ones((_SIDE, _SIDE), dtype=np.float32)
    embed(few)
    seconds = [
        (_seconds(embed, few), _seconds(embed, many), _seconds(square.__matmul__, square)) for _ in range(task.n_rounds)
    ]
    once, twice, product = np.array(seconds).T
    return Rounds(once, twice, product, n_cells=few.n_obs)


def scored(rounds: Rounds) -> dict[str, ScoreRecord]:
    """Turn rounds into scores with intervals over rounds."""
    n_rounds = len(rounds.once)
    weights = bootstrap_weights(
        units=np.arange(n_rounds), strata=np.zeros(n_rounds, dtype=int), n_resamples=N_RESAMPLES, seed=0
    )
    scores = {}
    for timing in (cells_per_second, log2_speed, growth):
        made = timing.statistic(rounds)
        scores[timing.name] = measure(timing, partial(list, [made]), weights=weights)
    return scores


@metric(best=np.inf, worst=0.0, source="scfm_eval")
def cells_per_second(rounds: Rounds) -> Statistic:
    """Cells embedded in a second, mean over rounds; from counts to embedding."""
    return _mean(rounds.n_cells / rounds.once)


@metric(best=np.inf, worst=-np.inf, source="scfm_eval")
def log2_speed(rounds: Rounds) -> Statistic:
    """Log2 of the cells embedded in the time of one matrix product on the same machine in the same round."""
    return _mean(np.log2(rounds.n_cells / rounds.once * rounds.product))


@metric(best=0.0, worst=np.inf, source="scfm_eval")
def growth(rounds: Rounds) -> Statistic:
    """Time for twice the cells over time for the cells; 2 is linear."""
    return _mean(rounds.twice / rounds.once)


def _mean(values: NDArray[np.float64]) -> Statistic:
    return Statistic(lambda weights: weights @ values / weights.sum(axis=1), n_cells=len(values), how=_HOW)


def _seconds(call: Callable[[Any], Any], argument: Any) -> float:
    start = time.perf_counter()
    call(argument)
    return time.perf_counter() - start

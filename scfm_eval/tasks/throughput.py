"""Throughput: how many cells a second, relative to what the machine can do, and how cost grows with cells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval import timing
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic, metric
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.models.protocols import Embedder, learns_here
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.task import N_RESAMPLES, lacks

_SIDE = 1024
_TICK = 1e-9
_HOW = {"unit of resampling": "round", "calibration": f"float32 matrix product of side {_SIDE} on one core, same round"}


@dataclass(frozen=True)
class Rounds:
    """Seconds by round, ``(n_rounds,)`` each.

    Parameters
    ----------
    once, twice
        For some cells, and for twice as many.
    product
        For one matrix product in the same round.
    n_cells
        How many "some" are.
    loads
        For loading the model, and for one matrix product right after.
    phases
        What of ``once`` went into each phase that the model states.
    """

    once: NDArray[np.float64]
    twice: NDArray[np.float64]
    product: NDArray[np.float64]
    n_cells: int
    loads: tuple[NDArray[np.float64], NDArray[np.float64]]
    phases: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def seconds(self) -> dict[str, float]:
        """Return the mean over rounds of loading, and of each phase of ``once``."""
        return {name: float(values.mean()) for name, values in {"load": self.loads[0], **self.phases}.items()}


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
        """Return why ``model`` cannot take part: no embedding, or a cost that is not that of the forward path."""
        if learns_here(model):
            return "it learns from the dataset, so its cost is its training: see the seconds of its other results"
        if getattr(model, "loads_at_each_call", False):
            return "each call starts another Python and loads anew: see the seconds of its other results"
        return lacks(model, Embedder)


def timed(load: Callable[[bool], Any], cells: AnnData, *, task: Throughput) -> Rounds:
    """Time loading, and embedding the first cells and twice as many, each beside a matrix product in every round.

    Parameters
    ----------
    load
        Returns the loaded model; with true it is loaded anew.
    cells
        At least ``2 * task.n_cells``.
    task
        How many cells and rounds.
    """
    few, many = cells[: task.n_cells].copy(), cells[: 2 * task.n_cells].copy()
    square = np.ones((_SIDE, _SIDE), dtype=np.float32)

    def product() -> None:
        # one thread: how many the process may use is no property of the machine
        with threadpool_limits(1):
            square @ square

    # what is imported, read from disk or compiled once is no part of any round
    load(False).embed(few)
    product()
    loads = [(_seconds(partial(load, True)), _seconds(product)) for _ in range(task.n_rounds)]
    embed = load(False).embed
    embed(few)
    seconds, phases = [], []
    for _ in range(task.n_rounds):
        with timing.recording() as spent:
            small = _seconds(partial(embed, few))
        seconds.append((small, _seconds(partial(embed, many)), _seconds(product)))
        phases.append(spent)
    by_phase = {name: np.array([spent[name] for spent in phases]) for name in phases[0]}
    (once, twice, beside), (loading, after) = np.array(seconds).T, np.array(loads).T
    return Rounds(once, twice, beside, few.n_obs, loads=(loading, after), phases=by_phase)


def scored(rounds: Rounds) -> dict[str, ScoreRecord]:
    """Turn rounds into scores with intervals over rounds."""
    n_rounds = len(rounds.once)
    weights = bootstrap_weights(
        units=np.arange(n_rounds), strata=np.zeros(n_rounds, dtype=int), n_resamples=N_RESAMPLES, seed=0
    )
    scores = {}
    for rate in (cells_per_second, log2_speed, growth, log2_load, log2_tokenise, log2_forward):
        scores[rate.name] = measure(rate, partial(_alone, rate, rounds), weights=weights)
    return scores


def _alone(rate: Metric[[Rounds]], rounds: Rounds) -> list[Statistic]:
    return [rate.statistic(rounds)]


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


@metric(best=-np.inf, worst=np.inf, source="scfm_eval")
def log2_load(rounds: Rounds) -> Statistic:
    """Log2 of the matrix products that the machine makes while the model is loaded; one more is twice the time."""
    return _log2(*rounds.loads)


@metric(best=-np.inf, worst=np.inf, source="scfm_eval")
def log2_tokenise(rounds: Rounds) -> Statistic:
    """Log2 of the matrix products that the machine makes while the cells are tokenised."""
    return _of_phase(rounds, "tokenise")


@metric(best=-np.inf, worst=np.inf, source="scfm_eval")
def log2_forward(rounds: Rounds) -> Statistic:
    """Log2 of the matrix products that the machine makes in the forward pass over the cells."""
    return _of_phase(rounds, "forward")


def _of_phase(rounds: Rounds, name: str) -> Statistic:
    if name not in rounds.phases:
        raise InapplicableMetricError(f"the model states no phase {name!r}")
    return _log2(rounds.phases[name], rounds.product)


def _log2(seconds: NDArray[np.float64], product: NDArray[np.float64]) -> Statistic:
    return _mean(np.log2(np.maximum(seconds, _TICK) / product))


def _mean(values: NDArray[np.float64]) -> Statistic:
    return Statistic(lambda weights: weights @ values / weights.sum(axis=1), n_cells=len(values), how=_HOW)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

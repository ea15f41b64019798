"""What a metric is: a pure function on arrays whose value is known for every resampling of its cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec

import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")


class UndefinedMetricError(ValueError):
    """The metric has no value on this input; the message is the reason that the report states."""


class InapplicableMetricError(UndefinedMetricError):
    """Whatever the model answers there is no value: it, or the dataset, lacks what the metric needs."""


AMONG_CELLS = 2.0
"""Spread of a mean of what pairs of cells have: each cell counts once as itself, and once for the others."""


@dataclass(frozen=True)
class Statistic:
    """A value as a function of how often each cell counts.

    Neighbours, silhouettes or predictions are computed once; a bootstrap only changes the weights.

    Parameters
    ----------
    of_weights
        Maps weights ``(n_resamples, n_cells)`` to values ``(n_resamples,)``. Pure.
    n_cells
        Number of cells that the weights refer to.
    how
        How the value was obtained: package versions and parameters.
    spread
        How many times wider the value varies between samples of cells than ``of_weights`` does between weights, at
        least 1: :data:`AMONG_CELLS` where the value of a cell depends on which other cells there are, since weights
        only say how often the cell itself counts.
    """

    of_weights: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    n_cells: int
    how: dict[str, Any] = field(default_factory=dict)
    spread: float = 1.0

    def value(self) -> float:
        """Return the value on the cells as they are, each counted once."""
        return float(self.of_weights(np.ones((1, self.n_cells)))[0])


@dataclass(frozen=True)
class Metric(Generic[P]):
    """A function that builds a :class:`Statistic`, with what is known about its values.

    Calling it returns the plain number; :meth:`statistic` also lets the value be resampled.

    Parameters
    ----------
    build
        The metric's own function.
    best, worst
        The two ends of its range; ``best < worst`` means lower is better. Infinite where unbounded.
    chance
        The value that knows nothing, where it is a constant; ``None`` means estimated by permuting the labels.
    source
        DOI or package of the definition.
    """

    build: Callable[P, Statistic]
    best: float
    worst: float
    chance: float | None
    source: str

    @property
    def name(self) -> str:
        """Name under which reports carry the metric."""
        return self.build.__name__

    @property
    def higher_is_better(self) -> bool:
        """Direction of the metric."""
        return self.best > self.worst

    def statistic(self, *args: P.args, **kwargs: P.kwargs) -> Statistic:
        """Return the metric on this input as a :class:`Statistic`; raises :class:`UndefinedMetricError`."""
        return self.build(*args, **kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> float:
        """Return the value on this input; raises :class:`UndefinedMetricError`."""
        return self.build(*args, **kwargs).value()


def metric(
    *, best: float, worst: float, chance: float | None = None, source: str
) -> Callable[[Callable[P, Statistic]], Metric[P]]:
    """Declare a function that returns a :class:`Statistic` as a metric; see :class:`Metric` for the parameters."""

    def declare(build: Callable[P, Statistic]) -> Metric[P]:
        return Metric(build=build, best=best, worst=worst, chance=chance, source=source)

    return declare

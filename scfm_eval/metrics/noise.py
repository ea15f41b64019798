"""How much a score may differ between two runs of an unchanged model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_ENOUGH = 2


@dataclass(frozen=True)
class Noise:
    """Spread of the difference of two runs that do not differ in what they can do.

    Parameters
    ----------
    sd
        Standard deviation of the difference, in units of the score, at least 0.
    freedom
        Degrees of freedom behind ``sd``; infinite where it is as good as known.
    """

    sd: float
    freedom: float

    def limit(self, *, level: float) -> float:
        """Return the number of standard deviations that chance exceeds with probability ``level``, one-sided.

        Percentiles of a few hundred resamples say nothing about levels like 0.001: Student's t does, and is the
        normal distribution where there are many units.
        """
        return float(stats.t.isf(level, df=self.freedom))


def rerun_noise(paired: NDArray[np.float64], *, by_seed: NDArray[np.float64], n_units: int | None) -> Noise:
    """Return the noise of a difference between two runs on the same cells, folds and seeds.

    Two parts are added. That of the units (cells, donors or rounds): the spread of the paired resamples, which is what
    answers that differ unit by unit and at random come to; it is nothing where every answer is the same. And, with two
    seeds or more, that of training: the spread of the difference between seeds. With one seed nothing is known of it;
    with two to four so little that real losses pass.

    Parameters
    ----------
    paired
        Differences under the same resamples, ``(n_resamples,)``; nan where one has no value.
    by_seed
        Differences by seed, ``(n_seeds,)``; empty where they are not known.
    n_units
        Units that the resamples draw; ``None`` means many.

    Returns
    -------
    The standard deviation, with degrees of freedom after Welch and Satterthwaite.
    """
    units = float(np.nanvar(paired))
    free = math.inf
    if n_units is not None and n_units >= _ENOUGH:
        # a resample of n units varies by (n - 1) / n of what n new units would
        units *= n_units / (n_units - 1)
        free = float(n_units - 1)
    if len(by_seed) < _ENOUGH:
        return Noise(math.sqrt(units), free)
    training = float(np.var(by_seed, ddof=1)) / len(by_seed)
    spread = units**2 / free + training**2 / (len(by_seed) - 1)
    return Noise(math.sqrt(units + training), (units + training) ** 2 / spread if spread > 0 else free)

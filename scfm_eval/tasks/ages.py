"""Ages of donors as they are written in datasets, and groups of them that clusters can be compared with."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from scfm_eval.datasets.counts import some
from scfm_eval.metrics.metric import UndefinedMetricError

_AGE = re.compile(
    r"\s*(?P<number>\d+(\.\d+)?)"
    r"([\s-]*(y|yrs?|years?|(?P<months>mo|months?)|(?P<weeks>weeks?)|(?P<days>days?))([\s-]*old)?(\s+human)?(\s+stage)?)?\s*",
    re.I,
)
_IN_A_YEAR = {"months": 12, "weeks": 365.25 / 7, "days": 365.25}


def years(ages: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return ages in years ``(n_cells,)`` of texts such as "34", "34 years", "34-year-old stage" or "6 months".

    Raises
    ------
    UndefinedMetricError
        Some are written in another way, as "adult stage" is; they are named.
    """
    written, position = np.unique(ages, return_inverse=True)
    found = [_AGE.fullmatch(text) for text in written]
    strange = [str(text) for text, match in zip(written, found, strict=True) if match is None]
    if strange:
        raise UndefinedMetricError(f"some ages are no number of years, months, weeks or days: {some(strange)}")
    return np.array([_in_years(match) for match in found if match])[position]


def quartiles(ages: NDArray[np.float64]) -> tuple[NDArray[np.str_], list[float]]:
    """Return which quarter of the cells each age lies in, and the edges between the quarters.

    Parameters
    ----------
    ages
        Age of each cell ``(n_cells,)``.

    Returns
    -------
    Names of the groups ``(n_cells,)``, each up to and with its upper edge, and the ascending edges: at most three, as
    equal ones count once.
    """
    edges = np.unique(np.quantile(ages, [0.25, 0.5, 0.75], method="inverted_cdf"))
    edges = edges[edges < ages.max()]
    names = np.array([*(f"up to {edge:g}" for edge in edges), f"above {edges[-1]:g}" if len(edges) else "one age"])
    return names[np.searchsorted(edges, ages, side="left")], edges.tolist()


def _in_years(age: re.Match[str]) -> float:
    return float(age["number"]) / next((n for unit, n in _IN_A_YEAR.items() if age[unit]), 1)

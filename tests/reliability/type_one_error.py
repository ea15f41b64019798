"""How often ``a > b`` or ``b > a`` holds of two models of equal quality: 5 % is what the intervals promise.

``python -m tests.reliability.type_one_error --runs 4000 --seed 0`` prints a table over all settings of ``nulls.py``:
the rate with its 95 % interval (Wilson), and how often a model that is better by a stated gap is found to be better.
``--only donors`` takes the settings whose name holds the word.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from scfm_eval.score import UndecidedError
from tests.reliability.nulls import NULLS, Null

GAPS = (0.02, 0.05)
HEADER = (
    "| setting | units | neither surely better although alike: wrong in | 95 % | better by 0.02: found | by 0.05 |\n"
    "|---|---:|---:|---|---:|---:|"
)


class Counts(NamedTuple):
    """In how many of ``n`` runs the first, the second or no model was surely better, or nothing could be decided."""

    n: int
    first: int
    second: int
    undecided: int

    @property
    def rate(self) -> float:
        """Share of the runs that could be decided in which one of the two was surely better."""
        return (self.first + self.second) / max(self.n - self.undecided, 1)

    @property
    def bounds(self) -> tuple[float, float]:
        """95 % interval of the rate."""
        found = stats.binomtest(self.first + self.second, max(self.n - self.undecided, 1)).proportion_ci(
            method="wilson"
        )
        return float(found.low), float(found.high)


def counted(null: Null, *, runs: int, seed: int, gap: float = 0.0) -> Counts:
    """Compare pairs of models by ``>``, both ways, as claims do."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{null.name} {null.n_units} {gap}".encode())])
    found = {1: 0, 0: 0, -1: 0, None: 0}
    for _ in range(runs):
        found[_better(*null.draw(rng, gap))] += 1
    return Counts(runs, found[1], found[-1], found[None])


def _better(a, b):
    try:
        up, down = bool(a > b), bool(a < b)
    except UndecidedError:
        return None
    surely = up - down
    return surely if a.higher_is_better else -surely


def row(null: Null, *, runs: int, seed: int, powered: int) -> str:
    """Return one line of the table."""
    found = counted(null, runs=runs, seed=seed)
    low, high = found.bounds
    power = [counted(null, runs=powered, seed=seed, gap=gap).first / powered if powered else np.nan for gap in GAPS]
    said = f"{100 * found.rate:.1f} %" + (f" ({found.undecided} undecided)" if found.undecided else "")
    shares = " | ".join("–" if np.isnan(share) else f"{100 * share:.0f} %" for share in power)
    return f"| {null.name} | {null.n_units} | {said} | {100 * low:.1f} to {100 * high:.1f} | {shares} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--powered", type=int, default=200, help="runs for each gap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the name of a setting")
    parser.add_argument("--units", type=int, nargs="*", help="numbers of units")
    given = parser.parse_args(arguments)
    print(HEADER)
    for null in NULLS:
        if given.only in null.name and (not given.units or null.n_units in given.units):
            print(row(null, runs=given.runs, seed=given.seed, powered=given.powered), flush=True)


if __name__ == "__main__":
    main()

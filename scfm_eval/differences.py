"""What changed between two results of one task and model: scores with paired intervals, and seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scfm_eval.metrics.noise import rerun_noise
from scfm_eval.metrics.significance import benjamini_hochberg
from scfm_eval.ranking import COSTS, LEVEL
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.score import Score

PLACE = ("task", "dataset", "model")
"""What a result is of."""
SIDES = ("before", "after")
"""The two that are compared."""

_ROUNDING, _STORED = 1e-9, 1e-6
"""What values, and resamples stored in float32, differ by when only the order of sums changed."""
_SETTLED = ("identical", "undefined")
_STANDING = {1: "better", 0: "noise", -1: "worse"}
Row = dict[str, Any]


def unpaired(before: Result, after: Result) -> str:
    """Return in words why two results of one task cannot be subtracted; empty where they can."""
    if before.pairing == after.pairing:
        return ""
    cells = [f"{result.dataset.n_cells} cells of {result.dataset.name}" for result in (before, after)]
    sha = [result.dataset.sha256 for result in (before, after)]
    names = sorted({*before.parameters, *after.parameters})
    parameters = [
        f"{name} {before.parameters.get(name)} against {after.parameters.get(name)}"
        for name in names
        if before.parameters.get(name) != after.parameters.get(name)
    ]
    seeds = [f"{len(result.seeds)} ({', '.join(map(str, result.seeds))})" for result in (before, after)]
    reasons = [
        f"other cells: {cells[0]} ({sha[0][:8]}) against {cells[1]} ({sha[1][:8]})" if sha[0] != sha[1] else "",
        f"other seeds: {seeds[0]} against {seeds[1]}" if seeds[0] != seeds[1] else "",
        f"other parameters of the task: {', '.join(parameters)}" if parameters else "",
    ]
    unstated = "other conditions that the report does not state, such as the version of the suite, device or precision"
    return "; ".join(filter(None, reasons)) or unstated


def place(result: Result) -> tuple[str, str, str]:
    """Return the task, dataset and model of a result, by name."""
    return result.task, result.dataset.name, result.model.name


def score_rows(before: Result, after: Result, *, clock: str) -> Iterator[Row]:
    """Give one row for each score of either result; ``q``, and noise among many, are for :func:`judged` to say.

    Parameters
    ----------
    before, after
        Results of one task and model.
    clock
        Why times of the two runs cannot be compared; empty where they can.
    """
    apart, timed = unpaired(before, after), clock if after.task in COSTS else ""
    for name in dict.fromkeys([*before.scores, *after.scores]):
        values = [side.scores[name].value if name in side.scores else None for side in (before, after)]
        row = _at(after) | {"score": name, "headline": name in {*before.headline, *after.headline}}
        row |= dict(zip(SIDES, values, strict=True))
        if name not in before.scores or name not in after.scores:
            yield row | {"finding": "only before" if name in before.scores else "only after", "reason": ""}
        elif apart:
            yield row | {"finding": "not comparable", "reason": apart}
        else:
            moved = _moved(before[name], after[name])
            apart_in_time = timed and moved["finding"] not in _SETTLED
            yield row | ({"finding": "not comparable", "reason": timed} if apart_in_time else moved)


def _moved(before: Score, after: Score) -> Row:
    """Return the paired difference, or why there is none; whether one of many is noise shows beside all others."""
    lacking = [score for score in (before, after) if not (math.isfinite(score) and score.applies)]
    if lacking:
        now = "now undefined" if lacking[0] is after else "now defined"
        return {"finding": "undefined" if len(lacking) == 2 else now, "reason": lacking[-1].reason}
    difference = float(after) - float(before)
    moved = {"difference": difference, "reason": ""}
    level = abs(difference) <= _ROUNDING
    if before.replicates.shape != after.replicates.shape or not after.replicates.size:
        why = "one of the two has no resamples, or another number of them" if not level else ""
        return moved | {"finding": "identical" if level else "no interval", "reason": why}
    if level and np.allclose(before.replicates, after.replicates, rtol=0, atol=_STORED, equal_nan=True):
        return moved | {"finding": "identical"}
    found, standing = after.compare(before, ">"), after.standing(before)
    if standing is None:
        return moved | {"finding": "no interval", "reason": found.reason}
    noise = rerun_noise(after.replicates - before.replicates, by_seed=np.empty(0), n_units=after.n_units)
    p = float(2 * stats.t.sf(abs(difference) / noise.sd, df=noise.freedom)) if noise.sd > 0 else math.nan
    return moved | {"low": found.low, "high": found.high, "p": p, "finding": _STANDING[standing]}


def judged(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with ``q``, corrected over all scores that differ; what is noise among so many is named so."""
    numbers = [*SIDES, "difference", "low", "high", "p", "q"]
    scores = scores.astype(dict.fromkeys(numbers, float) | {"headline": bool})
    scores["q"] = benjamini_hochberg(scores["p"])
    by_many = scores["finding"].isin(["better", "worse"]) & (scores["q"] > LEVEL)
    scores.loc[by_many, "finding"] = "noise"
    scores.loc[by_many, "reason"] = "the interval excludes zero, but one of so many does so by chance"
    return scores


def cost_rows(before: Result, after: Result, *, clock: str) -> Iterator[Row]:
    """Give one row for each phase: seconds before and after, and their ratio, or why it means nothing.

    Parameters
    ----------
    before, after
        Results of one task and model.
    clock
        Why times of the two runs cannot be compared; empty where they can.
    """
    reason = clock or unpaired(before, after)
    for phase in dict.fromkeys([*before.seconds, *after.seconds]):
        sides = [side.seconds.get(phase, math.nan) for side in (before, after)]
        stored = phase != "score" and (before.from_store or after.from_store)
        why = "the same measurement" if sides[0] == sides[1] else reason
        why = why or ("from the store: the time of its making" if stored else "")
        why = why or ("" if all(side > 0 for side in sides) else "not measured in both")
        ratio = math.nan if why else sides[1] / sides[0]
        yield _at(after) | {"phase": phase, "before": sides[0], "after": sides[1], "ratio": ratio, "reason": why}


def other_clock(before: Report, after: Report) -> str:
    """Return why times of the two runs cannot be compared; empty where they can."""
    old, new = flat(before.environment), flat(after.environment)
    for what, name in (("machine.kind", "kind of machine"), ("workers", "number of workers")):
        if old.get(what) is None or new.get(what) is None:
            return f"{name} not stated"
        if old[what] != new[what]:
            return f"other {name}: {old[what]} against {new[what]}"
    return ""


def flat(facts: Mapping[str, Any], *, joint: str = ".", prefix: str = "") -> Row:
    """Return nested facts as one level, with names joined."""
    found: Row = {}
    for name, value in facts.items():
        path = f"{prefix}{name}"
        found |= flat(value, joint=joint, prefix=path + joint) if isinstance(value, Mapping) else {path: value}
    return found


def _at(result: Result) -> Row:
    return dict(zip(PLACE, place(result), strict=True))

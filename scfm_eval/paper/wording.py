"""Numbers and intervals as they are set in a document, with a minus that is no hyphen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from scfm_eval import wording
from scfm_eval.results import ScoreRecord

NOTHING = "–"
"""Stands where there is nothing to say, as against ``undefined``."""


def number(value: Any) -> str:
    """Return a number with three digits after the point, as everywhere else."""
    return _minus(wording.number(value))


def signed(value: Any) -> str:
    """Return a number with its sign."""
    return _minus(wording.signed(value))


def count(value: Any) -> str:
    """Return a whole number with thousands apart, or a dash."""
    return f"{value:,}" if isinstance(value, int) else NOTHING


def percent(share: Any) -> str:
    """Return a share in percent, or a dash; what is not whole is never shown as 100 %."""
    if not isinstance(share, int | float) or not math.isfinite(share):
        return NOTHING
    digits = f"{100 * share:.1f}"
    return f"over {99.9} %" if digits == "100.0" and share < 1 else f"{digits} %"


def measured(record: ScoreRecord) -> str:
    """Return a score with its 95 % interval, or why there is none in a word."""
    if not (record.applies or wording.there(record.value)):
        return "does not apply"
    return _minus(wording.with_interval(record.value, low=record.low, high=record.high))


def difference(value: Any, *, low: Any, high: Any) -> str:
    """Return a difference with its 95 % interval."""
    return _minus(wording.difference(value, low=low, high=high))


def span(values: Iterable[float | None]) -> str:
    """Return the one number that all are, or the least and the greatest."""
    known = sorted({number(value): value for value in values if value is not None}.items(), key=lambda item: item[1])
    if not known:
        return NOTHING
    return known[0][0] if len(known) == 1 else f"{known[0][0]} to {known[-1][0]}"


def _minus(shown: str) -> str:
    return shown.replace("-", "−")

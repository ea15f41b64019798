"""Numbers, intervals and names as they stand in a document."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from scfm_eval.results import ScoreRecord

NOTHING = "–"
"""Stands where there is nothing to say, as against ``undefined``."""


def number(value: Any) -> str:
    """Return a number with three digits after the point, or in powers of ten where these would show nothing."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "undefined"
    if value == 0 or 0.001 <= abs(value) < 1000:
        return _minus(f"{value:.3f}")
    return _minus(f"{value:,.0f}" if abs(value) >= 1 else f"{value:.1e}")


def signed(value: Any) -> str:
    """Return a number with its sign."""
    shown = number(value)
    return shown if shown == "undefined" or shown.startswith("−") else f"+{shown}"


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
    if record.value is None or not math.isfinite(record.value):
        return "undefined" if record.applies else "does not apply"
    if record.low is None or record.high is None:
        return f"{number(record.value)} [no interval]"
    return f"{number(record.value)} [{number(record.low)}, {number(record.high)}]"


def difference(*, value: float | None, low: float | None, high: float | None) -> str:
    """Return a difference with its 95 % interval."""
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def span(values: Iterable[float | None]) -> str:
    """Return the one number that all are, or the least and the greatest."""
    known = sorted({number(value): value for value in values if value is not None}.items(), key=lambda item: item[1])
    if not known:
        return NOTHING
    return known[0][0] if len(known) == 1 else f"{known[0][0]} to {known[-1][0]}"


def listed(names: Iterable[str]) -> str:
    """Return names as in running text: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = [*names] or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def counted(n: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{n:,} {noun if n == 1 else noun + 's'}"


def _minus(shown: str) -> str:
    return shown.replace("-", "−")

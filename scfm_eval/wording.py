"""Numbers, intervals and names in words: the same ones wherever a person reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

UNDEFINED = "undefined"
"""Stands for a number that is not there."""

NO_ANSWER = "no answer"
"""Stands for a number of a model that crashed, ran out of time or wrote nothing that can be read."""


def there(value: Any) -> TypeGuard[float]:
    """Return whether there is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any) -> str:
    """Return a number with three digits after the point, whole from 1000 on, in powers of ten below 0.001."""
    if not there(value):
        return UNDEFINED
    if round(abs(value), 3) >= 1000:
        return f"{value:,.0f}"
    # adding zero turns -0.0 into 0.0
    return f"{value + 0.0:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def signed(value: Any) -> str:
    """Return a number with its sign."""
    shown = number(value)
    return shown if shown == UNDEFINED or shown.startswith("-") else f"+{shown}"


def with_interval(value: Any, *, low: Any, high: Any) -> str:
    """Return a number with its 95 % interval, or with a word that there is none."""
    if not there(value):
        return UNDEFINED
    return f"{number(value)} {f'[{number(low)}, {number(high)}]' if there(low) and there(high) else '[no interval]'}"


def difference(value: Any, *, low: Any, high: Any) -> str:
    """Return a difference with its 95 % interval, all with their signs, or with a word that there is none."""
    if not there(value):
        return UNDEFINED
    return f"{signed(value)} {f'[{signed(low)}, {signed(high)}]' if there(low) and there(high) else '[no interval]'}"


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as ``1 model`` or ``2,000 models``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def listed(names: Iterable[str], *, most: int | None = None) -> str:
    """Return names as in running text: ``a``, ``a and b``, ``a, b and c``; ``none`` where there is none.

    Parameters
    ----------
    names
        The names.
    most
        Of more names than this, only so many are named, and how many more there are.
    """
    *first, last = found = [*names] or ["none"]
    if most is not None and len(found) > most:
        return f"{', '.join(found[:most])} and {len(found) - most} more"
    return f"{', '.join(first)} and {last}" if first else last

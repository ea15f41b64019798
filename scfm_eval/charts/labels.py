"""Where the name of a point stands, so that no name covers another name or a point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LIMIT = 110
"""Width in pixels from which names are cut."""
_LETTER, _LINE, _POINT, _APART = 6, 12, 9, 10
_PLACES: Mapping[str, Mapping[str, Any]] = {
    "above": {"dy": -_APART},
    "right": {"dx": 8, "align": "left"},
    "below": {"dy": _APART},
    "left": {"dx": -8, "align": "right"},
}
_Box = tuple[float, float, float, float]


def placed(points: Sequence[tuple[float, float]], names: Sequence[str]) -> list[str]:
    """Return where each name stands: ``above``, ``right``, ``below`` or ``left`` of its point, ``""`` where nowhere.

    Parameters
    ----------
    points
        Places of the points in pixels, to the right and downwards; the first ones choose first.
    names
        Their names.
    """
    marks = [_box(x, y, _POINT, _POINT) for x, y in points]
    taken: list[_Box] = []
    chosen = []
    for at, ((x, y), name) in enumerate(zip(points, names, strict=True)):
        others = [*taken, *marks[:at], *marks[at + 1 :]]
        free = ((place, box) for place, box in _boxes(x, y, name) if not any(_meet(box, other) for other in others))
        place, box = next(free, ("", None))
        chosen.append(place)
        taken += [box] if box else []
    return chosen


def named(base: Any) -> list[Any]:
    """Return the layers that write ``model`` beside each point, where ``named`` says."""
    return [
        base.transform_filter(f"datum.named === '{place}'").mark_text(limit=LIMIT, **how).encode(text="model:N")
        for place, how in _PLACES.items()
    ]


def _boxes(x: float, y: float, name: str) -> Iterator[tuple[str, _Box]]:
    width = min(LIMIT, _LETTER * len(name))
    for place, how in _PLACES.items():
        aside = {"left": width / 2, "right": -width / 2}.get(how.get("align", ""), 0.0)
        yield place, _box(x + how.get("dx", 0) + aside, y + how.get("dy", 0), width, _LINE)


def _box(x: float, y: float, width: float, height: float) -> _Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

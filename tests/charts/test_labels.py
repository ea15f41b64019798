"""Names beside points: none covers another name or a point, whatever the points."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.charts.labels import placed


def test_a_lone_name_stands_above_and_the_next_gives_way():
    assert placed([(0, 0)], ["a"]) == ["above"]
    assert placed([(0, 0), (0, -12)], ["a", "b"]) == ["right", "above"]


def test_a_name_without_room_is_left_out():
    # a grid of points so close that no name fits between them
    grid = [(10.0 * i, 10.0 * j) for i in range(5) for j in range(5)]
    found = placed(grid, ["long name"] * 25)
    assert found[12] == ""


def boxes(points, names, places):
    aside = {"above": (0, -10), "right": (8, 0), "below": (0, 10), "left": (-8, 0)}
    for (x, y), name, place in zip(points, names, places, strict=True):
        if place:
            width = min(110, 6 * len(name))
            dx, dy = aside[place]
            left = x + dx - {"right": 0, "left": width}.get(place, width / 2)
            yield left, y + dy - 6, left + width, y + dy + 6


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=9), st.integers(1, 30))
def test_no_name_covers_another_or_a_point(points, length):
    names = ["x" * length] * len(points)
    found = list(boxes(points, names, placed(points, names)))
    for i, (left, top, right, bottom) in enumerate(found):
        assert not any(left < x < right and top < y < bottom for x, y in points)
        assert not any(a < right and left < c and b < bottom and top < d for a, b, c, d in found[i + 1 :])

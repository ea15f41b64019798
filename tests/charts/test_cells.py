"""Maps of cells: turned onto each other without stretching, errors and batches where they are known."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.charts import figures
from scfm_eval.charts.cells import turned
from tests.charts.made import drawn, figure, report, result, rows

POINTS = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 1.0], [1.0, 3.0]])


def layout(points=POINTS, **known):
    x, y = np.asarray(points).T.tolist()
    labels = {"label": [0, 1, 1, 0], "labels": ["B cell", "T cell"], "batch": None, "batches": None, "wrong": None}
    return {"x": x, "y": y} | labels | known


def mapped(model, found, value=0.5):
    return result(model, value, details={"layout": found})


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.booleans(), st.floats(0.1, 50), st.floats(-9, 9))
def test_a_turned_mirrored_moved_and_scaled_map_lies_on_the_first(angle, mirrored, scale, moved):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    other = POINTS @ turn * ([1, -1] if mirrored else [1, 1]) * scale + moved
    first, second = turned([layout(), layout(other)])
    np.testing.assert_allclose(second, first, atol=1e-9)
    assert np.square(first).sum(axis=1).mean() == pytest.approx(1)


def test_distances_within_a_map_are_kept():
    rng = np.random.default_rng(0)
    other = rng.normal(size=(4, 2))
    _, second = turned([layout(), layout(other)])
    before, after = (
        np.linalg.norm(points[0] - points[1]) / np.linalg.norm(points[2] - points[3]) for points in (other, second)
    )
    assert after == pytest.approx(before)


def test_maps_of_other_cells_are_not_turned():
    quarter = POINTS @ np.array([[0.0, -1.0], [1.0, 0.0]])
    first, second = turned([layout(), layout(quarter, label=[1, 1, 1, 0])])
    np.testing.assert_allclose(second, first @ np.array([[0.0, -1.0], [1.0, 0.0]]), atol=1e-12)


def test_cells_without_a_place_do_not_move_the_others():
    hidden = layout() | {"x": [0.0, 4.0, 4.0, None], "y": [0.0, 0.0, 1.0, None]}
    first, second = turned([layout(), hidden])
    assert np.isnan(second[3]).all()
    assert np.isfinite(second[:3]).all()
    assert np.isfinite(first).all()


def test_one_place_for_all_cells_is_drawn_without_dividing_by_nothing():
    (points,) = turned([layout(np.ones((4, 2)))])
    np.testing.assert_array_equal(points, 0)


def test_label_batch_and_errors_have_a_map_each():
    known = layout(batch=[0, 0, 1, 1], batches=["x", "y"], wrong=[0, 1, 0, 0])
    names = [one.name for one in figures(report(mapped("mine", known))) if "map" in one.name]
    assert names == ["annotation-map-label-cells", "annotation-map-batch-cells", "annotation-map-errors-cells"]
    assert [one.name for one in figures(report(mapped("mine", layout()))) if "map" in one.name] == names[:1]


def test_groups_and_errors_are_named_and_counted():
    known = layout(wrong=[0, 1, 0, 0])
    labels = figure("annotation-map-label-cells", mapped("mine", known))
    assert labels.alt.startswith("UMAP of 4 cells in the embedding of 1 model")
    assert "Coloured by label: B cell and T cell." in labels.alt
    assert len(re.findall(r'aria-label="[^"]*group: [BT] cell', drawn(labels))) == 4
    errors = figure("annotation-map-errors-cells", mapped("mine", known), mapped("other", layout(), 0.1))
    assert "Wrongly called are 1 of 4 cells for mine." in errors.alt
    assert "1 model without errors not drawn: other." in errors.alt
    assert [row["code"] for row in rows(errors)] == [[0, 1, 0, 0]]


def test_coordinates_are_short_and_missing_ones_null():
    hidden = layout() | {"x": [0.0, 4.0, 4.0, None]}
    found = figure("annotation-map-label-cells", mapped("mine", hidden))
    (row,) = rows(found)
    assert row["x"][3] is None
    assert all(len(str(abs(value))) <= 4 for value in row["x"][:3])
    assert "1 cell of mine without a place not drawn" in found.alt


def test_every_model_is_drawn_on_the_same_ground():
    spread = np.vstack([POINTS[:3], [[9.0, 40.0]]])
    found = figure("annotation-map-label-cells", mapped("mine", layout()), mapped("other", layout(spread), 0.1))
    x = [value for row in rows(found) for value in row["x"]]
    assert found.chart.to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"] == [min(x), max(x)]
    nowhere = layout(np.full((4, 2), np.nan))
    assert "4 cells of mine without a place" in figure("annotation-map-label-cells", mapped("mine", nowhere)).alt

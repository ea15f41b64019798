"""Distances between types: the reference beside the model, unknown pairs left blank."""

from __future__ import annotations

from tests.charts.made import drawn, figure, result, score

TYPES = ["a", "b", "c"]
REFERENCE = [[0.0, 0.4, None], [0.4, 0.0, 1.0], [None, 1.0, 0.0]]
MINE = [[0.0, 0.3, 1.0], [0.3, 0.0, 0.9], [1.0, 0.9, 0.0]]


def placed(model, embedding=MINE, value=0.5):
    details = {"type_distances": {"types": TYPES, "embedding": embedding, "reference": REFERENCE}}
    return result(model, task="ontology", details=details, scores={"scgraph": score(value)}, headline=("scgraph",))


def pairs(panel):
    """Return the distances of a panel's first row of data by pair of types."""
    names = {row["code"]: row["type"] for row in panel["transform"][-1]["from"]["data"]["values"]}
    row = panel["data"]["values"][0]
    return {(names[i], names[j]): value for i, j, value in zip(row["row"], row["column"], row["distance"], strict=True)}


def test_reference_and_model_stand_side_by_side():
    found = figure("ontology-type-distances-cells", placed("mine"), placed("other", value=None))
    left, right = found.chart.to_dict()["hconcat"]
    assert pairs(left)["a", "b"] == 0.4
    assert pairs(left)["a", "c"] is None
    assert pairs(right)["a", "b"] == 0.3
    assert [row["model"] for row in right["data"]["values"]] == ["mine", "other"]
    assert left["encoding"]["y"]["sort"] == right["encoding"]["y"]["sort"]
    assert "scGraph of mine is 0.500. scGraph of other is undefined." in found.alt
    assert "2 pairs unknown to the reference and not drawn." in found.alt


def test_types_that_are_near_in_the_reference_are_neighbours():
    found = figure("ontology-type-distances-cells", placed("mine"))
    order = found.chart.to_dict()["hconcat"][0]["encoding"]["y"]["sort"]
    assert abs(order.index("a") - order.index("b")) == 1
    assert drawn(found).count("distance: ") == 7 + 9

"""Curves by layer and by labelled cells: mean and spread by hand, layers without a value are gaps."""

from __future__ import annotations

import math

from scfm_eval.charts import figures
from tests.charts.made import drawn, figure, report, result, rows

TASK = "layerwise_reconstruction"


def layers(model, *values, field="r2", role="model"):
    table = [{"layer": i, "depth": i / 2, field: value} for i, value in enumerate(values)]
    return result(model, task=TASK, details={"layers": table}, role=role)


def test_each_layer_is_at_its_depth_and_the_best_is_said():
    found = figure("layerwise-reconstruction-r2-cells", layers("mine", 0.1, 0.4, 0.2), layers("other", 0.3, 0.2, 0.1))
    assert [(row["depth"], row["value"]) for row in rows(found) if row["model"] == "mine"] == [
        (0.0, 0.1),
        (0.5, 0.4),
        (1.0, 0.2),
    ]
    assert "The highest of mine is at layer 1 with 0.400. The highest of other is at layer 0 with 0.300." in found.alt


def test_undefined_layers_are_not_drawn_as_nothing():
    found = figure("layerwise-reconstruction-r2-cells", layers("mine", 0.1, None, math.nan), layers("none", None))
    assert [row["value"] for row in rows(found)] == [0.1]
    assert "1 model without r2 not drawn: none." in found.alt


def test_the_models_own_answer_and_labels_have_a_figure_each():
    native = layers("mine", -0.2, 0.9, field="native_pearson")
    names = [one.name for one in figures(report(native, layers("mine", 0.5, field="label_macro_f1")))]
    assert "layerwise-reconstruction-native-pearson-cells" in names
    assert "layerwise-reconstruction-label-macro-f1-cells" in names
    assert "layerwise-reconstruction-r2-cells" not in names


def shots(model, curve, role="model"):
    return result(model, task="annotation_few_shot", details={"curve": curve}, role=role)


def test_mean_and_spread_over_draws():
    found = figure("annotation-few-shot-curve-cells", shots("mine", {"macro_f1": {"1": [0.2, 0.4, None], "10": [0.6]}}))
    one, ten = rows(found)
    assert (one["cells"], one["mean"], one["draws"]) == (1, 0.3, 2)
    assert (one["low"], one["high"]) == (0.2, 0.4)
    assert (ten["mean"], ten["low"], ten["high"]) == (0.6, 0.6, 0.6)
    assert ">labelled cells of each type<" in drawn(found)


def test_the_best_is_told_among_models_and_baselines_and_a_dropdown_chooses_the_score():
    found = figure(
        "annotation-few-shot-curve-cells",
        shots("mine", {"macro_f1": {"1": [0.2]}, "centroid_macro_f1": {"1": [0.3]}}),
        shots("oracle", {"macro_f1": {"1": [1.0]}}, role="control"),
        shots("none", {"macro_f1": {"1": [None]}}),
    )
    assert "With 1 cell of each type, mine has the highest macro_f1, 0.200." in found.alt
    assert "1 model without a curve not drawn: none." in found.alt
    (choice,) = found.chart.to_dict()["params"]
    assert choice["bind"]["options"] == ["macro_f1", "centroid_macro_f1"]


def test_an_empty_curve_is_no_figure():
    assert not [one for one in figures(report(shots("mine", {"macro_f1": {"1": [None]}}))) if "curve" in one.name]

"""Confusion matrices and scores by label: rows sum to 1, types along the hierarchy, empty rows stay empty."""

from __future__ import annotations

import re

import numpy as np
import pytest
import vl_convert

from scfm_eval.charts.type_order import along_ontology, type_order
from tests.charts.made import drawn, figure, report, result, rows

B, T, CD4, CD8, MONOCYTE = "CL:0000236", "CL:0000084", "CL:0000624", "CL:0000625", "CL:0000576"


def called(model, matrix, classes=("a", "b", "c"), **known):
    return result(model, details={"classes": list(classes), "confusion_matrix": matrix}, **known)


def shares(found, model):
    """Return the share of each true label (row) that is called each label (column), by name."""
    names = {row["code"]: row["type"] for row in lookup(found)}
    (row,) = [row for row in rows(found) if row["model"] == model]
    pairs = zip(row["row"], row["column"], row["share"], strict=True)
    return {(names[true], names[said]): share for true, said, share in pairs}


def lookup(found):
    (data,) = [
        step["from"]["data"]["values"] for step in found.chart.to_dict()["transform"] if step.get("lookup") == "row"
    ]
    return data


def test_rows_sum_to_one_and_a_label_without_cells_has_no_row():
    found = figure("annotation-confusion-cells", called("mine", [[3, 1, 0], [0, 2, 2], [0, 0, 0]]))
    of = shares(found, "mine")
    assert of["a", "a"] == 0.75
    assert of["a", "b"] == 0.25
    assert of["b", "c"] == 0.5
    assert of["c", "a"] is None
    assert "calls 62% of a label's cells right on average" in found.alt
    assert "most often confused: 50% of b are called c" in found.alt
    assert "1 label without cells not drawn" in found.alt
    assert ">0.75<" in drawn(found)


def test_matrices_of_other_label_orders_are_laid_onto_each_other():
    found = figure(
        "annotation-confusion-cells",
        called("one", [[4, 0], [1, 3]], classes="ab"),
        called("two", [[3, 1], [0, 4]], classes="ba"),
    )
    assert shares(found, "one") == shares(found, "two")


def test_a_dropdown_chooses_the_model():
    found = figure("annotation-confusion-cells", called("one", [[1]], "a"), called("two", [[1]], "a"))
    (choice,) = found.chart.to_dict()["params"]
    assert choice["bind"]["options"] == ["one", "two"]
    assert {"filter": f"datum.model === {choice['name']}"} in found.chart.to_dict()["transform"]


def test_types_follow_the_ontology_where_their_terms_are_known():
    terms = {"b": B, "cd4": CD4, "mono": MONOCYTE, "cd8": CD8}
    knows = result(task="ontology", details={"terms": {name: {"term": term} for name, term in terms.items()}})
    labels = ["mono", "b", "cd8", "other", "cd4"]
    found = figure("annotation-confusion-cells", called("mine", np.eye(5).tolist(), classes=labels), knows)
    order = [row["type"] for row in lookup(found)]
    assert order[-1] == "other"
    assert abs(order.index("cd4") - order.index("cd8")) == 1
    assert "ordered along CL " in found.alt
    assert "with 1 without a term at the end" in found.alt


def test_a_branch_of_the_hierarchy_is_walked_to_its_end():
    order = along_ontology(list("xyzuv"), {"x": CD8, "y": MONOCYTE, "z": T, "u": CD4, "v": B})
    assert order.index("z") < min(order.index("x"), order.index("u"))
    between = order[order.index("z") : max(order.index("x"), order.index("u")) + 1]
    assert set(between) == {"z", "x", "u"}


def test_without_terms_confused_types_are_neighbours():
    mixed = np.array([[5, 0, 5, 0], [0, 6, 0, 4], [5, 0, 5, 0], [0, 4, 0, 6]]) / 10
    order, how = type_order(report(), dataset="cells", types=list("abcd"), likeness=mixed)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}
    assert how == "ordered so that types alike are neighbours"
    assert type_order(report(), dataset="cells", types=["a", "b"], likeness=mixed[:2, :2]) == (
        ["a", "b"],
        "in the given order",
    )


def test_only_the_largest_types_are_drawn():
    names = [f"t{i:02}" for i in range(45)]
    matrix = np.diag(np.arange(1, 46))
    matrix[44, 0] = 45
    found = figure("annotation-confusion-cells", called("mine", matrix.tolist(), classes=names))
    assert {row["type"] for row in lookup(found)} == set(names[5:])
    assert shares(found, "mine")["t44", "t44"] == 0.5
    assert "Only the 40 of 45 labels with most cells are drawn." in found.alt


def test_f1_by_label_has_the_number_of_cells_and_leaves_the_undefined_out():
    per_class = {"rare": {"f1": None, "precision": None, "recall": 0.0, "support": 2}}
    per_class["common"] = {"f1": 0.8, "precision": 0.7, "recall": 0.9, "support": 30}
    found = figure("annotation-per-class-cells", result(details={"per_class": per_class}))
    assert [row["label_and_cells"] for row in rows(found)] == ["rare (2)", "common (30)"]
    assert [row["f1"] for row in rows(found)] == [None, 0.8]
    assert found.chart.to_dict()["layer"][0]["encoding"]["y"]["sort"] == ["common (30)", "rare (2)"]
    assert "1 value undefined and not drawn." in found.alt
    assert "Hardest is common with 0.800" in found.alt
    picture = drawn(found)
    assert ">0.80<" in picture
    assert ">0.00<" not in picture


def test_controls_are_not_in_the_mean_over_models():
    def found(value):
        return {"per_class": {"a": {"f1": value, "support": 3}, "b": {"f1": 0.5, "support": 2}}}

    made = figure(
        "annotation-per-class-cells",
        result(details=found(0.1)),
        result("pca", role="baseline", details=found(0.3)),
        result("oracle", 1.0, role="control", details=found(1.0)),
    )
    assert "Hardest is a with 0.200 on average over models and baselines, easiest b with 0.500." in made.alt
    assert [row["model"] for row in rows(made)][::2] == ["mine", "pca", "oracle"]


def test_a_label_without_any_number_is_undefined():
    found = figure("annotation-per-class-cells", result(details={"per_class": {"a": None, "b": {"f1": 0.5}}}))
    assert {row["label"]: row["f1"] for row in rows(found)} == {"a": None, "b": 0.5}
    assert "1 value undefined and not drawn." in found.alt


def test_numbers_are_written_only_where_they_fit():
    found = figure("annotation-confusion-cells", called("mine", [[3, 1, 0], [0, 2, 2], [0, 0, 1]]))
    spec = found.chart.to_dict()
    narrow = vl_convert.vegalite_to_svg(spec | {"width": 60}, allowed_base_urls=[])
    wide = vl_convert.vegalite_to_svg(spec | {"width": 300}, allowed_base_urls=[])
    hidden = re.findall(r'<text[^>]*opacity="0"[^>]*>0.75<', narrow)
    assert len(hidden) == 1
    assert re.findall(r'<text[^>]*opacity="0"[^>]*>0.75<', wide) == []
    assert ">0.75<" in wide


@pytest.mark.parametrize("task", ["annotation", "annotation_finetuned", "transfer"])
def test_every_task_that_calls_labels_has_its_matrix(task):
    found = figure(f"{task.replace('_', '-')}-confusion-cells", called("mine", [[1]], "a", task=task))
    assert found.task == task


def test_gene_sets_of_another_task_are_no_terms_of_labels():
    other = result("mine", task="genes", details={"terms": [{"term": "GO:1", "auprc": 0.5}]})
    made = report(called("mine", [[3, 1, 0], [0, 2, 2], [0, 0, 4]]), other)
    types, how = type_order(made, dataset="cells", types=["a", "b", "c"], likeness=np.eye(3))
    assert sorted(types) == ["a", "b", "c"]
    assert how == "ordered so that types alike are neighbours"

"""Every figure that there is data for and no other, strangers' text as text, and a size that fits a page."""

from __future__ import annotations

import json
import math
import re
import warnings
from itertools import pairwise

import pytest

from scfm_eval.charts import figures
from scfm_eval.charts.figure import GROUPS, TEXT, group_scale, plain, shape_scale, slug
from tests.charts.made import drawn, figure, report, result, rows

HOSTILE = '</script><b onclick="x">\'\\ & \n${1}'
CONFUSED = {"classes": ["a", HOSTILE], "confusion_matrix": [[3, 1], [0, 0]]}
PER_CLASS = {"a": {"f1": 0.5, "precision": 0.5, "recall": 0.5, "support": 4}, HOSTILE: {"f1": None, "support": 0}}


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_no_result_no_figure():
    assert figures(report()) == []


def test_a_result_without_any_value_has_no_figure_that_shows_nothing():
    nothing = result(value=None, seconds={"score": math.nan}, memory={"host": None})
    assert figures(report(nothing)) == []


def test_text_is_readable_on_white_and_on_near_black():
    assert contrast(TEXT, "#ffffff") >= 4.5
    assert contrast(TEXT, "#111111") >= 4
    assert all(contrast(colour, "#111111") >= 3 for colour in GROUPS)


def test_names_are_unique_slugs():
    found = figures(report(result(task="a b", seconds={"score": 1.0}), result(task="a-b", seconds={"score": 1.0})))
    names = [one.name for one in found]
    assert names == ["a-b-leaderboard", "a-b-leaderboard-2", "seconds"]
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    assert {one.task for one in found} == {"a b", "a-b", ""}


def test_the_text_of_strangers_stays_text():
    mine = result(
        HOSTILE,
        dataset=HOSTILE,
        details=CONFUSED | {"per_class": PER_CLASS},
        seconds={"forward": 2.0},
        memory={"host": 2**20},
    )
    found = figures(report(mine))
    assert len(found) == 5
    for one in found:
        picture = drawn(one)
        assert "</script>" not in picture
        assert "<b " not in picture
        assert re.fullmatch(r"[a-z0-9-]+", one.name)
    for row in rows(found[0]):
        assert row["model"] == HOSTILE


def test_each_figure_is_titled_described_and_transparent():
    mine = result(details=CONFUSED | {"per_class": PER_CLASS}, seconds={"forward": 2.0})
    for one in figures(report(mine)):
        assert one.title.startswith("Annotation" if one.task else "Seconds")
        assert one.alt.endswith(".")
        assert re.search(r"\d", one.alt)
        spec = one.chart.to_dict()
        assert spec["config"]["background"] == "transparent"
        assert spec["width"] == "container"
        assert "NaN" not in json.dumps(spec)


def test_many_models_and_datasets_stay_small():
    details = {"classes": list("abcdefgh"), "confusion_matrix": [[1] * 8] * 8}
    details["per_class"] = {name: {"f1": 0.1, "precision": 0.1, "recall": 0.1, "support": 8} for name in "abcdefgh"}
    many = [
        result(f"model{m:03}", m / 200, dataset=f"data{d:02}", details=details, seconds={"forward": 1.0 + m})
        for m in range(200)
        for d in range(40)
    ]
    known = [result("pca", 0.01, role="baseline", dataset=f"data{d:02}") for d in range(40)]
    found = figures(report(*many, *known))
    assert sum(len(json.dumps(one.chart.to_dict())) for one in found) < 1_500_000
    board = found[0]
    assert board.name == "annotation-leaderboard"
    assert len(rows(board)) == 40 * 25
    assert {row["model"] for row in rows(board)} == {f"model{m:03}" for m in range(176, 200)} | {"pca"}
    assert "Only the best 25 of 201 models are drawn." in board.alt
    confusions = [one for one in found if "confusion" in one.name]
    assert len(confusions) == 4
    assert "Only the best 12 of 200 models and 4 of 40 datasets are drawn." in confusions[0].alt


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.123456, 0.12346), (math.nan, None), (math.inf, None), ([1.0, math.nan], [1.0, None]), ("x", "x"), (3, 3)],
)
def test_data_is_what_json_can_hold(value, expected):
    assert plain(value) == expected


def test_a_slug_has_letters_digits_and_hyphens():
    assert slug("A b", "ü/ä") == "a-b"
    assert slug("é") == "figure"


def test_groups_have_a_colour_each_and_beyond_eight_a_categorical_scheme_with_shapes():
    few = group_scale(list("abcdefgh")).to_dict()
    assert few["range"] == list(GROUPS)
    many = [f"type {i}" for i in range(9)]
    scale = group_scale(many).to_dict()
    assert scale["domain"] == many
    assert scale["scheme"] == "tableau10"
    assert group_scale([*many, "j", "k"]).to_dict()["scheme"] == "tableau20"
    shapes = shape_scale(many).to_dict()["range"]
    assert len(set(shapes)) == 6
    assert all(one != next_one for one, next_one in pairwise(shapes))


def test_a_leaderboard_without_a_chosen_score_has_no_dropdown():
    one = figure("annotation-leaderboard", result())
    assert all("bind" not in parameter for parameter in one.chart.to_dict()["params"])
    two = figure("annotation-leaderboard", result(), result(dataset="other"))
    (bound,) = [parameter for parameter in two.chart.to_dict()["params"] if "bind" in parameter]
    assert bound["bind"]["options"] == ["cells", "other"]


@pytest.mark.parametrize("task", ["annotation", "layerwise_reconstruction", "ontology", "perturbation"])
@pytest.mark.parametrize("value", ["text", [None], {"a": None}, 3])
def test_details_of_another_form_cost_their_figure_only(task, value):
    names = ("confusion_matrix", "classes", "per_class", "layers", "curve", "deltas", "type_distances", "layout")
    odd = result(task=task, details=dict.fromkeys(names, value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = figures(report(odd, result("other", task=task)))
    assert [one.task for one in made if one.name.startswith(slug(task))]

"""What dropdowns say and what stands for them on paper: models under test first, and no word of choosing."""

from __future__ import annotations

import pytest

from scfm_eval.charts import figures
from tests.charts.made import drawn, report, result

TYPES = ["a", "b"]
SQUARE = [[0.0, 1.0], [1.0, 0.0]]
DETAILS = {
    "classes": TYPES,
    "confusion_matrix": [[3, 1], [0, 2]],
    "layout": {"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 0.0], "label": [0, 1, 1], "labels": TYPES},
    "deltas": {"kind": ["s"], "condition": ["A"], "gene": ["g"], "true": [1.0], "predicted": [0.5]},
    "type_distances": {"types": TYPES, "embedding": SQUARE, "reference": SQUARE},
}
MADE = [
    result("best control", 1.0, role="control", details=DETAILS),
    result("good baseline", 0.9, role="baseline", details=DETAILS),
    result("other baseline", 0.8, role="baseline", details=DETAILS),
    result("tested", 0.2, details=DETAILS),
    result("tested too", 0.1, details=DETAILS),
]
ORDER = ["tested", "tested too", "good baseline", "other baseline", "best control"]
BY_MODEL = {one.name: one for one in figures(report(*MADE)) if one.still is not None}


def options(spec):
    """Return what the dropdowns of a specification offer, wherever in it they are declared."""
    if isinstance(spec, list):
        return [one for part in spec for one in options(part)]
    if not isinstance(spec, dict):
        return []
    own = [spec["bind"]["options"]] if isinstance(spec.get("bind"), dict) else []
    return own + options(list(spec.values()))


def test_all_figures_of_one_model_at_a_time_are_there():
    assert set(BY_MODEL) == {
        "annotation-confusion-cells",
        "annotation-map-label-cells",
        "annotation-deltas-cells",
        "annotation-type-distances-cells",
    }


@pytest.mark.parametrize("name", BY_MODEL)
def test_a_dropdown_offers_models_then_baselines_then_controls(name):
    found = BY_MODEL[name]
    assert options(found.chart.to_dict()) == [ORDER]
    assert found.choices == "A dropdown chooses among 5 models."
    assert "dropdown" not in found.alt.lower()


@pytest.mark.parametrize("name", BY_MODEL)
def test_a_printed_figure_shows_the_models_under_test_beside_each_other_and_says_so(name):
    printed = BY_MODEL[name].printed()
    assert options(printed.chart.to_dict()) == []
    assert "dropdown" not in printed.alt.lower()
    shown = ORDER[: 3 if "distances" in name else 4]
    assert printed.alt.endswith(f"Drawn are {', '.join(shown[:-1])} and {shown[-1]}, of 5 models.")
    picture = drawn(printed)
    assert all(f">{model}<" in picture for model in shown)
    assert ">best control<" not in picture


def test_what_a_printed_leaderboard_leaves_to_choose_is_said():
    board = figures(report(result(dataset="one"), result("other", dataset="one"), result(dataset="two")))[0]
    assert board.choices == "A dropdown chooses among 2 datasets."
    assert "dropdown" not in board.alt.lower()
    assert board.printed().alt.endswith("Drawn is one.")


def test_a_figure_with_nothing_to_choose_is_printed_as_it_is():
    board = figures(report(result()))[0]
    assert (board.choices, board.drawn) == ("", "")
    assert board.printed() == board

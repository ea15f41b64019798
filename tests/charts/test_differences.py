"""The figure of critical differences says what the ranking says."""

from __future__ import annotations

import pandas as pd
import pytest

from scfm_eval.charts.differences import critical_difference
from scfm_eval.errors import InvalidInputError
from scfm_eval.ranking import ranks


def ranking(n_blocks):
    rows = [
        (f"block {i}", name, value, True, "")
        for i in range(n_blocks)
        for name, value in zip("abc", (3, 2, 1), strict=True)
    ]
    return ranks(pd.DataFrame(rows, columns=["block", "model", "value", "higher_is_better", "reason"]))


def test_points_are_average_ranks_and_bars_are_groups():
    # three models in one order: the critical difference is 2.343 · sqrt(12 / (6 · 10)) = 1.0481
    figure = critical_difference(ranking(10))
    rows = {row["row"]: row for row in figure.chart.to_dict()["data"]["values"]}
    assert [rows[name]["rank"] for name in "abc"] == [1, 2, 3]
    assert (rows["critical difference"]["low"], rows["critical difference"]["high"]) == (1.0, 2.0481)
    assert (rows["not told apart 1"]["low"], rows["not told apart 1"]["high"]) == (1, 2)
    assert (rows["not told apart 2"]["low"], rows["not told apart 2"]["high"]) == (2, 3)


def test_the_alternative_text_has_the_numbers():
    said = critical_difference(ranking(10)).alt
    assert "a has the best average rank with 1.00, c the last with 3.00, over 10 blocks" in said
    assert "Not told apart: a, b." in said


def test_where_the_test_does_not_reject_no_two_models_are_told_apart():
    said = critical_difference(ranking(2)).alt
    assert "so the models are not told apart" in said
    assert "two models are told apart" not in said


def test_there_is_no_figure_without_a_ranking():
    with pytest.raises(InvalidInputError, match="0 models have a value"):
        critical_difference(ranking(0))

"""Ages are read as they are written, and named where that is not possible."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.tasks.ages import quartiles, years


def test_years_are_read_in_their_spellings():
    written = ["34", "34.0", "34 years", "34-year-old stage", "34-year-old human stage", " 34 yr ", "34y", "7.5"]
    np.testing.assert_array_equal(years(np.array(written)), [34] * 7 + [7.5])
    younger = years(np.array(["6-month-old stage", "6 months", "18 mo", "26 weeks", "28-day-old human stage", "1 day"]))
    np.testing.assert_allclose(younger, [0.5, 0.5, 1.5, 0.4983, 0.07666, 0.002738], rtol=1e-3)


def test_other_ages_are_named():
    with pytest.raises(UndefinedMetricError, match="adult stage") as caught:
        years(np.array(["34", "adult stage", "newborn stage (0-28 days)", "30-40"]))
    assert "newborn stage (0-28 days)" in str(caught.value)
    assert "30-40" in str(caught.value)
    assert "34" not in str(caught.value)


def test_quarters_of_the_cells_have_ages_as_edges():
    groups, edges = quartiles(np.array([20.0, 20, 30, 40, 40, 50, 60, 70]))
    assert edges == [20, 40, 50]
    assert groups.tolist() == ["up to 20"] * 2 + ["up to 40"] * 3 + ["up to 50"] + ["above 50"] * 2


def test_few_ages_give_few_groups():
    groups, edges = quartiles(np.array([30.0] * 9 + [60]))
    assert edges == [30]
    assert groups.tolist() == ["up to 30"] * 9 + ["above 30"]
    assert quartiles(np.full(4, 30.0))[0].tolist() == ["one age"] * 4

"""Ages are read as they are written, and refused by name where that is not possible."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.tasks.ages import quartiles, years


def test_years_are_read_in_their_spellings():
    written = ["34", "34.0", "34 years", "34-year-old stage", "34-year-old human stage", " 34 yr ", "34y", "7.5"]
    np.testing.assert_array_equal(years(np.array(written)), [34] * 7 + [7.5])


def test_other_ages_are_named():
    with pytest.raises(InvalidInputError, match="adult stage") as caught:
        years(np.array(["34", "adult stage", "6-month-old stage", "30-40"]))
    assert "6-month-old stage" in str(caught.value)
    assert "30-40" in str(caught.value)
    assert "34," not in caught.value.found


def test_quarters_of_the_cells_have_ages_as_edges():
    groups, edges = quartiles(np.array([20.0, 20, 30, 40, 40, 50, 60, 70]))
    assert edges == [20, 40, 50]
    assert groups.tolist() == ["up to 20"] * 2 + ["up to 40"] * 3 + ["up to 50"] + ["above 50"] * 2


def test_few_ages_give_few_groups():
    groups, edges = quartiles(np.array([30.0] * 9 + [60]))
    assert edges == [30]
    assert groups.tolist() == ["up to 30"] * 9 + ["above 30"]
    assert quartiles(np.full(4, 30.0))[0].tolist() == ["one age"] * 4

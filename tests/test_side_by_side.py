"""What can be compared stands together, and the best of it is found."""

from __future__ import annotations

import math

import pytest

from scfm_eval.results import ScoreRecord
from scfm_eval.side_by_side import best_value, goes_up, is_best, side_by_side
from tests.export.made import result


def of(value, role="model", **known):
    return result(role=role, scores={"f1": ScoreRecord(value=value, reason="none" if value is None else "", **known)})


def test_results_of_other_cells_folds_or_seeds_stand_apart():
    one, other, twin = (
        result(name).model_copy(update={"pairing": way}) for name, way in (("a", "x"), ("a", "y"), ("b", "x"))
    )
    alone = result("a", dataset="more cells")
    assert side_by_side([one, other, twin, alone]) == {
        ("annotation", "cells (1 of 2)"): [one, twin],
        ("annotation", "cells (2 of 2)"): [other],
        ("annotation", "more cells"): [alone],
    }


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([of(0.2), of(0.7, "baseline"), of(0.9, "control")], 0.7),
        ([of(0.2, higher_is_better=False), of(0.7, higher_is_better=False)], 0.2),
        ([of(0.2), of(0.9, "control")], None),
        ([of(0.2), of(None), of(math.nan)], None),
        ([], None),
    ],
)
def test_the_best_is_among_two_or_more_models_and_baselines(found, best):
    assert best_value(found, "f1") == best


def test_all_that_have_the_best_value_are_best_but_no_control():
    found = [of(0.7), of(0.7, "baseline"), of(0.7, "control"), of(0.1)]
    assert [is_best(one, "f1", best=0.7) for one in found] == [True, True, False, False]
    assert not is_best(of(None), "f1", best=None)
    assert goes_up(found, "f1")

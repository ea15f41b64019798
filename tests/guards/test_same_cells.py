"""Scores of other cells, folds or seeds are never compared, and this check cannot be switched off."""

from __future__ import annotations

import pytest

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.score import UndecidedError
from scfm_eval.side_by_side import side_by_side
from scfm_eval.tasks.pairs import paired_tests
from tests.made_reports import STEADY, result, score


def made(value, *, seeds=(0,), sha="0", **parameters):
    return result(f1=score(value, spread=0.01 * STEADY), seeds=seeds, sha=sha, parameters=parameters)


OTHERS = {"cells": made(0.2, sha="1"), "folds": made(0.2, n_folds=3), "seeds": made(0.2, seeds=(0, 1))}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("relation", [">", ">=", "<", "<=", "at least level with", "at most level with"])
def test_a_comparison_of_others_is_no_truth(relation, other):
    compared = made(0.9)["f1"].compare(other["f1"], relation)
    assert compared.difference is None
    assert "other cells" not in str(compared)
    assert "not measured on the same cells, folds and seeds: score both with" in str(compared)
    assert "guard same_cells" in str(compared)
    with pytest.raises(UndecidedError, match="cannot be decided"):
        bool(compared)
    assert made(0.9)["f1"].standing(other["f1"]) is None


def test_what_was_measured_alike_is_compared():
    assert made(0.9)["f1"] > made(0.2)["f1"]
    assert made(0.9)["f1"].standing(made(0.2)["f1"]) == 1


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_others_stand_in_tables_of_their_own(other):
    assert sorted(map(len, side_by_side([made(0.9), other]).values())) == [1, 1]
    assert paired_tests([made(0.9), other]) == []


@pytest.mark.parametrize("name", ["same_cells", "undefined"])
def test_it_cannot_be_switched_off(name):
    with (
        pytest.raises(InvalidInputError, match=f"the guard '{name}'\nfound: it is always on: ") as caught,
        guards.without([name]),
    ):
        pass
    assert guards.GUARDS[name].always in caught.value.found
    assert guards.switched_off() == []


def test_the_others_can_be_switched_off():
    assert {name for name, guard in guards.GUARDS.items() if guard.always} == {"same_cells", "undefined"}
    for name in guards.GUARDS.keys() - {"same_cells", "undefined"}:
        with guards.without([name]):
            assert not guards.is_on(name)

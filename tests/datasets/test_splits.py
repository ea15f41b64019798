"""Folds: every cell in one, every donor on one side."""

from __future__ import annotations

import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from scfm_eval.datasets.splits import folds, parts
from scfm_eval.errors import InvalidInputError


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 8)), min_size=2, max_size=40),
    n_folds=st.integers(2, 7),
    seed=st.integers(0, 1000),
)
def test_no_donor_is_on_both_sides_and_no_fold_is_empty(cells, n_folds, seed):
    labels, donors = map(np.array, zip(*cells, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = folds(labels, donors=donors, n_folds=n_folds, seed=seed)
    assert set(split.fold) == set(range(split.n_folds))
    if split.unit == "donor":
        assert all(len(set(split.fold[donors == donor])) == 1 for donor in donors)
        assert split.n_folds == min(n_folds, len(set(donors)))
    else:
        assert len(set(donors)) == 1
        assert "one donor" in split.note


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.sampled_from("ABCD"), min_size=2, max_size=60), n_folds=st.integers(2, 7))
def test_labels_are_spread_evenly_over_the_folds(labels, n_folds):
    labels = np.array(labels)
    split = folds(labels, n_folds=n_folds, seed=1)
    assert split.unit == "cell"
    for label in set(labels):
        sizes = np.bincount(split.fold[labels == label], minlength=split.n_folds)
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(np.bincount(split.fold)) <= 1


def test_the_seed_decides():
    labels = np.repeat(["A", "B"], 20)
    assert (folds(labels, seed=1).fold == folds(labels, seed=1).fold).all()
    assert (folds(labels, seed=1).fold != folds(labels, seed=2).fold).any()


def test_fewer_donors_than_folds_are_said():
    labels, donors = np.tile(["A", "B"], 6), np.repeat(["x", "y", "z"], 4)
    split = folds(labels, donors=donors, n_folds=5, seed=0)
    assert (split.n_folds, split.unit, split.note) == (3, "donor", "3 folds instead of 5: there are 3 donors")


def test_fewer_cells_than_folds_are_said():
    split = folds(np.array(["A", "B", "A"]), n_folds=5, seed=0)
    assert (split.n_folds, split.note) == (3, "3 folds instead of 5, one per cell")


@pytest.mark.parametrize(("labels", "donors", "n_folds"), [("A", None, 5), ("AB", None, 1), ("AB", ["x"], 2)])
def test_what_cannot_be_split_is_refused(labels, donors, n_folds):
    with pytest.raises(ValueError, match=r"cannot be split|1 donors for 2 cells"):
        folds(np.array(list(labels)), donors=donors, n_folds=n_folds, seed=0)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 11)), min_size=9, max_size=60),
    seed=st.integers(0, 1000),
)
def test_parts_are_disjoint_whole_and_stratified(cells, seed):
    labels, donors = map(np.array, zip(*[*cells, *((label, 0) for label in "AAABBBCCC")], strict=True))
    for given_donors in (None, donors):
        made = parts(labels, donors=given_donors, seed=seed)
        counts = np.array([made.train, made.validation, made.test]).astype(int)
        assert (counts.sum(axis=0) == 1).all()
        assert counts.any(axis=1).all()
        if made.unit == "donor":
            assert all(len({tuple(column) for column in counts[:, donors == donor].T}) == 1 for donor in donors)
            continue
        for label in set(labels):
            per_part = counts[:, labels == label].sum(axis=1)
            assert per_part.min() >= 1
            assert per_part[1] == per_part[2] == max(1, np.round(per_part.sum() / 10))


def test_parts_of_a_hundred_cells_by_hand():
    labels = np.repeat(["A", "B", "C"], [70, 25, 5])
    made = parts(labels, seed=0)
    assert [int((made.test & (labels == label)).sum()) for label in "ABC"] == [7, 2, 1]
    assert [int(part.sum()) for part in (made.train, made.validation, made.test)] == [80, 10, 10]
    assert made.unit == "cell"
    assert made.notes == ("one test cell decides the F1 of each of these labels: C",)
    assert (parts(labels, seed=0).test == made.test).all()
    assert (parts(labels, seed=1).test != made.test).any()


def test_labels_too_rare_for_parts_are_named():
    with pytest.raises(InvalidInputError, match=r"fewer than 3 cells: B \(2\), D \(1\)"):
        parts(np.array(list("AAAABBCCCD")), seed=0)


def test_two_donors_are_too_few_for_parts():
    made = parts(np.tile(["A", "B"], 10), donors=np.repeat(["x", "y"], 10), seed=0)
    assert made.unit == "cell"
    assert made.notes[0].startswith("split by cell, since there are 2 donors")


def test_a_label_that_a_part_lacks_is_named():
    donors = np.repeat([f"d{i}" for i in range(10)], 20)
    labels = np.tile(["A", "B"], 100)
    labels[:5] = "C"
    made = parts(labels, donors=donors, seed=0)
    assert made.unit == "donor"
    assert [int(part.sum()) for part in (made.train, made.validation, made.test)] == [160, 20, 20]
    assert (made.train & (labels == "C")).sum() == 5
    assert made.notes == ("no cell of C is in the validation part", "no cell of C is in the test part")


def test_donors_of_one_label_each_leave_two_to_learn_from_or_are_refused():
    by_donor = np.array(["A", "A", "B", "B"])
    made = parts(np.repeat(by_donor, 5), donors=np.repeat(list("wxyz"), 5), seed=0)
    assert made.train.sum() == 10
    assert set(np.repeat(by_donor, 5)[made.train]) == {"A", "B"}
    with pytest.raises(InvalidInputError, match="3 donors, and cells of one label only in any training part"):
        parts(np.repeat(["A", "B", "B"], 5), donors=np.repeat(list("xyz"), 5), seed=0)


def several(n=200, seed=3):
    rng = np.random.default_rng(seed)
    return rng.choice(["A", "B", "C"], size=n, p=[0.6, 0.3, 0.1]), rng.choice(list("uvwxyz"), size=n)


def test_cells_of_one_label_after_the_other_are_dealt_as_cards():
    labels, _ = several()
    shuffled = np.random.default_rng(7).permutation(len(labels))
    dealt = [cell for label in "ABC" for cell in shuffled if labels[cell] == label]
    split = folds(labels, n_folds=4, seed=7)
    np.testing.assert_array_equal(split.fold[dealt], np.arange(len(labels)) % 4)
    assert (split.unit, split.n_folds, split.note, split.fold.dtype) == ("cell", 4, "", np.int64)
    assert folds(labels, seed=7).n_folds == 5


def test_the_first_cells_of_each_label_are_held_out():
    labels, _ = several()
    shuffled = np.random.default_rng(7).permutation(len(labels))
    made = parts(labels, seed=7)
    for label in "ABC":
        cells = [cell for cell in shuffled if labels[cell] == label]
        n = max(1, round(0.1 * len(cells)))
        for mask, expected in (
            (made.test, cells[:n]),
            (made.validation, cells[n : 2 * n]),
            (made.train, cells[2 * n :]),
        ):
            assert set(np.flatnonzero(mask & (labels == label))) == set(expected)
    assert (made.unit, made.notes) == ("cell", ())


def test_donors_are_divided_as_scikit_learn_does():
    labels, donors = several()
    codes, group = (np.unique(names, return_inverse=True)[1] for names in (labels, donors))
    split = folds(labels, donors=donors, n_folds=4, seed=5)
    for i, (_, test) in enumerate(StratifiedGroupKFold(4, shuffle=True, random_state=5).split(codes, codes, group)):
        assert (split.fold[test] == i).all()
    assert (split.unit, split.n_folds, split.note) == ("donor", 4, "")
    assert folds(labels, donors=donors, n_folds=6, seed=5).note == ""


@pytest.mark.parametrize("n", [3, 4])
def test_labels_rarer_than_folds_leave_the_choice_to_donors(n):
    # the most frequent label has three cells: three folds can spread it, four cannot
    labels, donors = np.array(list("AAABBCCD")), np.array(list("uvwuvwxx"))
    codes = np.zeros(8, dtype=int) if n == 4 else np.unique(labels, return_inverse=True)[1]
    group = np.unique(donors, return_inverse=True)[1]
    for seed in range(6):
        split = folds(labels, donors=donors, n_folds=n, seed=seed)
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i, (_, test) in enumerate(splitter.split(codes, codes, group)):
                assert (split.fold[test] == i).all()


def test_one_donor_and_few_cells_are_both_said():
    split = folds(np.array(["A", "B"]), donors=np.array(["d7", "d7"]), n_folds=3, seed=0)
    alone = "split by cell, since all cells are of one donor (d7): scores do not speak of other donors"
    assert split.note == f"{alone}; 2 folds instead of 3, one per cell"
    assert (split.unit, split.n_folds) == ("cell", 2)
    assert folds(np.array(["A", "B"]), donors=np.array([1, 1]), n_folds=2, seed=0).note == alone.replace("d7", "1")


@pytest.mark.parametrize(
    ("labels", "donors", "n_folds", "message"),
    [
        ("A", None, 2, "1 cells cannot be split into 2 folds: at least two of both are needed"),
        ("AB", None, 1, "2 cells cannot be split into 1 folds: at least two of both are needed"),
        ("ABC", "xy", 2, "2 donors for 3 cells"),
    ],
)
def test_what_cannot_be_split_says_why(labels, donors, n_folds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        folds(np.array(list(labels)), donors=donors and np.array(list(donors)), n_folds=n_folds, seed=0)
    assert folds(np.array(["A", "B"]), n_folds=2, seed=0).n_folds == 2


def cost_of_division(shares):
    """Distance of the shares ``(parts, labels)`` from 80, 10 and 10 %, and one more for each that is nothing."""
    return np.abs(shares - np.array([[0.8], [0.1], [0.1]])).sum() + (shares == 0).sum()


@pytest.mark.parametrize("seed", range(12))
def test_the_division_of_the_donors_is_the_best_there_is(seed):
    rng = np.random.default_rng(seed)
    donors = np.repeat(list("uvwxyz"), rng.integers(3, 40, size=6))
    labels = rng.choice(["A", "B", "C"], size=len(donors), p=[0.7, 0.25, 0.05])
    cells = np.array([[((donors == d) & (labels == label)).sum() for label in "ABC"] for d in "uvwxyz"])
    possible = []
    for test, validation in permutations(range(6), 2):
        rest = [donor for donor in range(6) if donor not in (test, validation)]
        shares = np.array([cells[rest].sum(axis=0), cells[validation], cells[test]]) / cells.sum(axis=0)
        possible.append(cost_of_division(shares))
    made = parts(labels, donors=donors, seed=seed)
    masks = (made.train, made.validation, made.test)
    found = np.array([[(mask & (labels == label)).sum() for label in "ABC"] for mask in masks]) / cells.sum(axis=0)
    # 500 draws of 30 divisions miss the best one in 4 of 10^8 cases
    assert cost_of_division(found) == pytest.approx(min(possible))
    assert made.unit == "donor"


def test_a_tenth_of_the_donors_rounded_is_held_out():
    for n_donors, expected in ((3, 1), (14, 1), (15, 2), (16, 2), (24, 2), (26, 3)):
        donors = np.repeat(np.arange(n_donors), 4)
        made = parts(np.tile(["A", "B"], 2 * n_donors), donors=donors, seed=0)
        sizes = [len(set(donors[mask])) for mask in (made.train, made.validation, made.test)]
        assert sizes == [n_donors - 2 * expected, expected, expected]
        assert made.notes == ()


def test_the_seed_decides_which_of_equal_divisions_is_taken():
    labels, donors = np.tile(["A", "B"], 40), np.repeat(np.arange(20), 4)
    tests = [tuple(np.flatnonzero(parts(labels, donors=donors, seed=seed).test)) for seed in (0, 1, 2, 3, 0)]
    assert tests[0] == tests[-1]
    assert len(set(tests)) > 1


def test_every_part_that_lacks_a_label_is_named_with_it():
    donors = np.repeat(["u", "v", "w", "x"], 10)
    labels = np.array([*"AAAAABBBBB"] * 4)
    labels[:10] = "C"  # the donor u has C and nothing else
    made = parts(labels, donors=donors, seed=0)
    where = next(name for name in ("train", "validation", "test") if (getattr(made, name) & (labels == "C")).any())
    lacking = {"train": "training", "validation": "validation", "test": "test"}
    lacking.pop(where)
    own = [] if where == "train" else [f"no cell of A, B is in the {where} part"]
    without = [f"no cell of C is in the {name} part" for name in lacking.values()]
    assert sorted(made.notes) == sorted([*without, *own])


def test_too_few_donors_are_said_before_rare_labels():
    labels = np.array([*"A" * 20, *"B" * 4, *"C" * 3])
    few = "split by cell, since there are 2 donors and not 3: scores do not speak of other donors"
    rare = "one test cell decides the F1 of each of these labels: B, C"
    assert parts(labels, donors=np.arange(27) % 2, seed=0).notes == (few, rare)
    assert parts(labels, seed=0).notes == (rare,)
    assert parts(labels, donors=np.arange(27) % 3, seed=0).unit == "donor"


def test_three_cells_of_a_label_are_enough_and_two_are_not():
    made = parts(np.array([*"AAABBB"]), seed=0)
    assert [int(mask.sum()) for mask in (made.train, made.validation, made.test)] == [2, 2, 2]
    with pytest.raises(InvalidInputError) as refused:
        parts(np.array([*"AAABB"]), seed=0)
    assert refused.value.found == "labels with fewer than 3 cells: B (2)"


def test_labels_and_donors_may_be_numbers():
    labels, donors = np.tile([10, 9], 10), np.repeat([5, 30, 7, 8], 5)
    for by in (None, donors):
        found = parts(labels, donors=by, seed=4)
        named = parts(labels.astype(str), donors=None if by is None else by.astype(str), seed=4)
        assert found.test.sum() == named.test.sum()
        assert found.unit == named.unit


def test_the_seed_decides_of_the_cells_of_one_donor_too():
    labels, _ = several()
    split = folds(labels, donors=np.repeat("d", len(labels)), n_folds=4, seed=7)
    np.testing.assert_array_equal(split.fold, folds(labels, n_folds=4, seed=7).fold)


def test_labels_of_a_small_donor_only_are_said_to_be_lacking_in_training():
    donors = np.repeat(["u", "v", "w"], [160, 20, 22])
    labels = np.array([*"AB" * 80, *"AB" * 10, *"AB" * 10, "D", "E"])
    made = parts(labels, donors=donors, seed=0)
    assert set(donors[made.train]) == {"u"}
    where = "validation" if "w" in donors[made.validation] else "test"
    lacking = [name for name in ("training", "validation", "test") if name != where]
    assert made.notes == tuple(f"no cell of D, E is in the {name} part" for name in lacking)

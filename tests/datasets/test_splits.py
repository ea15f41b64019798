"""Folds: every cell in one, every donor on one side."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

"""Folds: every cell in one, every donor on one side."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.datasets.splits import folds


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

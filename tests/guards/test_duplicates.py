"""Duplicates: copies of cells are found, whatever became of them; cells of one type are no copies of each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval import guards
from scfm_eval.cells import Cells
from scfm_eval.datasets import copies as searching
from scfm_eval.datasets.copies import Copies, copies, require_apart
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.tasks.annotation import Annotation
from tests.guards.judged import cells_of, judged
from tests.toys import toy_cells

N_COPIED = 40


def thinned(share):
    def thin(X, rng):
        return with_data(X, rng.binomial(X.data.astype(int), share))

    return thin


def with_data(X, data):
    made = sp.csr_matrix((data.astype(np.float32), X.indices, X.indptr), shape=X.shape)
    made.eliminate_zeros()
    return made


def with_a_few_more(X, rng):
    more = sp.random(*X.shape, density=5 / X.shape[1], random_state=rng, format="csr")
    more.data[:] = 1
    return sp.csr_matrix(X + more, dtype=np.float32)


FAULTS = {
    "exact": lambda X, _: X.copy(),
    "a tenth lost": thinned(0.9),
    "half lost": thinned(0.5),
    "a few counts more": with_a_few_more,
    "three times as deep": lambda X, _: X * 3,
}


def with_copies(X, fault, *, seed=0):
    """Return the matrix with copies of 40 cells at its end, and which cells these are of."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(X.shape[0], N_COPIED, replace=False)
    return sp.vstack([X, FAULTS[fault](X[rows], rng)]).tocsr(), rows


def caught(X, fault):
    both, rows = with_copies(X, fault)
    group = copies(both).group
    return float((group[rows] == group[X.shape[0] :]).mean()), group, rows


@pytest.mark.parametrize("fault", FAULTS)
def test_copies_are_found_and_nothing_else(fault, blood):
    share, group, _ = caught(blood.adata.X, fault)
    assert share == 1
    assert len(np.unique(group)) == blood.adata.n_obs


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("real_data")
def test_copies_among_real_cells_are_found(fault):
    X = cells_of("hao_pbmc").adata.X
    share, group, _ = caught(X, fault)
    assert share == 1
    assert len(np.unique(group)) == X.shape[0]


def test_cells_of_few_molecules_are_copies_only_if_they_are_equal():
    X = sp.csr_matrix(np.random.default_rng(0).poisson(0.05, (300, 500)).astype(np.float32))
    assert caught(X, "exact")[0] > 0.9
    assert copies(X).n_copied == 0
    tiny = sp.csr_matrix(np.random.default_rng(0).poisson(0.2, (300, 6)).astype(np.float32))
    assert copies(tiny).n_copied == 0


def test_values_that_are_not_counts_are_copies_only_if_they_are_equal(blood):
    X = sp.csr_matrix(blood.adata.X, dtype=np.float32).log1p()
    assert copies(X).n_copied == 0
    assert copies(sp.vstack([X, X[:7]]).tocsr()).n_copied == 14


def test_no_two_sound_cells_are_copies(sound):
    assert sound.copies.n_copied == 0
    assert sound.copies.searched.all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_cells_and_genes_is_no_matter(seed):
    cells = np.random.default_rng(0).poisson(np.random.default_rng(1).lognormal(0, 1, 300), (150, 300))
    X, rows = with_copies(sp.csr_matrix(cells.astype(np.float32)), "a tenth lost")
    rng = np.random.default_rng(seed)
    order = rng.permutation(X.shape[0])
    moved = sp.csr_matrix(X[order][:, rng.permutation(X.shape[1])])
    moved.sort_indices()
    group = np.empty(X.shape[0], dtype=int)
    group[order] = copies(moved).group
    np.testing.assert_array_equal(group[rows], group[150:])
    assert len(np.unique(group)) == 150


def test_of_many_cells_some_are_searched_among_all(blood, monkeypatch):
    monkeypatch.setattr(searching, "_SEARCHED", 300)
    X, _ = with_copies(blood.adata.X, "half lost")
    found = copies(X)
    assert found.searched.sum() == 300
    # of a pair, either cell leads to the other
    assert 10 < found.n_copied / 2 < N_COPIED


def sides(n_copied, n_test=100):
    group = np.arange(2 * n_test)
    group[n_test : n_test + n_copied] = np.arange(n_copied)
    test = np.arange(2 * n_test) >= n_test
    return Copies(group, np.ones(2 * n_test, dtype=bool)), ~test, test


def test_more_than_one_percent_is_refused_and_less_is_told():
    found, train, test = sides(2)
    with pytest.raises(guards.GuardError, match=r"2 of 100 test cells \(2.00%\) have a copy or near copy in training"):
        require_apart(found, train=train, test=test, asked="x")
    with guards.without(["duplicates"]), guards.listening() as told:
        require_apart(found, train=train, test=test, asked="x")
    assert told == []
    with guards.listening() as told:
        found, train, test = sides(1)
        require_apart(found, train=train, test=test, asked="x")
        require_apart(sides(0)[0], train=train, test=test, asked="x")
    assert [finding.guard for finding in told] == ["duplicates"]


def test_all_splits_count_together_and_cells_that_were_not_searched_do_not():
    found, train, test = sides(2)
    others = test & (np.arange(200) >= 102)
    with guards.listening() as told:
        require_apart(found, train=np.array([train] * 3), test=np.array([test, others, others]), asked="x")
    assert [finding.found[:20] for finding in told] == ["2 of 296 test cells "]
    with guards.listening() as told:
        require_apart(Copies(found.group, np.zeros(200, dtype=bool)), train=train, test=test, asked="x")
    assert told == []


def copied_toy():
    cells = toy_cells()
    again = cells[:20].copy()
    again.obs_names = [f"again{i}" for i in range(20)]
    return AnnData(sp.vstack([cells.X, again.X]).tocsr(), obs=pd.concat([cells.obs, again.obs]), var=cells.var)


def test_a_task_refuses_copies_and_goes_on_when_the_guard_is_off(tmp_path):
    dataset = Dataset(name="toy", build=copied_toy, label_key="cell_type", organism="simulated")
    cells = Cells(dataset, dataset.load())
    assert cells.copies.n_copied == 40
    with pytest.raises(guards.GuardError, match="have a copy or near copy in training"):
        judged(cells, tmp_path, task=Annotation(n_folds=3))
    with guards.without(["duplicates"]):
        free = Cells(dataset, dataset.load())
        result = judged(free, tmp_path, task=Annotation(n_folds=3))
    assert result["accuracy"] > 0.5
    assert result.dataset.findings == []
    assert [finding.guard for finding in cells.record.findings] == ["duplicates"]

"""Counts: every other matrix is recognised as what it is, rounded or not, and no counts are mistaken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from scfm_eval import guards
from scfm_eval.cells import Cells
from scfm_eval.datasets.count_signs import what_else_than_counts
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.errors import InvalidInputError
from tests.guards.judged import judged
from tests.toys import toy_cells


def normalised(X, total):
    return sp.csr_matrix(sp.diags(total / np.asarray(X.sum(axis=1)).ravel()) @ X)


def logged(X, total=1e4):
    return normalised(X, total).log1p()


def rounded(X):
    return sp.csr_matrix(np.rint(X.toarray()))


def imputed(X):
    near = NearestNeighbors(n_neighbors=15).fit(logged(X)).kneighbors_graph(logged(X))
    return sp.csr_matrix(near @ X) / 15


FAULTS = {
    "log": (logged, "looks log1p-transformed of counts per 1e+04"),
    "log of counts": (lambda X: X.log1p(), "looks log1p-transformed"),
    "normalised": (lambda X: normalised(X, 1e4), "add up to 1e+04 in every cell: it looks normalised"),
    "imputed": (imputed, "hardly any zeros, it looks imputed or denoised"),
    "log, imputed": (lambda X: imputed(logged(X)), "looks log1p-transformed: and, with hardly any zeros, imputed"),
    "normalised, imputed": (lambda X: normalised(imputed(X), 1e4), "add up to 1e+04 in every cell"),
    "rounded log": (lambda X: rounded(logged(X)), "no gene with a 1: it looks normalised or log, then rounded"),
    "rounded log of counts": (lambda X: rounded(X.log1p()), "vary less than sampled molecules can"),
    "rounded normalised": (lambda X: rounded(normalised(X, 1e4)), "no gene with a 1: it looks normalised"),
    "rounded per million": (lambda X: rounded(normalised(X, 1e6)), "no gene with a 1"),
    "rounded to the median": (lambda X: rounded(normalised(X, 653)), "no gene with a 1"),
    "rounded imputed": (lambda X: rounded(imputed(X)), "looks imputed or denoised, then rounded"),
    "rounded log, imputed": (lambda X: rounded(imputed(logged(X))), "looks log, imputed or denoised, then rounded"),
    "doubled": (lambda X: X * 2, "100% of the cells have no gene with a 1"),
    "binary": (lambda X: (X > 0).astype(np.float64), "nothing but 0 and 1: it looks binary"),
}


@pytest.fixture
def counts(blood):
    return sp.csr_matrix(blood.adata.X, dtype=np.float64)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_counts_is_recognised(fault, counts):
    change, words = FAULTS[fault]
    assert words in what_else_than_counts(change(counts))
    assert words in what_else_than_counts(change(counts).toarray())


@pytest.mark.parametrize("shape", [(30, 40), (40, 30), (60, 2000)])
@pytest.mark.parametrize("mean", [0.1, 1.0, 5.0])
def test_counts_of_one_rate_pass(shape, mean):
    assert what_else_than_counts(sp.csr_matrix(np.random.default_rng(0).poisson(mean, shape))) == ""


def test_flat_values_of_uneven_genes_are_recognised():
    rng = np.random.default_rng(0)
    on = np.argsort(rng.random((4, 800)), axis=0) < 2
    values = np.minimum(rng.poisson(6 * on[rng.integers(0, 4, 200)]), 12)
    assert "none above 12 in cells with" in what_else_than_counts(values.astype(float))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("fault", [None, "rounded log", "rounded imputed", "log"])
def test_the_order_of_cells_and_genes_is_no_matter(fault, seed):
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.poisson(rng.lognormal(-1, 1.5, (120, 1)) * rng.lognormal(-0.5, 1, 150)))
    X = X[np.diff(X.indptr) > 0].astype(np.float64)
    X = FAULTS[fault][0](X) if fault else X
    rng = np.random.default_rng(seed)
    other = X[rng.permutation(X.shape[0])][:, rng.permutation(X.shape[1])]
    found = what_else_than_counts(other).split(", e.g.")[0]
    assert found == what_else_than_counts(X).split(", e.g.")[0]


def log_toy():
    cells = toy_cells()
    return AnnData(logged(cells.X), obs=cells.obs, var=cells.var)


def test_a_run_goes_on_with_values_as_they_are_when_the_guard_is_off(tmp_path):
    dataset = Dataset(name="toy", build=log_toy, label_key="cell_type", organism="simulated")
    with pytest.raises(guards.GuardError, match="--without-guard counts"):
        dataset.load()
    with guards.without(["counts"]):
        cells = Cells(dataset, dataset.load())
        np.testing.assert_allclose(cells.adata.X.toarray(), log_toy().X.toarray(), rtol=1e-6)
        assert judged(cells, tmp_path)["accuracy"] > 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_what_nothing_can_read_is_refused_all_the_same(bad):
    def build():
        cells = toy_cells()
        cells.X.data[0] = bad
        return cells

    with guards.without(["counts"]), pytest.raises(InvalidInputError, match=r"NaN or infinite|scaled or centred") as no:
        Dataset(name="toy", build=build).load()
    assert not isinstance(no.value, guards.GuardError)


def test_real_counts_pass_whole_thinned_to_equal_depth_and_in_parts(sound):
    X = sound.adata.X
    assert what_else_than_counts(X) == ""
    rng = np.random.default_rng(0)
    for share in (0.5, 0.2):
        data = rng.binomial(X.data.astype(int), share).astype(np.float32)
        assert what_else_than_counts(sp.csr_matrix((data, X.indices, X.indptr), shape=X.shape)) == ""
    assert what_else_than_counts(to_equal_depth(X[:300], rng)) == ""
    for part in (X[:40], X[:200], X[:, np.argsort(-np.asarray(X.sum(axis=0)).ravel())[:400]]):
        assert what_else_than_counts(part) == ""


def test_real_values_that_are_not_counts_are_found(sound):
    X = sp.csr_matrix(sound.adata.X, dtype=np.float64)
    for values in (logged(X), X.log1p(), normalised(X, 1e4), rounded_sparse(logged(X, 1e6)), X * 2, X > 0):
        assert what_else_than_counts(sp.csr_matrix(values, dtype=np.float64))


def to_equal_depth(X, rng):
    depth = int(np.median(np.asarray(X.sum(axis=1)).ravel()) / 2)
    made = X.copy()
    for start, end in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        counts = X.data[start:end].astype(int)
        made.data[start:end] = rng.multivariate_hypergeometric(counts, min(depth, counts.sum()), method="marginals")
    return made


def rounded_sparse(X):
    made = X.copy()
    made.data = np.rint(made.data)
    return made


def test_other_ways_of_the_same_file_to_counts_are_named():
    def build():
        cells = log_toy()
        cells.layers["umi"] = toy_cells().X
        return cells

    dataset = Dataset(name="toy", build=build)
    with pytest.raises(guards.GuardError, match="choose with counts=layers/umi"):
        dataset.load()
    assert replace(dataset, counts="layers/umi").load().n_obs == 90


@pytest.mark.parametrize("amplified", [(8.0, 1.5), (5.0, 1.0), (3.0, 1.0)])
def test_reads_of_amplified_molecules_pass(amplified):
    """Full-length protocols count reads: hardly a gene has one, but none is a multiple of the others either."""
    rng = np.random.default_rng(0)
    molecules = rng.poisson(rng.gamma(0.3, 2, (60, 3000)))
    reads = np.floor(molecules * rng.lognormal(*amplified, molecules.shape))
    assert what_else_than_counts(sp.csr_matrix(reads)) == ""
    assert "rounded" in what_else_than_counts(sp.csr_matrix(molecules * 7.0))

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from scfm_eval.datasets import expression
from scfm_eval.datasets.expression import PrincipalComponents, gene_positions, highly_variable, log_normalised
from scfm_eval.errors import InvalidInputError


def simulated(n_cells=300, n_genes=400, *, variable=20, seed=0):
    rng = np.random.default_rng(seed)
    mean = np.tile(rng.gamma(2.0, 1.0, n_genes), (n_cells, 1))
    mean[: n_cells // 2, :variable] *= 8
    X = sparse.csr_matrix(rng.poisson(mean).astype(np.float32))
    return ad.AnnData(X, var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]))


def test_log_normalised_by_hand():
    X = sparse.csr_matrix(np.array([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]], dtype=np.float32))
    expected = np.log([[2501.0, 1.0, 7501.0], [1.0, 10001.0, 1.0]])
    found = log_normalised(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
    np.testing.assert_array_equal(X.toarray(), [[1, 0, 3], [0, 2, 0]])


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, (4, 6), elements=st.integers(0, 50)), st.integers(2, 9))
def test_log_normalised_sums_to_target_and_ignores_depth(counts, factor):
    counts = counts + np.eye(4, 6, dtype=np.float32)
    once = log_normalised(sparse.csr_matrix(counts), target=100.0)
    np.testing.assert_allclose(np.expm1(once.toarray().astype(float)).sum(axis=1), 100.0, rtol=1e-5)
    np.testing.assert_allclose(
        log_normalised(sparse.csr_matrix(counts * factor), target=100.0).toarray(), once.toarray(), rtol=1e-5
    )


def test_cells_without_counts_are_refused():
    with pytest.raises(InvalidInputError, match="1 of 2 cells without counts, the first in row 1"):
        log_normalised(sparse.csr_matrix(np.array([[1.0], [0.0]])))


def test_highly_variable_finds_the_genes_that_differ_and_agrees_with_scanpy():
    import scanpy

    cells = simulated()
    mask = highly_variable(cells, n_top=20)
    assert mask.sum() == 20
    assert mask[:20].sum() > 15
    table = scanpy.pp.highly_variable_genes(cells, flavor="seurat_v3", n_top_genes=20, inplace=False)
    np.testing.assert_array_equal(mask, table["highly_variable"])
    assert not cells.uns
    assert not list(cells.var)


def test_all_expressed_genes_are_taken_when_there_are_few():
    cells = simulated(n_genes=30)
    X = cells.X.toarray()
    X[:, [3, 5]] = 0
    mask = highly_variable(ad.AnnData(sparse.csr_matrix(X)), n_top=2000)
    assert np.flatnonzero(~mask).tolist() == [3, 5]


def test_unexpressed_genes_are_never_chosen():
    X = simulated(n_genes=100).X.toarray()
    X[:, 50:] = 0
    assert not highly_variable(ad.AnnData(sparse.csr_matrix(X)), n_top=40)[50:].any()


def test_few_cells_with_many_equal_means_still_give_genes():
    rng = np.random.default_rng(0)
    X = (rng.random((12, 300)) < 0.1).astype(np.float32)
    X[0] = 1
    with pytest.raises(ValueError, match=r"."):
        expression._seurat_v3_once(sparse.csr_matrix(X), n_top=50, span=0.3)
    cells = ad.AnnData(sparse.csr_matrix(X))
    mask = highly_variable(cells, n_top=50)
    assert mask.sum() == 50
    np.testing.assert_array_equal(mask, highly_variable(cells, n_top=50))


def test_a_regression_that_never_succeeds_is_named(monkeypatch):
    def fails(*_, **__):
        raise ValueError("svddc failed in l2fit.")

    monkeypatch.setattr(expression, "_seurat_v3_once", fails)
    with pytest.raises(InvalidInputError, match="svddc"):
        highly_variable(simulated(), n_top=20)


@pytest.mark.parametrize(("n_cells", "n_genes"), [(200, 60), (60, 200), (30, 200), (300, 20)])
def test_components_are_those_of_the_dense_decomposition(n_cells, n_genes):
    X = log_normalised(simulated(n_cells, n_genes).X)
    found = PrincipalComponents().fit(X).transform(X)
    dense = X.toarray().astype(float)
    left, singular, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    width = min(50, n_cells - 1, n_genes)
    assert found.shape == (n_cells, width)
    # components of nearly equal variance may turn into one another: compare the leading ones
    np.testing.assert_allclose(np.abs(found[:, :2]), np.abs(left * singular)[:, :2], atol=1e-3)
    np.testing.assert_allclose((found.astype(float) ** 2).sum(axis=0), singular[:width] ** 2, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)


def test_components_have_fixed_signs_whatever_the_order_of_cells():
    X = log_normalised(simulated().X)
    order = np.random.default_rng(1).permutation(X.shape[0])
    first, second = PrincipalComponents().fit(X), PrincipalComponents().fit(X[order])
    np.testing.assert_allclose(first.transform(X)[:, :2], second.transform(X)[:, :2], atol=1e-3)


def test_components_of_one_cell_are_refused():
    with pytest.raises(InvalidInputError, match="1 cells"):
        PrincipalComponents().fit(sparse.csr_matrix(np.ones((1, 5))))


def test_gene_positions_follow_names_and_missing_genes_are_named():
    cells = simulated(n_genes=10)
    assert gene_positions(cells, genes=pd.Index(["gene7", "gene2"])).tolist() == [7, 2]
    with pytest.raises(InvalidInputError, match=r"1 of them missing, e\.g\. other"):
        gene_positions(cells, genes=pd.Index(["gene7", "other"]))


def test_importing_does_not_import_torch_or_scanpy():
    code = "import sys, scfm_eval.datasets.expression; sys.exit(bool({'torch', 'scanpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_choosing_genes_leaves_the_number_of_threads_as_it_was():
    import torch

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        highly_variable(simulated(), n_top=20)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)

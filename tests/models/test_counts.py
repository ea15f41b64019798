"""Counts are the same from memory, dense, a backed file and chunks, and genes are found by name."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.counts import aligned_counts, csr_counts, gene_places

COUNTS = np.array([[1, 0, 2], [0, 0, 0], [3, 4, 0], [0, 5, 6]], dtype=np.float32)


def cells(X=COUNTS):
    obs = pd.DataFrame(index=[f"c{i}" for i in range(X.shape[0])])
    return ad.AnnData(X=X, obs=obs, var=pd.DataFrame(index=["A", "B", "C"]))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_from_memory(form):
    read = csr_counts(cells(form(COUNTS)))
    assert isinstance(read, sparse.csr_matrix)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.toarray(), COUNTS)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_from_a_backed_file(tmp_path, form):
    cells(form(COUNTS)).write_h5ad(tmp_path / "c.h5ad")
    backed = ad.read_h5ad(tmp_path / "c.h5ad", backed="r")
    np.testing.assert_array_equal(csr_counts(backed).toarray(), COUNTS)
    np.testing.assert_array_equal(csr_counts(backed[1:3]).toarray(), COUNTS[1:3])
    backed.file.close()


def test_from_chunks():
    import dask.array as da

    chunked = da.from_array(COUNTS, chunks=(3, 2))
    np.testing.assert_array_equal(csr_counts(cells(chunked)).toarray(), COUNTS)
    in_parts = da.from_array(COUNTS, chunks=(3, 3)).map_blocks(sparse.csr_matrix)
    np.testing.assert_array_equal(csr_counts(cells(in_parts)).toarray(), COUNTS)


def test_genes_are_found_by_name_and_nothing_is_changed():
    given_cells = cells(sparse.csr_matrix(COUNTS))
    made = aligned_counts(given_cells, genes=["A", "B", "C"], order=["C", "unknown", "A"])
    np.testing.assert_array_equal(made.toarray(), COUNTS[:, [2, 0, 0]] * [1, 0, 1])
    np.testing.assert_array_equal(given_cells.X.toarray(), COUNTS)


@given(st.permutations(["A", "B", "C"]), st.permutations(["A", "B", "C", "D"]))
def test_the_order_of_the_columns_does_not_matter(columns, order):
    shuffled = cells(sparse.csr_matrix(COUNTS[:, [["A", "B", "C"].index(gene) for gene in columns]]))
    straight = aligned_counts(cells(), genes=["A", "B", "C"], order=order)
    made = aligned_counts(shuffled, genes=columns, order=order)
    np.testing.assert_array_equal(made.toarray(), straight.toarray())


def test_two_columns_of_one_gene_are_refused():
    with pytest.raises(InvalidInputError, match="several columns for A"):
        aligned_counts(cells(), genes=["A", "A", "C"], order=["A"])
    assert aligned_counts(cells(), genes=["X", "X", "C"], order=["C"]).shape == (4, 1)


def test_places():
    np.testing.assert_array_equal(gene_places(["B", "Z", "A"], order=["A", "B"]), [1, -1, 0])


def test_entries_of_one_place_are_added_up():
    twice = sparse.csr_matrix((np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]), np.array([0, 3])), shape=(1, 3))
    given_cells = cells(twice)
    np.testing.assert_array_equal(csr_counts(given_cells).toarray(), [[3, 5, 0]])
    assert given_cells.X.nnz == 3


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_what_is_no_count_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="negative or not finite"):
        csr_counts(cells(sparse.csr_matrix(np.array([[1, 0, wrong]], dtype=np.float32))))


def test_no_cells_and_no_matrix_are_refused():
    with pytest.raises(InvalidInputError, match="no cells"):
        csr_counts(cells(np.zeros((0, 3), dtype=np.float32)))
    with pytest.raises(InvalidInputError, match="no matrix X"):
        csr_counts(ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["A"])))

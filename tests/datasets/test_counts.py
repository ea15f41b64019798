"""Every matrix that is not raw counts is refused with the reason and the way out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scfm_eval.datasets.counts import counts_in
from scfm_eval.errors import InvalidInputError

COUNTS = np.array([[1, 0, 2], [0, 3, 0], [4, 0, 5], [1, 1, 1]], dtype=np.float32)


def cells(X):
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(COUNTS))])
    return AnnData(X=X, obs=obs, var=pd.DataFrame(index=["A", "B", "C"]))


def refusal(adata):
    with pytest.raises(InvalidInputError) as caught:
        counts_in(adata, what="dataset x")
    return caught.value


@pytest.mark.parametrize(
    "X",
    [COUNTS, sp.csr_matrix(COUNTS), sp.csc_matrix(COUNTS), sp.csr_array(COUNTS), COUNTS.astype(np.int64)],
    ids=["dense", "csr", "csc", "csr_array", "int64"],
)
def test_counts_come_back_as_csr_float32_whatever_they_were(X):
    counts = counts_in(cells(X), what="x")
    assert isinstance(counts, sp.csr_matrix)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts.toarray(), COUNTS)
    assert counts.has_sorted_indices


def test_stored_zeros_are_dropped_and_the_input_is_left_alone():
    X = sp.csr_matrix(COUNTS)
    X.data[0] = 0
    adata = cells(X)
    counts = counts_in(adata, what="x")
    assert counts.nnz == 7 - 1 + 2 - 1
    assert adata.X.nnz == 8
    counts.data[:] = 9
    assert adata.X.data.max() == 5


def test_log_normalised_values_are_recognised_with_their_scale():
    logged = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)
    error = refusal(cells(sp.csr_matrix(logged)))
    assert "looks log1p-transformed of counts per 1e+04" in error.found
    assert "neither a layer nor raw" in error.remedy


def test_normalised_values_are_recognised():
    assert "add up to 1e+04 in every cell" in refusal(cells(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)).found


def test_scaled_values_are_recognised():
    assert "negative values (down to -2)" in refusal(cells(COUNTS - 2)).found


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_undefined_values_are_counted(bad):
    X = COUNTS.copy()
    X[0, 0] = X[1, 1] = bad
    assert "2 values that are NaN or infinite" in refusal(cells(sp.csr_matrix(X))).found


def test_one_fraction_among_large_counts_is_found():
    X = COUNTS * 100
    X[2, 2] = 500.5
    assert "not integers, e.g. [500.5]" in refusal(cells(X)).found


def test_the_error_names_the_layer_that_holds_integers():
    adata = cells(COUNTS * 0.5)
    adata.layers["scaled"] = COUNTS - 2
    adata.layers["umi"] = COUNTS
    assert "choose with counts=layers/umi;" in refusal(adata).remedy


def test_the_error_names_raw_when_that_holds_integers():
    adata = cells(COUNTS)
    adata.raw = adata.copy()
    adata.X = COUNTS * 0.5
    assert "choose with counts=raw;" in refusal(adata).remedy


def test_empty_cells_are_named_and_counted():
    X = COUNTS.copy()
    X[1] = 0
    assert refusal(cells(X)).found == "1 of 4 cells have none: c1"


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_names_that_occur_twice_are_named():
    adata = cells(COUNTS)
    adata.obs_names = ["a", "b", "a", "c"]
    assert refusal(adata).found == "1 cell names occur more than once: a"
    adata.obs_names = list("abcd")
    adata.var_names = ["G", "H", "G"]
    assert refusal(adata).found == "1 gene names occur more than once: G"


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_an_empty_matrix_is_refused(shape):
    assert f"empty matrix of shape {shape}" in refusal(AnnData(X=sp.csr_matrix(shape, dtype=np.float32))).found

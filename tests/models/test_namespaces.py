"""Genes are found by name in whichever namespace a model's weights and the cells have."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.namespaces import counts_by_name, namespace

CD3D, CD8A = "ENSG00000167286", "ENSG00000153563"


def made(genes: list[str]) -> AnnData:
    cells = AnnData(sparse.csr_matrix(np.arange(1.0, 2 * len(genes) + 1).reshape(2, -1).astype(np.float32)))
    cells.var_names = genes
    return cells


def test_what_most_genes_are_decides():
    assert namespace([CD3D, "CD8A"]) == "ensembl"
    assert namespace([CD3D, "CD8A", "LYZ"]) == "symbol"


@pytest.mark.parametrize("genes", [["CD3D", "CD8A"], [CD3D, CD8A], [f"{CD3D}.12", f"{CD8A}.3"]])
@pytest.mark.parametrize("order", [["CD8A", "CD3D"], [CD8A, CD3D]])
def test_either_names_are_read(genes, order):
    counts = counts_by_name(made(genes), order=order, model="m")
    np.testing.assert_array_equal(counts.toarray(), [[2, 1], [4, 3]])
    assert counts.dtype == np.float32


def test_missing_genes_are_zero_and_former_names_are_read():
    counts = counts_by_name(made(["NOSUCH", "SEPT9"]), order=["LYZ", "SEPTIN9"], model="m")
    np.testing.assert_array_equal(counts.toarray(), [[0, 2], [0, 4]])


def test_columns_of_one_gene_are_added_up():
    counts = counts_by_name(made([f"{CD3D}.1", f"{CD3D}.2"]), order=["CD3D"], model="m")
    np.testing.assert_array_equal(counts.toarray(), [[3], [7]])


def test_other_genes_are_refused():
    with pytest.raises(InvalidInputError, match=r"m on cells with 2 genes[\s\S]*0 of its 1 genes"):
        counts_by_name(made(["NOSUCH", "NONE"]), order=["LYZ"], model="m")

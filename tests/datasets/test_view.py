"""The view of a model: its genes, the batch, and nothing to peek at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scfm_eval.datasets.view import Readable, fingerprint, require_readable, view
from scfm_eval.errors import InvalidInputError

COUNTS = np.array([[1, 2, 3, 4], [5, 0, 0, 1]], dtype=np.float32)
TP53, SEPTIN1 = "ENSG00000141510", "ENSG00000180096"


def cells(genes=("TP53", "SEPT1", "SEPTIN1", "NOT-A-GENE"), **var):
    obs = pd.DataFrame(
        {"label": ["A", "B"], "batch": pd.Categorical(["1", "2"]), "donor": ["x", "y"]}, index=["c1", "c2"]
    )
    return AnnData(X=sp.csr_matrix(COUNTS), obs=obs, var=pd.DataFrame(var, index=list(genes)))


def test_genes_are_renamed_and_counts_of_one_gene_added_up():
    seen, readable = view(cells(), gene_ids="ensembl", source_gene_ids="symbol")
    assert seen.var_names.tolist() == [TP53, SEPTIN1]
    np.testing.assert_array_equal(seen.X.toarray(), [[1, 5], [5, 0]])
    assert isinstance(seen.X, sp.csr_matrix)
    assert seen.X.dtype == np.float32
    assert seen.X.has_sorted_indices
    assert readable == Readable(genes=0.75, counts=11 / 16, n_genes=2, ambiguous=[], merged=1)


def test_a_view_holds_the_batch_and_nothing_else():
    given = cells(symbol=list("abcd"))
    given.uns["x"], given.obsm["x"] = 1, np.zeros((2, 2))
    seen, _ = view(given, gene_ids=None, source_gene_ids="symbol")
    assert list(seen.obs.columns) == ["batch"]
    assert list(seen.var.columns) == []
    assert not any([seen.uns, seen.obsm, seen.layers, seen.raw])
    assert seen.obs_names.tolist() == ["c1", "c2"]
    with_label, _ = view(given, gene_ids=None, source_gene_ids="symbol", keep=("batch", "label", "absent"))
    assert list(with_label.obs.columns) == ["batch", "label"]


def test_without_a_namespace_everything_is_readable_and_copied():
    given = cells()
    seen, readable = view(given, gene_ids=None, source_gene_ids="symbol")
    assert (readable.genes, readable.counts, readable.n_genes) == (1.0, 1.0, 4)
    seen.X.data[:] = 0
    seen.obs["batch"] = "z"
    np.testing.assert_array_equal(given.X.toarray(), COUNTS)
    assert given.obs["batch"].tolist() == ["1", "2"]


def test_a_vocabulary_leaves_out_what_the_model_cannot_read():
    seen, readable = view(cells(), gene_ids="symbol", source_gene_ids="symbol", vocabulary=["SEPT1", "NOT-A-GENE"])
    assert seen.var_names.tolist() == ["SEPT1", "NOT-A-GENE"]
    np.testing.assert_array_equal(seen.X.toarray(), [[5, 4], [0, 1]])
    assert readable.merged == 1


def test_the_second_gene_column_of_the_file_is_trusted_before_the_table():
    given = cells(ensembl_id=["ENSG99", SEPTIN1, "ENSG98", "ENSG97"])
    seen, _ = view(given, gene_ids="ensembl", source_gene_ids="symbol")
    assert seen.var_names.tolist() == ["ENSG99", SEPTIN1, "ENSG98", "ENSG97"]
    seen, readable = view(given, gene_ids="ensembl", source_gene_ids="symbol", vocabulary={TP53, SEPTIN1, "ENSG97"})
    assert seen.var_names.tolist() == [TP53, SEPTIN1, "ENSG97"]
    assert readable.genes == 1.0


def test_ambiguous_genes_are_named():
    _, readable = view(cells(genes=("ACSM2", "TP53", "A1", "B1")), gene_ids="ensembl", source_gene_ids="symbol")
    assert "ACSM2" in readable.ambiguous


def test_a_model_that_reads_too_little_is_refused_with_a_hint():
    given = cells(genes=(TP53, SEPTIN1, "ENSG00000000001", "ENSG00000000002"))
    _, readable = view(given, gene_ids="symbol", source_gene_ids="symbol", vocabulary={"TP53"})
    with pytest.raises(InvalidInputError) as caught:
        require_readable(readable, model="m", dataset="d")
    assert caught.value.found == "it can read 0.0% of the genes with 0.0% of the counts"
    assert "declared as symbol but look like ensembl ids" in caught.value.remedy
    require_readable(Readable(genes=0.01, counts=0.10, n_genes=1), model="m", dataset="d")


def test_the_fingerprint_changes_with_every_part():
    given = cells()
    known = fingerprint(given)
    assert fingerprint(given.copy()) == known
    changed = [given.copy() for _ in range(5)]
    changed[0].X.data[0] += 1
    changed[1].obs_names = ["c1", "c3"]
    changed[2].var_names = ["TP53", "SEPT1", "SEPTIN1", "x"]
    changed[3].obs["label"] = ["A", "A"]
    changed[4].obs["label"] = ["A", None]
    found = {fingerprint(other) for other in (*changed, given[::-1].copy(), given[:, ::-1].copy())}
    assert len(found | {known}) == 8


def test_the_fingerprint_does_not_see_how_a_row_is_stored():
    given = cells()
    other = given.copy()
    other.X.indices[:4] = other.X.indices[:4][::-1]
    other.X.data[:4] = other.X.data[:4][::-1]
    other.X.has_sorted_indices = False
    assert fingerprint(other) == fingerprint(given)


def test_names_do_not_run_into_each_other():
    one, two = cells(genes=("ab", "c", "x", "y")), cells(genes=("a", "bc", "x", "y"))
    assert fingerprint(one) != fingerprint(two)

"""A user's file: from ``my.h5ad:label=…`` to canonical cells, and every way in which that can go wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.files import dataset_from_spec
from scfm_eval.errors import InvalidInputError

COUNTS = np.array([[1, 0, 2], [0, 3, 0], [4, 0, 5], [1, 1, 1], [2, 2, 2], [0, 0, 7]], dtype=np.float32)


def published():
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["T", "B", "Unknown", None, "", "nan"]),
            "donor": [1, 1, 2, 2, 3, 3],
            "guide": ["non-targeting", "KLF1", "KLF1+MYC", "MYC", "MYC", "non-targeting"],
        },
        index=[f"c{i}" for i in range(6)],
    )
    var = pd.DataFrame({"ensembl": ["ENSG01", "ENSG02", "ENSG03"]}, index=["TP53", "GAPDH", "CD4"])
    adata = AnnData(X=sp.csr_matrix(COUNTS), obs=obs, var=var)
    adata.layers["counts"] = sp.csr_matrix(COUNTS * 2)
    adata.raw = AnnData(X=sp.csr_matrix(COUNTS[:, :2] + 1), obs=obs, var=var.iloc[:2])
    adata.uns["secret"] = "label"
    adata.obsm["X_umap"] = np.zeros((6, 2))
    return adata


@pytest.fixture
def file(tmp_path):
    published().write_h5ad(tmp_path / "my.h5ad")
    return tmp_path / "my.h5ad"


def refusal(call):
    with pytest.raises(InvalidInputError) as caught:
        call()
    return caught.value


def test_a_file_becomes_canonical_cells(file):
    dataset = dataset_from_spec(f"{file}:label=cell_type,donor=donor")
    assert (dataset.name, dataset.keys, dataset.gene_ids) == ("my", ("label", "donor"), "symbol")
    cells = dataset.load()
    assert list(cells.obs.columns) == ["label", "donor"]
    assert cells.obs["label"].tolist()[:2] == ["T", "B"]
    assert cells.obs["label"].isna().sum() == 4
    assert cells.obs["label"].cat.categories.tolist() == ["B", "T"]
    assert cells.obs["donor"].cat.categories.tolist() == ["1", "2", "3"]
    assert isinstance(cells.X, sp.csr_matrix)
    np.testing.assert_array_equal(cells.X.toarray(), COUNTS)
    assert list(cells.var.columns) == ["ensembl_id"]
    assert not any([cells.uns, cells.obsm, cells.layers, cells.raw])


def test_a_file_without_options_has_no_keys(file):
    assert dataset_from_spec(str(file)).keys == ()
    assert dataset_from_spec(str(file)).load().obs.shape == (6, 0)


def test_counts_may_be_chosen_from_a_layer_or_raw(file):
    layer = dataset_from_spec(f"{file}:counts=layers/counts").load()
    np.testing.assert_array_equal(layer.X.toarray(), COUNTS * 2)
    raw = dataset_from_spec(f"{file}:counts=raw").load()
    np.testing.assert_array_equal(raw.X.toarray(), COUNTS[:, :2] + 1)
    assert raw.var_names.tolist() == ["TP53", "GAPDH"]


def test_controls_and_combinations(file):
    cells = dataset_from_spec(f"{file}:perturbation=guide,control=non-targeting").load()
    assert cells.obs["perturbation"].tolist() == ["control", "KLF1", "KLF1+MYC", "MYC", "MYC", "control"]
    error = refusal(dataset_from_spec(f"{file}:perturbation=guide").load)
    assert "control cells named 'control'" in error.asked
    assert "control=VALUE" in error.remedy


def test_a_wrong_kind_of_gene_ids_is_refused(file):
    error = refusal(dataset_from_spec(f"{file}:genes=ensembl").load)
    assert "0% of the genes have the form of an Ensembl id: TP53" in error.found


def test_a_missing_column_offers_the_nearest(file):
    error = refusal(lambda: dataset_from_spec(f"{file}:label=celltype"))
    assert error.found == "obs has no 'celltype'; nearest: cell_type"
    assert error.remedy == "name the column of obs that holds the label: label=COLUMN"
    assert (
        "var has no 'ensembl_id'; nearest: ensembl"
        in refusal(lambda: dataset_from_spec(f"{file}:genes=ensembl_id")).found
    )


@pytest.mark.parametrize("option", ["lable=cell_type", "label", "label=", "=x"])
def test_an_unknown_option_is_refused(file, option):
    error = refusal(lambda: dataset_from_spec(f"{file}:{option}"))
    assert "is not OPTION=VALUE of a known option" in error.found
    assert "label, batch, donor, perturbation" in error.remedy


def test_an_option_given_twice_is_refused(file):
    assert "occurs twice" in refusal(lambda: dataset_from_spec(f"{file}:label=donor,label=cell_type")).found


def test_counts_that_are_not_there(file):
    error = refusal(dataset_from_spec(f"{file}:counts=layers/count").load)
    assert error.found == "it has X, layers/counts, raw"


def test_an_absent_file_offers_the_nearest(file):
    assert "nearest in" in refusal(lambda: dataset_from_spec(str(file.with_name("mine.h5ad")))).found
    assert "my.h5ad" in refusal(lambda: dataset_from_spec(str(file.with_name("mine.h5ad")))).found
    assert "nearest" in refusal(lambda: dataset_from_spec("/nowhere/x.h5ad:label=a")).found


def test_a_truncated_file_and_another_kind_of_file(file, tmp_path):
    half = tmp_path / "half.h5ad"
    half.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    text = tmp_path / "text.h5ad"
    text.write_text("cells")
    broken = tmp_path / "broken.h5ad"
    # what h5py says of this is a RuntimeError
    broken.write_bytes(file.read_bytes().replace(b"SNOD", b"DONS"))
    for path in (half, text, broken):
        assert "truncated or no .h5ad file" in refusal(lambda path=path: dataset_from_spec(str(path))).remedy


def test_a_cell_without_a_batch_is_refused():
    adata = published()
    adata.obs["lane"] = ["1", "1", None, "2", "2", "2"]
    dataset = Dataset(name="x", build=lambda: adata, batch_key="lane")
    assert refusal(dataset.load).found == "1 cells have none in obs['lane']"


def test_loading_never_changes_what_was_given():
    adata = published()
    before = adata.copy()
    cells = Dataset(name="x", build=lambda: adata, label_key="cell_type", donor_key="donor").load()
    cells.X.data[:] = 0
    cells.obs["label"] = "x"
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())
    assert "X_umap" in adata.obsm


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_genes_that_occur_twice_in_a_file_are_refused(tmp_path):
    adata = published()
    adata.raw = None
    adata.var_names = ["TP53", "TP53", "CD4"]
    adata.write_h5ad(tmp_path / "twice.h5ad")
    assert (
        "gene names occur more than once: TP53" in refusal(dataset_from_spec(str(tmp_path / "twice.h5ad")).load).found
    )
    var = adata.var.assign(ensembl=["ENSG01", "ENSG02", "ENSG03"])
    AnnData(X=adata.X, obs=adata.obs, var=var.rename(columns={"ensembl": "ids"})).write_h5ad(tmp_path / "column.h5ad")
    dataset = dataset_from_spec(f"{tmp_path / 'column.h5ad'}:genes=ids")
    assert dataset.gene_ids == "ensembl"
    assert dataset.load().var_names.tolist() == ["ENSG01", "ENSG02", "ENSG03"]

"""The datasets that the suite knows by name."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scfm_eval.datasets import catalogue, published
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.pbmc68k import recovered_counts
from scfm_eval.errors import InvalidInputError

DECLARED = [found for found in vars(catalogue).values() if isinstance(found, Dataset)]


def test_every_declaration_is_called_by_its_name_and_has_a_source():
    for dataset in DECLARED:
        assert getattr(catalogue, dataset.name) is dataset
        assert dataset.build or dataset.remote or dataset.page
        assert dataset.citation or dataset.organism == "simulated"
        assert dataset.keys
    assert len(DECLARED) == 26


@pytest.mark.parametrize("dataset", [d for d in DECLARED if not d.build], ids=lambda d: d.name)
def test_what_is_not_here_is_refused_offline(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("SCFM_EVAL_DATA", raising=False)
    with pytest.raises(InvalidInputError) as caught:
        dataset.load(offline=True)
    assert caught.value.remedy


def test_importing_the_catalogue_stays_light():
    script = "import sys, scfm_eval.datasets.catalogue; print({'torch', 'scanpy', 'pooch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_the_embedded_dataset_has_exact_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_DATA", str(tmp_path))
    cells = catalogue.pbmc68k_reduced.load(offline=True)
    assert cells.shape == (700, 765)
    assert len(cells.obs["label"].cat.categories) == 10
    assert cells.X.data.min() == 1
    np.testing.assert_array_equal(cells.X.data, np.rint(cells.X.data))


def test_the_embedded_counts_give_the_stored_values_back(tmp_path, monkeypatch):
    import scanpy

    monkeypatch.setenv("SCFM_EVAL_DATA", str(tmp_path))
    stored = scanpy.datasets.pbmc68k_reduced()
    counts = catalogue.pbmc68k_reduced.load().X.toarray()
    again = np.log1p(counts / stored.obs["n_counts"].to_numpy()[:, None] * 1e4)
    assert np.abs(again - stored.raw.X.toarray()).max() < 5.1e-4


def test_values_that_no_counts_lie_behind_are_refused():
    logged = sp.csr_matrix(np.log1p(np.array([[1.0, 2.5], [1.0, 3.0]])))
    with pytest.raises(InvalidInputError, match="integers miss the stored values"):
        recovered_counts(logged, totals=np.array([1e4, 1e4]))


@pytest.mark.parametrize(
    ("name", "shape", "groups", "unlabelled"),
    [
        ("pbmc3k", (2700, 32738), {"label": 8, "ontology": 8}, 62),
        ("hao_pbmc", (1336, 11180), {"label": 11, "batch": 13, "ontology": 11}, 0),
        ("pancreas", (3274, 33053), {"label": 9, "batch": 4, "donor": 20, "age": 15, "ontology": 9}, 0),
        ("heart", (1000, 32583), {"label": 9, "donor": 1, "ontology": 9}, 0),
        ("perturbseq_norman_mcfaline", (5959, 500), {"perturbation": 34, "context": 4, "effect": 2}, 0),
        ("sorted_blood", (1000, 13991), {"label": 10, "ontology": 10}, 0),
        ("breast_tumour", (1564, 16880), {"label": 9, "ontology": 5}, 0),
        ("mixology", (1021, 11533), {"label": 5, "batch": 5}, 0),
    ],
)
def test_real_datasets_load(real_data, monkeypatch, name, shape, groups, unlabelled):
    if not (real_data / f"{name}.h5ad").is_file():
        pytest.skip(f"no {name}.h5ad in {real_data}")
    monkeypatch.setenv("SCFM_EVAL_DATA", str(real_data))
    dataset = getattr(catalogue, name)
    cells = dataset.load(offline=True)
    assert cells.shape == shape
    assert {key: len(cells.obs[key].cat.categories) for key in cells.obs} == groups
    assert tuple(groups) == dataset.keys
    assert ("label" in cells.obs and int(cells.obs["label"].isna().sum())) == unlabelled


def cells(obs, X=None):
    X = np.ones((len(next(iter(obs.values()))), 2)) if X is None else X
    return AnnData(X=sp.csr_matrix(X.astype(np.float32)), obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(len(X))]))


def write(adata, path):
    adata.write_h5ad(path)
    return path


def test_pbmc3k_is_labelled_by_barcode(tmp_path):
    raw = write(cells({"x": [1, 2, 3]}), tmp_path / "raw.h5ad")
    clustered = cells({"louvain": ["B", "T"]})
    clustered.obs_names = ["c2", "c0"]
    labelled = published.pbmc3k_with_labels([raw, write(clustered, tmp_path / "p.h5ad")])
    assert labelled.obs["cell_type"].astype(object).where(labelled.obs["cell_type"].notna(), None).tolist() == [
        "T",
        None,
        "B",
    ]


def test_scib_files(tmp_path):
    adata = cells({"batch": ["10X", "Villani", "10X"]})
    adata.layers["counts"] = sp.csr_matrix(np.array([[1.0019, 0.2], [0.3, 0.4], [2.6, 0]], dtype=np.float32))
    path = write(adata, tmp_path / "scib.h5ad")
    rounded = published.scib_pancreas_rounded([path])
    assert rounded.obs_names.tolist() == ["c0", "c2"]
    assert rounded.layers["counts"].toarray().tolist() == [[1, 0], [3, 0]]
    assert published.immune_human_without_villani([path]).obs_names.tolist() == ["c0", "c2"]


def test_scperturb_files(tmp_path):
    path = write(cells({"perturbation": ["control", "KLF1_MYC", "KLF1"]}), tmp_path / "n.h5ad")
    assert published.scperturb_combinations([path]).obs["perturbation"].tolist() == ["control", "KLF1+MYC", "KLF1"]
    guides = ["63(mod)_pBA580", "DDIT3_pDS263", "*", "Gal4-4(mod)_pBA582", None]
    path = write(cells({"perturbation": pd.Categorical(guides)}), tmp_path / "a.h5ad")
    assert published.adamson_guides([path]).obs["perturbation"].tolist() == ["control", "DDIT3", "control"]


def test_a_zipped_file_is_unpacked_once(tmp_path):
    inner = write(cells({"x": [1, 2]}), tmp_path / "TS_Lung.h5ad")
    packed = tmp_path / "cache" / "TS_Lung.h5ad.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(inner, "folder/TS_Lung.h5ad")
    assert published.first_in_zip([packed]).shape == (2, 2)
    packed.unlink()
    assert published.first_in_zip([packed]).shape == (2, 2)

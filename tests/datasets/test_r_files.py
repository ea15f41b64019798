"""Published files of R and of tables: hand-made ones through the functions that read them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfm_eval.datasets import published
from scfm_eval.datasets.r_files import r_matrix, r_object
from scfm_eval.errors import InvalidInputError

COUNTS = np.array([[1, 0, 2], [0, 0, 3], [4, 0, 0], [0, 0, 5]])  # cells × genes; no cell has the second gene


def stored(dense, names=None):
    columns = sp.csc_matrix(dense.astype(np.float64))
    return SimpleNamespace(
        x=columns.data, i=columns.indices, p=columns.indptr, Dim=np.array(dense.shape), Dimnames=[names, None]
    )


def test_a_matrix_of_r_keeps_its_shape_and_values():
    found = r_matrix(stored(COUNTS))
    np.testing.assert_array_equal(found.toarray(), COUNTS)
    assert found.dtype == np.float32


def test_an_rdata_file_gives_its_one_object_in_silence(tmp_path, recwarn):
    rdata = pytest.importorskip("rdata")
    table = pd.DataFrame({"celltype": pd.Categorical(["B", "T", "B"])})
    rdata.write_rda(tmp_path / "study.RData", {"study": {"samples": table, "x": np.array([1.0, 2.0])}})
    found = r_object(tmp_path / "study.RData")
    assert found["samples"]["celltype"].tolist() == ["B", "T", "B"]
    assert found["x"].tolist() == [1, 2]
    assert not recwarn


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdata", None)
    with pytest.raises(InvalidInputError, match=r'pip install "scfm-eval\[rdata\]"'):
        r_object(tmp_path / "study.RData")


def test_a_draw_of_sorted_cells_keeps_their_order_and_labels(tmp_path, monkeypatch):
    study = {
        "counts": stored(COUNTS, names=np.array(["c0", "c1", "c2", "c3"])),
        "samples": pd.DataFrame({"celltype": pd.Categorical(["B", "T", "NK", "B"])}, index=["1", "2", "5", "9"]),
        "genes": pd.DataFrame({"ensembl": ["E0", "E1", "E2"], "symbol": ["A", "B", "C"]}, dtype="string"),
    }
    monkeypatch.setattr(published, "r_object", lambda _: study)
    monkeypatch.setattr(published, "_SORTED_CELLS", 1)
    cells = published.sorted_blood_draw([tmp_path])
    rng = np.random.default_rng(0)
    drawn = sorted(int(rng.choice(some, 1)[0]) for some in ([0, 3], [2], [1]))
    assert len(drawn) == 3
    assert cells.obs_names.tolist() == [f"c{cell}" for cell in drawn]
    assert cells.obs["cell_type"].tolist() == [["B", "T", "NK", "B"][cell] for cell in drawn]
    assert cells.var["symbol"].to_dict() == {"E0": "A", "E2": "C"}
    np.testing.assert_array_equal(cells.X.toarray(), COUNTS[drawn][:, [0, 2]])


def test_a_single_cell_experiment_is_turned_to_cells_by_genes(tmp_path, monkeypatch):
    experiment = SimpleNamespace(
        assays=SimpleNamespace(data=SimpleNamespace(listData={"counts": stored(COUNTS.T)})),
        colData=SimpleNamespace(
            rownames=np.array(["c0", "c1", "c2", "c3"]), listData={"celltype_major": np.array(["B", "T", "B", "T"])}
        ),
        rowRanges=SimpleNamespace(elementMetadata=SimpleNamespace(listData={"ID": np.array(["A", "B", "C"])})),
    )
    monkeypatch.setattr(published, "r_object", lambda _: experiment)
    cells = published.tumour_with_major_types([tmp_path])
    assert cells.obs["cell_type"].to_dict() == {"c0": "B", "c1": "T", "c2": "B", "c3": "T"}
    assert cells.var_names.tolist() == ["A", "C"]
    np.testing.assert_array_equal(cells.X.toarray(), COUNTS[:, [0, 2]])


def tables(folder, batch, counts, called):
    paths = [folder / f"sc_{batch}.count.csv.gz", folder / f"sc_{batch}.metadata.csv.gz"]
    pd.DataFrame(counts, index=list(called)).T.to_csv(paths[0])
    about = pd.DataFrame(called, index=["cell_line_demuxlet", "demuxlet_cls"]).T
    about.iloc[::-1].to_csv(paths[1])
    return paths


def test_singlets_over_the_genes_that_all_tables_list(tmp_path):
    first = tables(
        tmp_path,
        "p1",
        {"ENSG1": [1, 2, 3], "ENSG2": [0, 9, 0], "ERCC-1": [7, 7, 7], "ENSG3": [4, 5, 6]},
        {"w1": ("A549", "SNG"), "w2": ("A549", "DBL"), "w3": ("H838", "SNG")},
    )
    second = tables(
        tmp_path, "drop", {"ENSG3": [8], "ERCC-1": [1], "ENSG2": [0], "ENSG1": [0]}, {"w1": ("H838", "SNG")}
    )
    cells = published.demuxlet_singlets([*first, *second])
    assert cells.obs_names.tolist() == ["p1:w1", "p1:w3", "drop:w1"]
    assert cells.obs["cell_type"].tolist() == ["A549", "H838", "H838"]
    assert cells.obs["batch"].tolist() == ["p1", "p1", "drop"]
    assert cells.var_names.tolist() == ["ENSG1", "ENSG3"]
    np.testing.assert_array_equal(cells.X.toarray(), [[1, 4], [3, 6], [0, 8]])

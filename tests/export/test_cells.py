"""Annotated cells: every embedding under its cell's name, what is missing named, other cells refused."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

from scfm_eval.answers import OF_A_PART
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.errors import InvalidInputError
from scfm_eval.export.cells import annotated, datasets_of, write_cells
from scfm_eval.store import Store, key_of
from scfm_eval.tasks.predictions import prediction_details
from tests.export.made import report, result
from tests.toys import toy_cells

DATASET = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
SHA256 = Cells(DATASET, DATASET.load()).sha256
KEY = key_of(of="a test")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def keep(store, rows, key=KEY):
    store.get(key, lambda: ([np.asarray(rows, dtype=np.float32)], {"seconds": {}}))


def of_toy(model="mine", **known):
    return result(model, dataset="toy", sha256=SHA256, **known)


def told(said, *, tested=None):
    tested = np.ones(90, dtype=bool) if tested is None else tested
    return prediction_details(said, said, classes=np.array(["a", "b", "c"]), tested=tested)


def test_embeddings_and_predictions_lie_beside_their_cells(store, tmp_path):
    embedding = np.arange(180).reshape(90, 2)
    keep(store, embedding)
    tested = np.arange(90) < 60
    said = np.array(["c", "a"])[np.arange(60) % 2]
    details = told(said, tested=tested)
    results = (
        of_toy("org/mine", arrays={"embed": KEY}, details=details),
        of_toy("org/mine", task="annotation_finetuned", arrays={"fine_tune": KEY}, details=details),
        result("elsewhere", dataset="other"),
    )
    made, missing = annotated(report(*results), DATASET, store=store)
    assert missing == []
    back = anndata.read_h5ad(write_cells(made, tmp_path / "new" / "cells.h5ad"))
    assert back.obs_names.tolist() == toy_cells().obs_names.tolist()
    np.testing.assert_array_equal(back.obsm["org_mine"], embedding)
    assert back.obs["org_mine predicted"].tolist()[:60] == said.tolist()
    assert back.obs["org_mine predicted"].isna().sum() == 30
    assert "org_mine annotation_finetuned predicted" in back.obs
    assert {"label", "batch"} <= set(back.obs)
    assert (back.X != toy_cells().X).nnz == 0
    assert back.uns["scfm_eval"]["missing"] == ""


def test_an_embedding_of_all_cells_is_found_in_whichever_result_has_it(store):
    keep(store, np.ones((90, 2)))
    part = of_toy(arrays={f"embed{OF_A_PART}": key_of(of="a fold")})
    made, missing = annotated(report(part, of_toy(task="clustering", arrays={"embed": KEY})), DATASET, store=store)
    assert missing == []
    assert list(made.obsm) == ["mine"]


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"embed": KEY}, "is not in the store"),
        ({"embed": "../../etc/passwd"}, "is not in the store"),
        ({"embed": key_of(of="short")}, "3 rows for 90 cells"),
        ({f"embed{OF_A_PART}": KEY}, "learned from training cells"),
        ({}, "does not say where it lies"),
    ],
)
def test_what_is_missing_is_named(store, arrays, why):
    keep(store, np.ones((3, 2)), key=key_of(of="short"))
    made, missing = annotated(report(of_toy(arrays=arrays)), DATASET, store=store)
    assert len(missing) == 1
    assert "mine" in missing[0]
    assert why in missing[0]
    assert made.uns["scfm_eval"]["missing"] == missing[0]
    assert not made.obsm


def test_predictions_that_are_missing_or_of_another_number_of_cells_are_named(store):
    keep(store, np.ones((90, 2)))
    short = told(np.array(["a", "b"]), tested=np.array([True, True, False]))
    old = {"classes": ["a"], "confusion_matrix": [[1]]}
    results = [of_toy(name, arrays={"embed": KEY}, details=details) for name, details in (("x", short), ("y", old))]
    made, missing = annotated(report(*results), DATASET, store=store)
    assert missing == [
        "the predictions of x: they are of 3 cells, not of 90",
        "the predictions of y: the report does not have them",
    ]
    assert sorted(made.obsm) == ["x", "y"]


def test_other_cells_than_those_measured_are_refused(store):
    with pytest.raises(InvalidInputError, match="than those that were measured"):
        annotated(report(result(dataset="toy", sha256="f" * 64)), DATASET, store=store)
    with pytest.raises(InvalidInputError, match="the report has other"):
        annotated(report(result(dataset="other", arrays={"embed": KEY})), DATASET, store=store)


def test_two_names_that_become_one_are_refused(store):
    keep(store, np.ones((90, 2)))
    results = [of_toy(name, arrays={"embed": KEY}) for name in ("a/b", "a_b")]
    with pytest.raises(InvalidInputError, match="rename one"):
        annotated(report(*results), DATASET, store=store)


def test_the_datasets_are_those_with_something_to_export():
    made = report(result(dataset="a"), result(dataset="b", arrays={"embed": KEY}), result(dataset="b"))
    assert datasets_of(made) == ["b"]


def test_what_was_measured_is_what_is_exported(store):
    from scfm_eval.baselines.pca import PCA
    from scfm_eval.device import Resident
    from scfm_eval.evaluate import evaluate
    from scfm_eval.tasks.integration import BatchIntegration

    cells = Cells(DATASET, DATASET.load())
    resident = Resident(device="cpu", precision="float32", offline=True)
    measured = evaluate(BatchIntegration(), PCA, cells, store=store, resident=resident)
    before = cells.sha256
    made, missing = annotated(report(measured), DATASET, store=store)
    assert missing == []
    assert made.obsm["pca"].shape[0] == 90
    np.testing.assert_array_equal(made.obsm["pca"], store.find(measured.arrays["embed"]).arrays[0])
    assert Cells(DATASET, DATASET.load()).sha256 == before

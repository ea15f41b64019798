"""Keys that cannot carry a task are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scfm_eval.datasets.keys import check_keys
from scfm_eval.errors import InvalidInputError


def cells(**columns):
    obs = pd.DataFrame({key: pd.Categorical(values) for key, values in columns.items()}, index=list("abcd"))
    return AnnData(X=np.ones((4, 1), dtype=np.float32), obs=obs)


def found(adata, *keys):
    with pytest.raises(InvalidInputError) as caught:
        check_keys(adata, keys=keys, dataset="x")
    return caught.value.found


def test_two_labels_of_two_cells_pass():
    check_keys(cells(label=list("AABB"), batch=list("1112")), keys=("label", "batch"), dataset="x")


def test_one_label_only():
    assert found(cells(label=["A", "A", None, None]), "label") == "one label only: A"


def test_no_label_at_all():
    assert found(cells(label=[None] * 4), "label") == "no cell has a label"


def test_one_batch_only():
    assert found(cells(label=list("AABB"), batch=list("1111")), "label", "batch") == "one batch only: 1"


def test_a_label_with_one_cell_is_named_but_a_batch_with_one_cell_passes():
    assert found(cells(label=list("AAAB")), "label") == "1 labels with one cell: B"
    check_keys(cells(batch=list("1112")), keys=("batch",), dataset="x")


def test_a_category_without_cells_does_not_count():
    adata = cells(label=list("AABB"))[:2].copy()
    adata.obs["label"] = adata.obs["label"].cat.set_categories(["A", "B"])
    assert found(adata, "label") == "one label only: A"


def test_a_missing_key_says_what_there_is():
    assert found(cells(label=list("AABB")), "donor") == "it has label"

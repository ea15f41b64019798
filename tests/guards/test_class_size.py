"""Class size: labels with one cell are refused, labels with few are named with their sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval import guards
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.keys import check_keys, tell_small_labels
from tests.guards.judged import judged
from tests.toys import toy_cells


def labelled(labels):
    obs = pd.DataFrame({"label": pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))])
    return AnnData(np.ones((len(obs), 1), dtype=np.float32), obs=obs)


def told(cells):
    with guards.listening() as findings:
        tell_small_labels(cells, dataset="x")
    return [finding.found for finding in findings]


def lonely_toy(n=1):
    cells = toy_cells()
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str)
    cells.obs.iloc[:n, 0] = "rare"
    return cells


def test_one_cell_is_refused_and_the_run_goes_on_without_the_guard(tmp_path):
    dataset = Dataset(name="toy", build=lonely_toy, label_key="cell_type", organism="simulated")
    with pytest.raises(guards.GuardError, match="1 labels with one cell: rare"):
        judged(Cells(dataset, dataset.load()), tmp_path)
    with guards.without(["class_size"]):
        result = judged(Cells(dataset, dataset.load()), tmp_path)
    assert result["accuracy"] > 0.5
    assert result.dataset.findings == []


def test_few_cells_are_told_with_name_and_size(tmp_path):
    dataset = Dataset(name="toy", build=lambda: lonely_toy(9), label_key="cell_type", organism="simulated")
    result = judged(Cells(dataset, dataset.load()), tmp_path)
    (finding,) = result.dataset.findings
    assert (finding.guard, finding.found) == ("class_size", "1 labels with fewer: rare (9)")


def test_ten_cells_are_enough_and_the_smallest_are_named_first():
    assert told(labelled(["A"] * 10 + ["B"] * 20)) == []
    few = [name for n, name in enumerate("ABCDEFG", start=2) for _ in range(n)]
    assert told(labelled(few)) == ["7 labels with fewer: A (2), B (3), C (4), D (5), E (6) and 2 more"]


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(2, 14), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_the_order_of_cells_is_no_matter(sizes, seed):
    labels = np.repeat([f"t{i}" for i in range(len(sizes))], sizes)
    assert told(labelled(labels)) == told(labelled(np.random.default_rng(seed).permutation(labels)))
    assert bool(told(labelled(labels))) == (min(sizes) < 10)


def test_of_sound_datasets_only_true_sizes_are_told(sound):
    if "label" not in sound.adata.obs:
        assert told(sound.adata) == []
        return
    check_keys(sound.adata, keys=("label",), dataset=sound.dataset.name)
    sizes = sound.adata.obs["label"].value_counts()
    assert bool(told(sound.adata)) == bool((sizes < 10).any())
    for name, size in sizes[sizes < 10].head(3).items():
        assert f"{name} ({size})" in told(sound.adata)[0]

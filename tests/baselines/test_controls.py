from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from scfm_eval.baselines.controls import Oracle, Random, normal_by_id


def test_random_numbers_are_standard_normal_and_independent():
    drawn = normal_by_id([f"c{i}" for i in range(2000)], seed=0, width=50)
    assert kstest(drawn.ravel(), "norm").pvalue > 1e-3
    off_diagonal = np.corrcoef(drawn.T)[~np.eye(50, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.12


def test_random_depends_on_id_and_seed_only(cells):
    here, there = Random(seed=0), Random(seed=1)
    np.testing.assert_array_equal(here.embed(cells[5:9]), here.embed(cells)[5:9])
    assert not np.allclose(here.embed(cells), there.embed(cells))
    assert len(np.unique(here.embed(cells), axis=0)) == cells.n_obs


def test_a_hundred_thousand_cells_take_seconds():
    start = time.perf_counter()
    normal_by_id([str(i) for i in range(100_000)], seed=0, width=50)
    assert time.perf_counter() - start < 10


def test_oracle_is_perfect_and_mixes_batches_inside_a_type(cells, labels):
    cells.obs["label"] = labels
    embedding = Oracle().embed(cells)
    train, test = slice(0, 150), slice(150, None)
    assert LogisticRegression().fit(embedding[train], labels[train]).score(embedding[test], labels[test]) == 1.0
    near = NearestNeighbors(n_neighbors=16).fit(embedding).kneighbors(embedding, return_distance=False)[:, 1:]
    batch = cells.obs["batch"].to_numpy()
    assert (labels[near] == labels[:, None]).all()
    assert np.mean(batch[near] == batch[:, None]) == pytest.approx(0.5, abs=0.05)


def test_oracle_gives_cells_without_label_no_code(cells, labels):
    missing = labels.astype(object)
    missing[:10] = np.nan
    cells.obs["label"] = missing
    lengths = np.linalg.norm(Oracle().embed(cells), axis=1)
    assert lengths[:10].max() < 0.2
    assert lengths[10:].min() > 0.7


def test_oracle_code_does_not_depend_on_other_labels(cells, labels):
    cells.obs["label"] = labels
    cells.obs["label"] = cells.obs["label"].astype("category")
    only = np.flatnonzero(labels == "T")
    np.testing.assert_array_equal(Oracle().embed(cells[only]), Oracle().embed(cells)[only])

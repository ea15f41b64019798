from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import scvi
import torch
from sklearn.linear_model import LogisticRegression

from scfm_eval.baselines.scvi import SCANVI, SCVI, held_out
from scfm_eval.errors import InvalidInputError


@pytest.fixture(scope="module")
def max_epochs():
    return 60


def probe(X, y, *, train, test):
    scale = X[train].std(axis=0)
    return LogisticRegression(max_iter=500).fit(X[train] / scale, y[train]).score(X[test] / scale, y[test])


def test_separates_types_of_unseen_cells(cells, labels, max_epochs):
    model = SCVI(max_epochs=max_epochs)
    model.fit(cells[:150])
    assert probe(model.embed(cells), labels, train=slice(0, 150), test=slice(150, None)) > 0.8


def test_scanvi_learns_from_labels_and_embeds_without_them(cells, labels, max_epochs):
    model = SCANVI(max_epochs=max_epochs)
    model.fit_with_labels(cells[:150], labels=labels[:150])
    assert probe(model.embed(cells), labels, train=slice(0, 150), test=slice(150, None)) > 0.8
    assert not hasattr(model, "fit")


def test_unseen_and_missing_batches_do_not_matter(cells):
    model = SCVI(max_epochs=2)
    model.fit(cells)
    expected = model.embed(cells)
    cells.obs["batch"] = "three"
    np.testing.assert_array_equal(model.embed(cells), expected)
    del cells.obs["batch"]
    np.testing.assert_array_equal(model.embed(cells), expected)


def test_works_without_batches(cells):
    del cells.obs["batch"]
    model = SCVI(max_epochs=2)
    model.fit(cells)
    assert np.isfinite(model.embed(cells)).all()


def test_cells_without_counts_in_the_chosen_genes_stay_finite(cells):
    X = cells.X.toarray()
    X[:20] = 0
    cells.X = type(cells.X)(X)
    model = SCVI(max_epochs=3)
    model.fit(cells)
    assert np.isfinite(model.embed(cells)).all()


def test_another_seed_another_embedding(cells):
    one, two = SCVI(seed=0, max_epochs=2), SCVI(seed=1, max_epochs=2)
    one.fit(cells)
    two.fit(cells)
    assert not np.allclose(one.embed(cells), two.embed(cells))


def test_says_nothing_and_leaves_nothing_behind(cells, capfd, tmp_path, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("lightning.pytorch").level
    model = SCVI(max_epochs=25)
    model.fit(cells)
    model.embed(cells)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not os.listdir(tmp_path)
    assert logging.getLogger("lightning.pytorch").level == level


@pytest.mark.parametrize("n_cells", [2, 9, 143, 144, 1000, 1281])
def test_held_out_cells_are_a_tenth_and_no_minibatch_has_one_cell(n_cells):
    train, held = held_out(n_cells, seed=0)
    assert sorted([*train, *held]) == list(range(n_cells))
    assert abs(len(held) - n_cells / 10) <= 1.1
    assert len(train) % 128 != 1 or len(train) == 1


def test_trains_on_one_thread_whatever_choosing_genes_did_and_sets_it_back(cells, monkeypatch):
    def chosen(view):
        torch.set_num_threads(2)
        return np.ones(view.n_vars, dtype=bool)

    seen = []
    monkeypatch.setattr("scfm_eval.baselines.scvi.highly_variable", chosen)
    monkeypatch.setattr(scvi.model.SCVI, "train", lambda *_, **__: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        SCVI().fit(cells)
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_too_few_cells_or_labels_are_refused(cells, labels):
    with pytest.raises(InvalidInputError, match="1 cells"):
        SCVI().fit(cells[:1])
    with pytest.raises(InvalidInputError, match="2 labels for 5 cells"):
        SCANVI().fit_with_labels(cells[:5], labels=labels[:2])


def test_an_interrupt_in_training_stays_one(monkeypatch, cells):
    def interrupted(*_, **__):
        raise SystemExit(1)

    monkeypatch.setattr(scvi.model.SCVI, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SCVI(max_epochs=1).fit(cells)

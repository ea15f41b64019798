"""Annotation: the oracle reaches the best, noise lands on chance, donors stay on one side, rare classes count."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.tasks import probes
from scfm_eval.tasks.annotation import Annotation
from tests.tasks.given import Given, cells_with, sides

RNG = np.random.default_rng(0)


def labelled(n_cells, **keys):
    return cells_with(**({"label": np.array(["a", "b", "c"])[np.arange(n_cells) % 3]} | keys))


def one_hot(cells):
    codes = cells.obs["label"].cat.codes.to_numpy()
    return np.eye(codes.max() + 1, dtype=np.float32)[codes]


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    quick = {"": probes.logistic_regression, "knn_": probes.nearest_neighbors}
    monkeypatch.setattr("scfm_eval.tasks.annotation._PROBES", quick)


def score(cells, embedding, **known):
    return Annotation(**known).score(Given(embedding), cells, seeds=[0])


def test_labels_themselves_reach_the_best():
    cells = labelled(90)
    scores = score(cells, one_hot(cells)).scores
    assert scores["macro_f1"].value == scores["accuracy"].value == scores["knn_macro_f1"].value == 1.0
    assert scores["log_loss"].value < 0.05


def test_noise_lands_on_chance():
    cells = labelled(300)
    found = score(cells, RNG.normal(size=(300, 5)).astype(np.float32)).scores
    for name in ("macro_f1", "accuracy", "knn_macro_f1"):
        assert found[name].chance == pytest.approx(1 / 3, abs=0.06)
        assert found[name].low <= found[name].chance + 0.02
        assert found[name].value == pytest.approx(1 / 3, abs=0.1)


def test_donors_are_split_and_drawn_whole():
    donors = np.repeat([f"d{i}" for i in range(10)], 12)
    cells = labelled(120, donor=donors)
    shifted = one_hot(cells) + RNG.normal(scale=1.0, size=(10, 3)).repeat(12, axis=0)
    found = score(cells, shifted.astype(np.float32))
    assert found.details["split"]["unit"] == "donor"
    by_cell = score(labelled(120), shifted.astype(np.float32))
    assert by_cell.details["split"]["unit"] == "cell"
    width = {name: s.scores["accuracy"].high - s.scores["accuracy"].low for name, s in (("d", found), ("c", by_cell))}
    assert width["d"] != width["c"]


def test_a_class_without_training_cells_counts_as_zero_and_is_named():
    donors = np.repeat(["d0", "d1", "d2", "d3"], 15)
    labels = np.tile(np.array(["a", "b", "b"], dtype="U10"), 20)
    labels[:3] = "only in d0"
    cells = labelled(60, donor=donors, label=labels)
    found = score(cells, one_hot(cells), n_folds=4)
    assert found.details["per_class"]["only in d0"]["f1"] == 0.0
    assert any("only in d0 has no training cell" in note for note in found.notes)
    assert found.scores["macro_f1"].value < 0.75


def test_unlabelled_cells_are_left_out():
    cells = labelled(90)
    cells.obs.loc[cells.obs_names[:30], "label"] = np.nan
    embedding = one_hot(labelled(90))
    embedding[:30] = 7.0
    found = score(cells, embedding)
    assert np.sum(found.details["confusion_matrix"]) == 60
    assert found.scores["accuracy"].value == 1.0


def test_the_probe_is_standardised_on_training_cells():
    X = RNG.normal(size=(60, 4))
    y = np.where(X[:, 0] > 0, "p", "n")
    classes, plain = probes.logistic_regression(*sides(X, y, n_train=40), seed=0)
    _, scaled = probes.logistic_regression(*sides(X * [1e3, 1, 1e-3, 1] + 5, y, n_train=40), seed=0)
    assert list(classes) == ["n", "p"]
    np.testing.assert_allclose(plain.values, scaled.values, atol=1e-3)


def test_an_outlying_test_cell_changes_no_other_prediction():
    X = RNG.normal(size=(60, 4))
    y = np.where(X[:, 0] > 0, "p", "n")
    _, clean = probes.logistic_regression(*sides(X, y, n_train=40), seed=0)
    poisoned = X.copy()
    poisoned[40] = 1e6
    _, found = probes.logistic_regression(*sides(poisoned, y, n_train=40), seed=0)
    np.testing.assert_array_equal(clean.values[1:], found.values[1:])


@pytest.mark.parametrize("probe", [probes.logistic_regression, probes.nearest_neighbors, probes.boosted_trees])
def test_probes_give_probabilities_over_the_classes_they_saw(probe):
    X = RNG.normal(size=(30, 4))
    classes, found = probe(*sides(X, np.repeat(["x", "y", "z"], 10), n_train=20), seed=0)
    assert list(classes) == ["x", "y"]
    assert found.values.shape == (10, 2)
    np.testing.assert_allclose(found.values.sum(axis=1), 1, rtol=1e-5)

"""Few-shot annotation: more known cells help, the same cells for every model, no label beyond the k that are known."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.fits import Rows
from scfm_eval.tasks import probes, small_probes
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.draws import ranks_in_class
from scfm_eval.tasks.few_shot import SHOTS, FewShot
from tests.tasks.given import Given, blobs, cells_with, sides

RNG = np.random.default_rng(0)
LABELS = np.array(["a", "b", "c"])[np.arange(270) % 3]


def score(labels, embedding, *, seeds=(0,), n_draws=2):
    return FewShot(n_draws=n_draws).score(Given(embedding), cells_with(label=labels), seeds=list(seeds))


@pytest.fixture(scope="module")
def noisy():
    return score(LABELS, blobs(LABELS, noise=0.5), n_draws=5)


def test_labels_themselves_are_read_from_one_cell():
    found = score(LABELS, blobs(LABELS, noise=0.01, width=3)).scores
    assert all(record.value == 1 for record in found.values())
    assert set(FewShot.headline) <= set(found)


def test_noise_lands_on_chance():
    found = score(LABELS, RNG.normal(size=(270, 6))).scores
    for name, record in found.items():
        assert record.value == pytest.approx(record.chance, abs=0.06), name
        assert record.chance == pytest.approx(1 / 3, abs=0.05)


def test_more_known_cells_help(noisy):
    for prefix in ("", "centroid_"):
        values = [noisy.scores[f"{prefix}macro_f1_{k}"].value for k in SHOTS]
        assert values[0] < values[1] < values[2] + 0.02
        assert values[3] > values[0] + 0.1
    assert [len(draws) for draws in noisy.details["curve"]["macro_f1"].values()] == [5] * 4


def test_the_value_is_the_mean_over_draws_and_lies_in_its_interval(noisy):
    for k in SHOTS:
        record = noisy.scores[f"macro_f1_{k}"]
        assert record.value == pytest.approx(np.mean(noisy.details["curve"]["macro_f1"][str(k)]))
        assert record.low < record.value < record.high


def test_a_small_class_gives_all_it_has_and_is_named():
    labels = np.array(["a"] * 100 + ["b"] * 100 + ["few"] * 10)
    found = score(labels, blobs(labels, noise=0.1))
    assert found.scores["macro_f1_50"].value > 0.95
    assert found.notes == ["classes with fewer than 50 training cells: few 8"]


def test_more_cells_than_any_class_has_is_undefined():
    found = score(LABELS[:60], blobs(LABELS[:60], noise=0.1)).scores
    assert found["macro_f1_10"].value is not None
    assert found["macro_f1_50"].value is None
    assert found["macro_f1_50"].reason == "no class has 50 training cells; the largest has 16"


def test_what_learns_here_is_shown_the_folds_of_the_annotation_task(monkeypatch):
    monkeypatch.setattr("scfm_eval.tasks.annotation._PROBES", {"": probes.nearest_neighbors})
    labels = LABELS.astype(object)
    labels[:20] = None
    cells, X = cells_with(label=labels), blobs(LABELS, noise=0.1)
    few, many = Given(X), Given(X)
    FewShot(n_draws=1).score(few, cells, seeds=[3])
    Annotation().score(many, cells, seeds=[3])
    assert len(few.trained_on) == 5
    assert few.seeds == many.seeds == [3] * 5
    for mine, theirs in zip(few.trained_on, many.trained_on, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert not mine[:20].any()


def test_smaller_draws_are_part_of_larger_ones_and_never_of_the_test_fold():
    train = np.arange(270) >= 54
    rank = ranks_in_class(LABELS, train, rng=np.random.default_rng(0))
    assert (rank[~train] == -1).all()
    for name in "abc":
        assert sorted(rank[train & (name == LABELS)]) == list(range(72))
    other = ranks_in_class(LABELS, train, rng=np.random.default_rng(1))
    assert (rank != other).any()


def test_labels_of_cells_that_are_not_known_change_nothing():
    """With other labels on the cells that no draw takes, every prediction stays."""
    X = blobs(LABELS, noise=0.5)
    rank = ranks_in_class(LABELS, np.arange(270) >= 54, rng=np.random.default_rng(0))
    few = (rank >= 0) & (rank < 5)
    scaled = small_probes.standardised(Rows(X, np.arange(270), labels=LABELS), by=np.arange(270) >= 54)
    one = small_probes.logistic_regression(scaled[few], scaled[:54])
    shuffled = scaled.labelled(np.where(few, LABELS, RNG.permutation(LABELS)))
    two = small_probes.logistic_regression(shuffled[few], shuffled[:54])
    np.testing.assert_array_equal(one[1].values, two[1].values)


def test_seeds_are_averaged_and_draw_anew():
    X = blobs(LABELS, noise=0.5)
    record = score(LABELS, X, seeds=(0, 1), n_draws=1).scores["macro_f1_1"]
    assert len(record.per_seed) == 2
    assert record.per_seed[0] != record.per_seed[1]
    assert record.value == pytest.approx(np.mean(record.per_seed))


def test_donors_stay_on_one_side():
    donors = np.repeat([f"d{i}" for i in range(9)], 30)
    answers = Given(blobs(LABELS, noise=0.1))
    found = FewShot(n_draws=1).score(answers, cells_with(label=LABELS, donor=donors), seeds=[0])
    assert found.details["split"]["unit"] == "donor"
    for train in answers.trained_on:
        assert not set(donors[train]) & set(donors[~train])


def test_models_that_would_know_more_are_refused():
    class Transductive:
        transductive = True

        def embed(self, cells): ...

    class LearnsLabels:
        def embed(self, cells): ...

        def fit_with_labels(self, cells, *, labels): ...

    assert "seen the test cells" in FewShot().refuses(Transductive)
    assert "labels of all training cells" in FewShot().refuses(LearnsLabels)
    assert "no method embed" in FewShot().refuses(object)


def test_the_nearest_mean_is_the_nearest_by_angle():
    rows = [[2.0, 0], [4, 0], [0, 1], [9.0, 1], [1, 2], [0, 0]]
    classes, similar = small_probes.centroid_similarity(*sides(rows, ["b", "b", "a", "", "", ""], n_train=3))
    assert classes.tolist() == ["a", "b"]
    np.testing.assert_allclose(similar.values, [[1 / 82**0.5, 9 / 82**0.5], [2 / 5**0.5, 1 / 5**0.5], [0, 0]])
    assert small_probes.nearest((classes, similar)).tolist() == ["b", "a", "a"]


def test_a_single_known_class_is_what_every_cell_gets():
    classes, shares = small_probes.logistic_regression(*sides(np.ones((7, 2)), np.repeat("a", 7), n_train=3))
    assert (classes.tolist(), shares.values.tolist()) == (["a"], [[1.0]] * 4)

"""Unseen types: what stands apart is found, noise is not, and nothing has learned from the held-out type."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.novelty import auroc
from scfm_eval.tasks.labelled import Labelled
from scfm_eval.tasks.novelty import NovelTypes, _weights
from tests.tasks.given import Given, blobs, cells_with

LABELS = np.array(["a", "b", "c", "d"])[np.arange(240) % 4]


def score(labels, embedding, **keys):
    answers = Given(embedding)
    return NovelTypes().score(answers, cells_with(label=labels, **keys), seeds=[0]), answers


def test_types_apart_stand_out():
    found, _ = score(LABELS, blobs(LABELS, noise=0.05))
    assert found.scores["novelty_auroc"].value > 0.99
    assert found.scores["distance_auroc"].value == 1
    assert set(found.details["per_type"]) == set("abcd")
    assert found.details["per_type"]["a"] == {"test_cells": 30, "novelty_auroc": 1.0, "distance_auroc": 1.0}


def test_noise_lands_on_chance():
    found, _ = score(LABELS, np.random.default_rng(0).normal(size=(240, 6)))
    for record in found.scores.values():
        assert record.value == pytest.approx(record.chance, abs=0.08)
        assert record.low < record.chance < record.high


def test_a_type_inside_another_is_not_found_and_the_others_are():
    X = blobs(np.where(LABELS == "d", "c", LABELS), noise=0.05)
    found, _ = score(LABELS, X)
    per_type = found.details["per_type"]
    assert per_type["d"]["distance_auroc"] < 0.8
    assert per_type["a"]["distance_auroc"] > 0.99
    mean = np.mean([values["novelty_auroc"] for values in per_type.values()])
    assert found.scores["novelty_auroc"].value == pytest.approx(mean)


def test_nothing_learns_from_the_held_out_type_or_a_test_cell():
    labels = LABELS.astype(object)
    labels[-12:] = None
    found, answers = score(labels, blobs(LABELS, noise=0.05))
    held_out = list(found.details["per_type"])
    assert len(answers.trained_on) == len(held_out) == 4
    for name, train in zip(held_out, answers.trained_on, strict=True):
        assert set(LABELS[train]) == set("abcd") - {name}
        assert not train[-12:].any()
    tested = ~np.any(answers.trained_on, axis=0)[:-12]
    assert tested.sum() == sum(values["test_cells"] for values in found.details["per_type"].values())


def test_an_outlying_cell_is_novel_by_distance_and_not_by_probability():
    """Far along a class's own direction the probe is sure, and the angle is small: neither calls that cell new."""
    X = blobs(LABELS, noise=0.05)
    X[LABELS == "d"] = 5 * blobs(LABELS, noise=0.01)[LABELS == "a"]
    per_type = score(LABELS, X)[0].details["per_type"]
    assert per_type["d"]["novelty_auroc"] < 0.5


def test_a_type_with_one_test_cell_is_named_and_not_held_out():
    labels = np.append(LABELS, ["rare", "rare"])
    found, _ = score(labels, blobs(labels, noise=0.05))
    assert "rare" not in found.details["per_type"]
    assert any(note.endswith("known types beside: rare") for note in found.notes)


def test_a_type_of_test_donors_only_is_no_known_type():
    donors = np.repeat(["d0", "d1", "d2", "d3"], 60)
    labels = LABELS.astype("<U8")
    labels[:12] = "of d0"
    found, answers = score(labels, blobs(labels, noise=0.05, width=8), donor=donors)
    assert found.details["split"]["unit"] == "donor"
    tested = donors[~np.any(answers.trained_on, axis=0)]
    assert not set(tested) & set(donors[answers.trained_on[0]])
    assert found.scores["distance_auroc"].value > 0.99


def test_only_donors_or_cells_that_are_tested_are_drawn():
    """Of four donors two are tested: drawn from all four, one resample in sixteen would have no test cell."""
    donors = np.array([f"d{i // 60}" for i in range(240)])
    known = Labelled.of(cells_with(label=LABELS, donor=donors))
    for seeds, drawn in ([0], True), ([0, 1, 2], False):
        splits = known.splits(n_folds=2, seeds=seeds)
        tested = np.any([split.fold == 0 for split in splits], axis=0)
        weights, by_donor = _weights(known, splits)
        assert by_donor == drawn
        assert not weights[:, ~tested].any()
        assert (weights.sum(axis=1) == tested.sum()).all()
        assert all((weights[:, split.fold == 0].sum(axis=1) > 0).all() for split in splits)
    X = blobs(LABELS, noise=0.6)
    found = NovelTypes().score(Given(X), cells_with(label=LABELS, donor=donors), seeds=[0, 1, 2])
    assert any("intervals are over its cells" in note for note in found.notes)
    record = score(LABELS, X, donor=donors)[0].scores["distance_auroc"]
    assert record.low < record.value < record.high


def test_three_types_are_needed():
    with pytest.raises(InvalidInputError, match="two labels: a and b"):
        NovelTypes().check(cells_with(label=["a", "a", "b", "b"]), dataset="toy")
    NovelTypes().check(cells_with(label=LABELS), dataset="toy")


def test_the_score_of_a_type_is_its_auroc():
    X = blobs(LABELS, noise=0.6)
    found, answers = score(LABELS, X)
    test = ~np.any(answers.trained_on, axis=0)
    train = answers.trained_on[0]
    means = np.stack([X[train & (name == LABELS)].mean(axis=0) for name in "bcd"])
    cosine = (X @ means.T) / np.linalg.norm(X, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    expected = auroc(1 - cosine.max(axis=1)[test], positive=LABELS[test] == "a")
    assert found.details["per_type"]["a"]["distance_auroc"] == pytest.approx(expected, abs=1e-3)


def test_a_method_that_would_have_seen_the_type_is_refused():
    class Transductive:
        transductive = True

        def embed(self, cells): ...

    assert "seen the held-out type" in NovelTypes().refuses(Transductive)
    assert "no method embed" in NovelTypes().refuses(object)

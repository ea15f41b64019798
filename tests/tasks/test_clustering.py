"""Clustering: the oracle reaches the best, noise lands on chance, patients and phenotypes are told apart from types."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.baselines.scvi import SCANVI
from scfm_eval.tasks.clustering import Clustering
from tests.tasks.given import Given, blobs, cells_with

N = 240
LABELS = np.array(["B", "NK", "T"])[np.arange(N) % 3]
DONORS = np.array([f"d{i}" for i in range(8)])[np.arange(N) // 30]
PHENOTYPES = np.where(np.arange(N) < N // 2, "healthy", "ill")
TYPE_SCORES = ("ari", "ami", "nmi", "asw", "nmi_leiden", "nmi_leiden_oracle", "avg_bio")


def score(embedding, *, seeds=(0,), **keys):
    return Clustering().score(Given(embedding), cells_with(**({"label": LABELS} | keys)), seeds=list(seeds))


@pytest.fixture(scope="module")
def donated():
    """An embedding in which cells lie by donor, and donors by phenotype, whatever their type."""
    X = np.hstack([blobs(DONORS, noise=0.05, width=8), 2 * blobs(PHENOTYPES, noise=0.05, width=2)])
    ages = np.array(["20", "20 years", "40", "40-year-old stage", "60", "60", "unknown age", "80"])[np.arange(N) // 30]
    ages = np.where(ages == "unknown age", "nan", ages).astype(object)
    ages[ages == "nan"] = None
    return score(X, donor=DONORS, phenotype=PHENOTYPES, age=ages)


def test_types_themselves_reach_the_best():
    found = score(blobs(LABELS, noise=0.02)).scores
    for name in TYPE_SCORES:
        assert found[name].value > 0.95, name
    assert found["ari"].value == found["nmi_leiden"].value == pytest.approx(1)
    assert set(Clustering.headline) <= set(found) == set(TYPE_SCORES)


def test_noise_lands_on_chance():
    found = score(np.random.default_rng(3).normal(size=(N, 6))).scores
    for name in TYPE_SCORES:
        assert found[name].value == pytest.approx(found[name].chance, abs=0.06), name
        assert found[name].low <= found[name].value <= found[name].high, name


def test_length_matters_to_k_means_no_more_than_to_a_direction():
    lengths = np.random.default_rng(0).uniform(0.1, 50, size=(N, 1))
    assert score(blobs(LABELS, noise=0.02) * lengths).scores["ari"].value == pytest.approx(1)


def test_donors_are_seen_where_cells_lie_by_donor(donated):
    assert donated.scores["patient_ari"].value == pytest.approx(1)
    assert donated.scores["patient_ari"].chance == 0
    by_type = score(blobs(LABELS, noise=0.02), donor=DONORS).scores["patient_ari"]
    assert by_type.value < 0.02
    assert not by_type.higher_is_better
    assert "patient_ari" not in score(blobs(LABELS, noise=0.02)).scores


def test_phenotypes_are_clustered_and_predicted(donated):
    found = donated.scores
    assert found["phenotype_ari"].value == pytest.approx(1)
    assert found["phenotype_accuracy"].value == found["phenotype_accuracy_unseen_donors"].value == 1
    assert found["ari"].value < 0.05


def test_donors_that_are_recognised_are_not_phenotypes_that_are_read():
    found = score(blobs(DONORS, noise=0.02, width=8), donor=DONORS, phenotype=PHENOTYPES).scores
    assert found["phenotype_accuracy"].value == 1
    assert found["phenotype_accuracy_unseen_donors"].value < 0.8
    noise = np.random.default_rng(0).normal(size=(N, 4))
    blind = score(noise, donor=DONORS, phenotype=PHENOTYPES).scores["phenotype_accuracy"]
    assert blind.value == pytest.approx(blind.chance, abs=0.1)


def test_ages_are_in_quarters_and_cells_without_are_counted(donated):
    about = donated.details["annotations"]["age"]
    assert about == {"cells": {"above 60": 30, "up to 20": 60, "up to 40": 60, "up to 60": 60}, "edges": [20, 40, 60]}
    assert donated.scores["age_ami"].value > 0.3
    assert donated.notes == ["30 cells have no age, and were left out of its scores"]


def test_one_odd_age_leaves_ages_undefined_and_the_rest_as_it_is():
    odd = np.where(np.arange(N) == 0, "adult stage", "6-month-old stage")
    Clustering().check(cells_with(label=LABELS, age=odd), dataset="toy")
    found = score(blobs(LABELS, noise=0.02), age=odd)
    for name in ("ari", "ami", "nmi", "asw"):
        record = found.scores[f"age_{name}"]
        assert record.value is None
        assert "adult stage" in record.reason
        assert "6-month" not in record.reason
    assert found.scores["ari"].value == pytest.approx(1)
    assert "age" not in found.details["annotations"]


def test_one_value_of_an_annotation_is_undefined():
    found = score(blobs(LABELS, noise=0.02), cancer_type=["lung"] * N, phenotype=["ill"] * N, donor=["d"] * N).scores
    for name in ("cancer_type_ari", "cancer_type_asw", "phenotype_accuracy", "patient_ari"):
        assert found[name].value is None, name
        assert "only" in found[name].reason
    assert found["ari"].value == pytest.approx(1)
    assert "age_ari" not in score(blobs(LABELS, noise=0.02), age=np.full(N, None)).scores


def test_cells_without_a_label_are_left_out():
    labels = LABELS.astype(object)
    labels[:30] = None
    X = blobs(LABELS, noise=0.02)
    X[:30] = 7.0
    found = score(X, label=labels)
    assert found.scores["ari"].value == pytest.approx(1)
    assert found.notes == ["30 cells have no label, and were left out of its scores"]


def test_seeds_are_averaged():
    found = score(blobs(LABELS, noise=0.4), seeds=(0, 1))
    assert found.scores["nmi_leiden"].value == pytest.approx(np.mean(found.scores["nmi_leiden"].per_seed))
    assert len(found.scores["ari"].per_seed) == 2


def test_what_learns_from_labels_cannot_take_part():
    assert "learns from labels" in Clustering().refuses(SCANVI)
    assert "embed" in Clustering().refuses(int)

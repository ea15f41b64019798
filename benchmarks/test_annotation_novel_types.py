"""Unseen types: cells of a type that no training cell has should stand out more than with simple features.

Methods that learn from the dataset are fitted once for each held-out type: claims that are asked of scVI or Harmony, or
compare with them, are heavy.
"""

import pytest

from scfm_eval.tasks.novelty import NovelTypes

task = NovelTypes()


@pytest.mark.heavy
def test_unseen_types_stand_out_more_than_by_chance(result):
    assert result["novelty_auroc"] > result["novelty_auroc"].chance


def test_the_probe_is_less_sure_of_unseen_types_than_with_hvg(result, hvg):
    assert result["novelty_auroc"] > hvg["novelty_auroc"]


def test_the_probe_is_less_sure_of_unseen_types_than_with_pca(result, pca):
    assert result["novelty_auroc"] > pca["novelty_auroc"]


def test_unseen_types_are_farther_away_than_with_hvg(result, hvg):
    assert result["distance_auroc"] > hvg["distance_auroc"]


def test_unseen_types_are_farther_away_than_with_pca(result, pca):
    assert result["distance_auroc"] > pca["distance_auroc"]


@pytest.mark.heavy
def test_the_probe_is_less_sure_of_unseen_types_than_with_harmony(result, harmony):
    assert result["novelty_auroc"] > harmony["novelty_auroc"]


@pytest.mark.heavy
def test_the_probe_is_less_sure_of_unseen_types_than_with_scvi(result, scvi):
    assert result["novelty_auroc"] > scvi["novelty_auroc"]


@pytest.mark.heavy
def test_has_not_regressed(result, reference):
    assert result["novelty_auroc"].has_not_regressed_from(reference["novelty_auroc"])


def test_unseen_labels_stand_out_where_labels_are_given(oracle):
    assert oracle["novelty_auroc"] >= 0.99


def test_noise_tells_no_unseen_type(random):
    assert random["novelty_auroc"] <= random["novelty_auroc"].chance + 0.1

"""Perturbation: an unseen perturbation should be predicted better than by means and sums of those that were seen."""

import pytest

from scfm_eval.tasks.perturbation import Perturbation

task = Perturbation()


def test_is_nearer_to_unseen_singles_than_no_change(result, no_change):
    assert result["single_mae"] < no_change["single_mae"]


def test_is_nearer_to_unseen_singles_than_the_training_mean(result, training_mean):
    assert result["single_mae"] < training_mean["single_mae"]


def test_changes_of_unseen_singles_are_more_like_it_than_the_training_mean(result, training_mean):
    assert result["single_pearson_delta"] > training_mean["single_pearson_delta"]


def test_changes_of_unseen_singles_are_no_less_like_it_than_a_linear_map(result, linear_map):
    assert result["single_pearson_delta"] >= linear_map["single_pearson_delta"] - 0.02


def test_changes_of_unseen_singles_are_more_like_it_than_a_ridge_on_names(result, ridge_one_hot):
    assert result["single_pearson_delta"] > ridge_one_hot["single_pearson_delta"]


def test_knows_what_is_particular_to_an_unseen_single(result, no_change):
    assert result["single_pearson_delta_centroid"] > no_change["single_pearson_delta_centroid"]


def test_tells_unseen_singles_apart(result, training_mean):
    assert result["single_pds_l1"] > training_mean["single_pds_l1"]


def test_tells_combinations_of_unseen_genes_apart(result, training_mean):
    assert result["combination0_pds_l1"] > training_mean["combination0_pds_l1"]


def test_changes_of_half_seen_combinations_are_more_like_it_than_a_ridge_on_names(result, ridge_one_hot):
    assert result["combination1_pearson_delta"] > ridge_one_hot["combination1_pearson_delta"]


def test_changes_of_combinations_are_more_like_it_than_the_sum_of_their_parts(result, additive):
    assert result["combination2_pearson_delta"] > additive["combination2_pearson_delta"]


def test_is_nearer_to_combinations_than_the_sum_of_their_parts(result, additive):
    assert result["combination2_mae"] < additive["combination2_mae"]


def test_has_not_regressed(result, reference):
    assert result["single_pearson_delta"].has_not_regressed_from(reference["single_pearson_delta"])


def test_half_of_the_cells_recognises_the_other_half(training_mean):
    assert training_mean["ceiling_single_pds_l1"] > training_mean["single_pds_l1"]


def test_one_answer_to_everything_tells_nothing_apart(training_mean):
    assert training_mean["single_pds_l1"] == pytest.approx(training_mean["single_pds_l1"].chance, abs=0.01)


def test_no_change_tells_nothing_apart(no_change):
    assert no_change["single_pds_l1"] == pytest.approx(no_change["single_pds_l1"].chance, abs=0.01)


def test_the_sum_of_the_parts_tells_combinations_apart(additive):
    assert additive["combination2_pds_l1"] > additive["combination2_pds_l1"].chance

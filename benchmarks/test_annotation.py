"""Annotation: a small classifier should read the cell type from the embedding better than from simple features."""

from scfm_eval.tasks.annotation import Annotation

task = Annotation()


def test_knows_more_than_chance(result):
    assert result["macro_f1"] > result["macro_f1"].chance


def test_knows_more_than_noise(result, random):
    assert result["macro_f1"] > random["macro_f1"]


def test_knows_more_than_untrained(result, untrained):
    assert result["macro_f1"] > untrained["macro_f1"]


def test_knows_more_than_hvg(result, hvg):
    assert result["macro_f1"] > hvg["macro_f1"]


def test_knows_more_than_pca(result, pca):
    assert result["macro_f1"] > pca["macro_f1"]


def test_knows_more_than_harmony(result, harmony):
    assert result["macro_f1"] > harmony["macro_f1"]


def test_knows_more_than_scvi(result, scvi):
    assert result["macro_f1"] > scvi["macro_f1"]


def test_neighbors_know_more_than_those_of_pca(result, pca):
    assert result["knn_macro_f1"] > pca["knn_macro_f1"]


def test_trees_know_more_than_those_on_hvg(result, hvg):
    assert result["xgboost_macro_f1"] > hvg["xgboost_macro_f1"]


def test_has_not_regressed(result, reference):
    assert result["macro_f1"].has_not_regressed_from(reference["macro_f1"])


def test_labels_themselves_are_read_without_fault(oracle):
    assert oracle["macro_f1"] >= 0.99


def test_noise_is_at_chance(random):
    assert random["macro_f1"] <= random["macro_f1"].chance + 0.05

"""Clustering: clusters of cells should be cell types, and more so than those of simple features."""

from scfm_eval.tasks.clustering import Clustering

task = Clustering()


def test_clusters_are_types_more_than_chance(result):
    assert result["ami"] > result["ami"].chance


def test_clusters_are_types_more_than_those_of_noise(result, random):
    assert result["ari"] > random["ari"]


def test_clusters_are_types_more_than_those_of_the_untrained(result, untrained):
    assert result["ari"] > untrained["ari"]


def test_clusters_are_types_more_than_those_of_hvg(result, hvg):
    assert result["ari"] > hvg["ari"]


def test_clusters_are_types_more_than_those_of_pca(result, pca):
    assert result["ari"] > pca["ari"]


def test_clusters_are_types_more_than_those_of_harmony(result, harmony):
    assert result["ari"] > harmony["ari"]


def test_clusters_are_types_more_than_those_of_scvi(result, scvi):
    assert result["ari"] > scvi["ari"]


def test_communities_are_types_more_than_those_of_pca(result, pca):
    assert result["nmi_leiden"] > pca["nmi_leiden"]


def test_keeps_more_biology_than_hvg(result, hvg):
    assert result["avg_bio"] > hvg["avg_bio"]


def test_keeps_more_biology_than_scvi(result, scvi):
    assert result["avg_bio"] > scvi["avg_bio"]


def test_has_not_regressed(result, reference):
    assert result["ari"].has_not_regressed_from(reference["ari"])


def test_labels_themselves_are_found_again(oracle):
    assert oracle["ari"] >= 0.99


def test_communities_of_labels_themselves_are_found_again(oracle):
    assert oracle["nmi_leiden"] >= 0.99


def test_clusters_of_noise_are_at_chance(random):
    assert random["ami"] <= random["ami"].chance + 0.05


def test_communities_of_noise_are_at_chance(random):
    assert random["nmi_leiden"] <= random["nmi_leiden"].chance + 0.05

"""Landscape: cell types should lie smoothly in the embedding, so that nearby cells are of one type."""

from scfm_eval.tasks.landscape import Landscape

task = Landscape()


def test_is_smoother_than_chance(result):
    assert result["rogi_xd"] < result["rogi_xd"].chance


def test_is_smoother_than_noise(result, random):
    assert result["rogi_xd"] < random["rogi_xd"]


def test_is_smoother_than_untrained(result, untrained):
    assert result["rogi_xd"] < untrained["rogi_xd"]


def test_is_smoother_than_hvg(result, hvg):
    assert result["rogi_xd"] < hvg["rogi_xd"]


def test_is_smoother_than_pca(result, pca):
    assert result["rogi_xd"] < pca["rogi_xd"]


def test_is_smoother_than_harmony(result, harmony):
    assert result["rogi_xd"] < harmony["rogi_xd"]


def test_is_smoother_than_scvi(result, scvi):
    assert result["rogi_xd"] < scvi["rogi_xd"]


def test_has_not_regressed(result, reference):
    assert result["rogi_xd"].has_not_regressed_from(reference["rogi_xd"])


def test_labels_themselves_are_smoother_than_noise(oracle, random):
    assert oracle["rogi_xd"] < random["rogi_xd"]


def test_noise_is_as_rough_as_chance(random):
    assert random["rogi_xd"] >= random["rogi_xd"].chance - 0.05

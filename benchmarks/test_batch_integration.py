"""Batch integration: one cell type from many batches should become one neighbourhood, apart from the other types."""

from scfm_eval.tasks.integration import BatchIntegration

task = BatchIntegration()


def test_keeps_types_apart_no_less_than_noise(result, random):
    assert result["bio"] >= random["bio"] - 0.02


def test_mixes_batches_better_than_hvg(result, hvg):
    assert result["batch"] > hvg["batch"]


def test_integrates_better_than_hvg(result, hvg):
    assert result["total"] > hvg["total"]


def test_integrates_better_than_pca(result, pca):
    assert result["total"] > pca["total"]


def test_integrates_better_than_harmony(result, harmony):
    assert result["total"] > harmony["total"]


def test_integrates_better_than_scvi(result, scvi):
    assert result["total"] > scvi["total"]


def test_has_not_regressed(result, reference):
    assert result["total"].has_not_regressed_from(reference["total"])


def test_labels_themselves_keep_types_apart(oracle):
    assert oracle["clisi"] >= 0.99


def test_noise_keeps_no_types_apart(random):
    assert random["ari"] <= random["ari"].chance + 0.1


def test_noise_mixes_batches_as_permuted_cells_do(random):
    assert random["ilisi"] >= random["ilisi"].chance - 0.1

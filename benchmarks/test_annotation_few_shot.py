"""Few-shot annotation: with a handful of known cells, an embedding should tell more than simple features do."""

from scfm_eval.tasks.few_shot import FewShot

task = FewShot()


def test_one_cell_of_a_class_tells_more_than_chance(result):
    assert result["macro_f1_1"] > result["macro_f1_1"].chance


def test_one_cell_tells_more_than_in_noise(result, random):
    assert result["macro_f1_1"] > random["macro_f1_1"]


def test_one_cell_tells_more_than_untrained(result, untrained):
    assert result["macro_f1_1"] > untrained["macro_f1_1"]


def test_one_cell_tells_more_than_with_hvg(result, hvg):
    assert result["macro_f1_1"] > hvg["macro_f1_1"]


def test_one_cell_tells_more_than_with_pca(result, pca):
    assert result["macro_f1_1"] > pca["macro_f1_1"]


def test_ten_cells_tell_more_than_with_hvg(result, hvg):
    assert result["macro_f1_10"] > hvg["macro_f1_10"]


def test_ten_cells_tell_more_than_with_pca(result, pca):
    assert result["macro_f1_10"] > pca["macro_f1_10"]


def test_ten_cells_tell_more_than_with_harmony(result, harmony):
    assert result["macro_f1_10"] > harmony["macro_f1_10"]


def test_ten_cells_tell_more_than_with_scvi(result, scvi):
    assert result["macro_f1_10"] > scvi["macro_f1_10"]


def test_the_mean_of_five_cells_is_nearer_than_with_pca(result, pca):
    assert result["centroid_macro_f1_5"] > pca["centroid_macro_f1_5"]


def test_has_not_regressed(result, reference):
    assert result["macro_f1_10"].has_not_regressed_from(reference["macro_f1_10"])


def test_one_cell_is_enough_where_labels_are_given(oracle):
    assert oracle["macro_f1_1"] >= 0.99


def test_noise_is_at_chance(random):
    assert random["macro_f1_10"] <= random["macro_f1_10"].chance + 0.05

"""Zero-shot annotation: a model that brings its own labels should say more than one known cell of each type does."""

from scfm_eval.tasks.zero_shot import ZeroShotAnnotation

task = ZeroShotAnnotation()


def test_names_types_better_than_chance(result):
    assert result["macro_f1"] > result["macro_f1"].chance


def test_names_types_better_than_noise(result, random):
    assert result["macro_f1"] > random["macro_f1"]


def test_names_types_better_than_one_known_cell_with_hvg(result, hvg):
    assert result["macro_f1"] > hvg["macro_f1"]


def test_names_types_better_than_one_known_cell_with_pca(result, pca):
    assert result["macro_f1"] > pca["macro_f1"]


def test_is_nearer_in_the_ontology_than_one_known_cell_with_pca(result, pca):
    assert result["lcad_symmetric"] < pca["lcad_symmetric"]


def test_has_not_regressed(result, reference):
    assert result["macro_f1"].has_not_regressed_from(reference["macro_f1"])


def test_labels_themselves_are_read_from_one_cell(oracle):
    assert oracle["macro_f1"] >= 0.99


def test_noise_is_at_chance(random):
    assert random["macro_f1"] <= random["macro_f1"].chance + 0.05

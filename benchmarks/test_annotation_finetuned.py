"""Fine-tuned annotation: training the whole model should tell cell types apart better than probes of features."""

from scfm_eval.tasks.finetuning import FineTunedAnnotation

task = FineTunedAnnotation()


def test_knows_more_than_chance(result):
    assert result["macro_f1"] > result["macro_f1"].chance


def test_knows_more_than_noise(result, random):
    assert result["macro_f1"] > random["macro_f1"]


def test_gains_over_the_frozen_probe(result):
    assert result["macro_f1_gain_absolute"] > 0


def test_knows_more_than_hvg(result, hvg):
    assert result["macro_f1"] > hvg["macro_f1"]


def test_knows_more_than_trees_on_hvg(result, hvg):
    assert result["macro_f1"] > hvg["xgboost_macro_f1"]


def test_knows_more_than_scanvi(result, scanvi):
    assert result["macro_f1"] > scanvi["macro_f1"]


def test_pretraining_helps(result):
    assert result["macro_f1"] > result["from_scratch_macro_f1"]


def test_has_not_regressed(result, reference):
    assert result["macro_f1"].has_not_regressed_from(reference["macro_f1"])


def test_labels_themselves_are_read_without_fault(oracle):
    assert oracle["macro_f1"] >= 0.99


def test_noise_is_at_chance(random):
    assert random["macro_f1"] <= random["macro_f1"].chance + 0.05

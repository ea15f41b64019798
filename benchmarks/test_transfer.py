"""Transfer: what was learned on one dataset should hold on another better than with simple features."""

from scfm_eval.tasks.transfer import Transfer

task = Transfer()


def test_reads_the_target_better_than_chance(result):
    assert result["macro_f1"] > result["macro_f1"].chance


def test_reads_the_target_better_than_noise(result, random):
    assert result["macro_f1"] > random["macro_f1"]


def test_reads_the_target_better_than_hvg(result, hvg):
    assert result["macro_f1"] > hvg["macro_f1"]


def test_reads_the_target_better_than_pca(result, pca):
    assert result["macro_f1"] > pca["macro_f1"]


def test_reads_the_target_better_than_harmony(result, harmony):
    assert result["macro_f1"] > harmony["macro_f1"]


def test_reads_the_target_better_than_scvi(result, scvi):
    assert result["macro_f1"] > scvi["macro_f1"]


def test_loses_less_between_the_domains_than_hvg(result, hvg):
    assert result["macro_f1_drop"] < hvg["macro_f1_drop"]


def test_loses_less_between_the_domains_than_pca(result, pca):
    assert result["macro_f1_drop"] < pca["macro_f1_drop"]


def test_tells_the_domain_of_a_cell_less_than_pca(result, pca):
    assert result["domain_accuracy"] < pca["domain_accuracy"]


def test_has_not_regressed(result, reference):
    assert result["macro_f1"].has_not_regressed_from(reference["macro_f1"])


def test_labels_themselves_are_read_across_domains(oracle):
    assert oracle["macro_f1"] >= 0.99


def test_labels_themselves_do_not_tell_the_domain(oracle):
    assert oracle["domain_accuracy"] <= oracle["domain_accuracy"].chance + 0.1


def test_noise_is_at_chance(random):
    assert random["macro_f1"] <= random["macro_f1"].chance + 0.05

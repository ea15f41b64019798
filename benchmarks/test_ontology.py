"""Ontology: what a model confuses, and what it puts side by side, should be close in the Cell Ontology."""

from scfm_eval.tasks.ontology import OntologyConsistency

task = OntologyConsistency()


def test_errs_less_far_than_chance(result):
    assert result["lcad_symmetric"] < result["lcad_symmetric"].chance


def test_errs_less_far_than_noise(result, random):
    assert result["lcad_symmetric"] < random["lcad_symmetric"]


def test_errs_less_far_than_untrained(result, untrained):
    assert result["lcad_symmetric"] < untrained["lcad_symmetric"]


def test_errs_less_far_than_hvg(result, hvg):
    assert result["lcad_symmetric"] < hvg["lcad_symmetric"]


def test_errs_less_far_than_pca(result, pca):
    assert result["lcad_symmetric"] < pca["lcad_symmetric"]


def test_shares_more_ancestors_with_the_truth_than_hvg(result, hvg):
    assert result["hierarchical_f1"] > hvg["hierarchical_f1"]


def test_shares_more_ancestors_with_the_truth_than_scvi(result, scvi):
    assert result["hierarchical_f1"] > scvi["hierarchical_f1"]


def test_lays_types_out_as_their_batches_do_better_than_noise(result, random):
    assert result["scgraph"] > random["scgraph"]


def test_lays_types_out_as_the_ontology_does_no_worse_than_hvg(result, hvg):
    assert result["scgraph_ontorwr"] >= hvg["scgraph_ontorwr"] - 0.1


def test_has_not_regressed(result, reference):
    assert result["lcad_symmetric"].has_not_regressed_from(reference["lcad_symmetric"])


def test_labels_themselves_are_read_without_fault(oracle):
    assert oracle["lcad_symmetric"] <= 0.05


def test_noise_shares_ancestors_as_chance_does(random):
    assert random["hierarchical_f1"] <= random["hierarchical_f1"].chance + 0.05

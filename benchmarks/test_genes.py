"""Genes: the vector of a gene should tell its function better than noise, co-expression and degree do."""

from scfm_eval.tasks.genes import GeneFunctions

task = GeneFunctions()


def test_tells_functions_better_than_random_vectors_of_its_width(result):
    assert result["auprc"] > result["random_auprc"]


def test_tells_functions_better_than_coexpression_of_its_width(result):
    assert result["auprc"] > result["coexpression_auprc"]


def test_tells_functions_better_than_coexpression(result, coexpression_pca):
    assert result["auprc"] > coexpression_pca["auprc"]


def test_tells_functions_better_than_degree(result, gene_degree):
    assert result["auprc"] > gene_degree["auprc"]


def test_tells_functions_better_than_untrained(result, untrained):
    assert result["auprc"] > untrained["auprc"]


def test_ranks_genes_of_a_function_better_than_coexpression(result, coexpression_pca):
    assert result["auroc"] > coexpression_pca["auroc"]


def test_has_not_regressed(result, reference):
    assert result["auprc"].has_not_regressed_from(reference["auprc"])


def test_functions_themselves_are_read_without_fault(oracle):
    assert oracle["auprc"] >= 0.95


def test_noise_tells_functions_as_chance_does(random):
    random["auprc"].require_told(random["auprc"].chance - 0.03, random["auprc"].chance + 0.03)
    assert random["auprc"] <= random["auprc"].chance + 0.03
    assert random["auprc"] >= random["auprc"].chance - 0.03


def test_noise_ranks_genes_as_chance_does(random):
    random["auroc"].require_told(0.44, 0.56)
    assert random["auroc"] <= 0.56
    assert random["auroc"] >= 0.44

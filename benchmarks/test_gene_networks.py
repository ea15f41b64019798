"""Gene networks: what a model says of pairs of genes should be who regulates whom."""

from scfm_eval.tasks.gene_networks import GeneNetwork

task = GeneNetwork()


def test_finds_edges_better_than_chance(result):
    assert result["auprc"] > result["auprc"].chance


def test_finds_edges_better_than_pearson_coexpression(result, pearson_coexpression):
    assert result["auprc"] > pearson_coexpression["auprc"]


def test_finds_edges_better_than_spearman_coexpression(result, spearman_coexpression):
    assert result["auprc"] > spearman_coexpression["auprc"]


def test_finds_edges_better_than_degree(result, gene_degree):
    assert result["auprc"] > gene_degree["auprc"]


def test_finds_edges_better_than_noise(result, random):
    assert result["auprc"] > random["auprc"]


def test_finds_edges_better_than_untrained(result, untrained):
    assert result["auprc"] > untrained["auprc"]


def test_is_early_right_more_often_than_coexpression(result, pearson_coexpression):
    assert result["epr"] > pearson_coexpression["epr"]


def test_has_not_regressed(result, reference):
    assert result["auprc"].has_not_regressed_from(reference["auprc"])


def test_the_network_itself_is_read_without_fault(oracle):
    assert oracle["auprc"] >= 0.99


def test_noise_finds_edges_as_chance_does(random):
    random["auprc"].require_told(random["auprc"].chance - 0.03, random["auprc"].chance + 0.03)
    assert random["auprc"] <= random["auprc"].chance + 0.03
    assert random["auprc"] >= random["auprc"].chance - 0.03


def test_noise_is_early_right_as_often_as_chance(random):
    random["epr"].require_told(0.5, 1.5)
    assert random["epr"] <= 1.5
    assert random["epr"] >= 0.5

"""Layer-wise reconstruction: layers should hold more of a cell's expression than chance, and as much as simple maps."""

from scfm_eval.tasks.reconstruction import LayerwiseReconstruction

task = LayerwiseReconstruction()


def test_best_layer_holds_more_than_the_gene_mean(result):
    assert result["probe_r2"] > result["gene_mean_r2"]


def test_best_layer_holds_more_than_permuted_rows(result):
    assert result["probe_r2"] > result["permuted_r2"]


def test_best_layer_holds_more_than_a_random_projection(result):
    assert result["probe_r2"] > result["random_projection_r2"]


def test_best_layer_holds_no_less_than_pca(result):
    assert result["probe_r2"] >= result["pca_r2"]


def test_best_layer_holds_more_than_untrained(result, untrained):
    assert result["probe_r2"] > untrained["probe_r2"]


def test_cells_are_told_apart_beyond_their_mean(result):
    assert result["probe_pearson"] > result["probe_pearson"].chance


def test_middle_layer_holds_no_less_than_the_last(result):
    assert result["middle_layer_r2"] >= result["last_layer_r2"] - 0.03


def test_layers_together_hold_no_less_than_the_best(result):
    assert result["weighted_layers_r2"] >= result["probe_r2"] - 0.02


def test_own_head_is_better_than_the_mean_of_the_cell(result):
    assert result["native_r2"] > 0.01


def test_own_head_ranks_the_genes_of_a_cell(result):
    assert result["native_pearson"] > 0.1


def test_has_not_regressed(result, reference):
    assert result["probe_r2"].has_not_regressed_from(reference["probe_r2"])

"""Differential expression: the rank-sum test, the test of a predicted shift, and overlap of two lists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, norm

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.differential import Differential, de_overlap, de_precision, rank_sum, shift_test, significant
from scfm_eval.metrics.metric import UndefinedMetricError
from tests.perturbation_golden import FOLDER, expected, golden, golden_differential

RNG = np.random.default_rng(0)


def by_fold_change(side):
    table = golden_differential(side)
    # the reference ranks float32 fold changes
    return Differential(table["log2_fold_change"].astype(np.float32).astype(float), table["fdr"] < 0.05)


def hand(side):
    table = pd.read_csv(FOLDER / "des_overlap" / f"hand_{side}_de.csv")
    wide = {c: table.pivot_table(index="target", columns="feature", values=c) for c in ("log2_fold_change", "fdr")}
    return Differential(wide["log2_fold_change"].fillna(0).to_numpy(), (wide["fdr"] < 0.05).to_numpy())


def values(metric, truth, predicted, conditions):
    statistic = metric.statistic(truth, predicted=predicted, conditions=conditions, ranked_by="fold change")
    return statistic.of_weights(np.eye(len(conditions))), statistic


@pytest.mark.parametrize(("metric", "name"), [(de_overlap, "overlap_at_N"), (de_precision, "precision_at_N")])
def test_reaches_the_golden_values(metric, name):
    known, conditions = expected("des_overlap")["reference"], golden().conditions
    found, statistic = values(metric, by_fold_change("real"), by_fold_change("pred"), conditions)
    assert statistic.how["left_out"] == {"why": "no gene is truly differential", "conditions": ["G008"]}
    for condition, value in zip(conditions, found, strict=True):
        wanted = np.nan if condition == "G008" else known["real_and_pred"][name][condition]
        assert value == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    found, _ = values(metric, hand("real"), hand("pred"), np.array(["A", "B", "C"]))
    np.testing.assert_allclose(found[[0, 2]], [known["hand"][name][c] for c in "AC"], atol=1e-6)
    assert np.isnan(found[1])


def test_mean_overlap_is_the_corrected_one():
    known = expected("des_overlap")["corrected"]["mean_overlap_at_N_over_perturbations_with_a_true_de_gene"]
    _, statistic = values(de_overlap, by_fold_change("real"), by_fold_change("pred"), golden().conditions)
    assert statistic.value() == pytest.approx(known, abs=1e-6)
    _, perfect = values(de_overlap, by_fold_change("real"), by_fold_change("real"), golden().conditions)
    assert perfect.value() == 1


def test_rank_sum_reaches_golden_and_scipy_values():
    data, table = golden(), golden_differential("real")
    control = data.cells["non-targeting"]
    for condition, p in zip(data.conditions[:4], table["p_value"], strict=False):
        z, found = rank_sum(data.cells[condition], control)
        np.testing.assert_allclose(found, p, rtol=1e-6)
        np.testing.assert_allclose(found, mannwhitneyu(data.cells[condition], control, method="asymptotic").pvalue)
        up = data.cells[condition].mean(axis=0) - control.mean(axis=0)
        assert np.corrcoef(z, up)[0, 1] > 0.8


def test_equal_genes_do_not_differ():
    z, p = rank_sum(np.zeros((4, 3)), np.zeros((5, 3)))
    np.testing.assert_array_equal(z, 0)
    np.testing.assert_array_equal(p, 1)


def test_of_two_samples_of_the_same_cells_few_genes_are_called():
    _, p = rank_sum(RNG.normal(size=(40, 2000)), RNG.normal(size=(60, 2000)))
    assert significant(p).sum() <= 2
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.02)


def test_a_small_shift_of_sparse_genes_calls_none():
    control = np.where(RNG.uniform(size=(100, 500)) < 0.1, 2.0, 0.0)
    control[:, :20] = 0.0
    z, p = shift_test(np.full(500, 0.01), control, n_cells=100)
    assert not significant(p).any()
    _, ranked = rank_sum(control + 0.01, control)
    assert significant(ranked).all()
    assert np.abs(z[:20]).max() < np.abs(z).max() * 3


def test_the_shift_test_has_the_power_of_real_cells():
    control = RNG.poisson(2.0, size=(200, 300)).astype(float)
    change = np.zeros(300)
    change[:100] = np.where(np.arange(100) % 2, 1.0, -1.0)
    z, p = shift_test(change, control, n_cells=60)
    assert significant(p)[:100].all()
    assert not p[100:].min() < 1
    np.testing.assert_array_equal(np.sign(z[:100]), np.sign(change[:100]))
    real, _ = rank_sum(RNG.poisson(2.0 + change, size=(60, 300)).astype(float), control)
    assert np.corrcoef(z, real)[0, 1] > 0.9


def test_without_predicted_genes_overlap_is_zero_and_precision_undefined():
    truth = by_fold_change("real")
    nothing = Differential(np.zeros_like(truth.strength), np.zeros_like(truth.significant))
    conditions = golden().conditions
    assert de_overlap(truth, predicted=nothing, conditions=conditions, ranked_by="z") == 0
    with pytest.raises(UndefinedMetricError, match=r"no gene is predicted to be differential: 15 conditions"):
        de_precision(truth, predicted=nothing, conditions=conditions, ranked_by="z")
    with pytest.raises(UndefinedMetricError, match="no gene is truly differential"):
        de_overlap(nothing, predicted=truth, conditions=conditions, ranked_by="z")


def test_a_gene_without_strength_is_refused():
    with pytest.raises(InvalidInputError, match="1 NaN"):
        Differential(np.array([[np.nan, 1.0]]), np.array([[True, True]]))


def test_one_gene_is_a_list():
    truth = Differential(np.array([[3.0, 2, 1]]), np.array([[False, True, False]]))
    predicted = Differential(np.array([[1.0, 2, 3]]), np.array([[True, True, False]]))
    known = {"predicted": predicted, "conditions": np.array(["a"]), "ranked_by": "z"}
    assert de_overlap(truth, **known) == 1
    assert de_precision(truth, **known) == 0.5


def test_ranks_are_of_absolute_strength_among_significant_genes_first():
    found = Differential(np.array([[1.0, -5, 9, 5, 0]]), np.array([[True, True, False, True, True]]))
    np.testing.assert_array_equal(found.ranks(), [[2, 0, 4, 1, 3]])
    equal = Differential(np.ones((2, 500)), np.ones((2, 500), dtype=bool))
    np.testing.assert_array_equal(equal.ranks(), np.tile(np.arange(500), (2, 1)))


def test_rank_sum_by_hand():
    # ranks of the cells are 1 and 3 of 5: their sum lies 2 below its mean 6
    z, p = rank_sum(np.array([[1.0], [3.0]]), np.array([[2.0], [4.0], [5.0]]))
    assert z[0] == pytest.approx(-(2 - 0.5) / np.sqrt(2 * 3 * 6 / 12))
    assert p[0] == pytest.approx(mannwhitneyu([1, 3], [2, 4, 5], method="asymptotic").pvalue)
    near, _ = rank_sum(np.array([[1.0], [4.0]]), np.array([[2.0], [3.0], [5.0]]))
    assert near[0] == pytest.approx(-(1 - 0.5) / np.sqrt(3))
    half = rank_sum(np.array([[1.0], [4.0]]), np.array([[2.0], [3.0]]))
    assert (half[0][0], half[1][0]) == (0, 1)


def shift_by_genes(change, control, n_cells):
    """The shift test written gene by gene: the variance at a mean comes from genes of like means."""
    mean, variance = control.mean(axis=0), control.var(axis=0, ddof=1)
    expressed = sorted(np.flatnonzero(mean > 0), key=lambda gene: mean[gene])
    bins = np.array_split(expressed, max(1, min(20, len(expressed) // 5)))
    centres = [np.mean([mean[gene] for gene in genes]) for genes in bins]
    ratios = [sum(variance[gene] for gene in genes) / sum(mean[gene] for gene in genes) for genes in bins]
    z = []
    for gene, moved in enumerate(np.maximum(mean + change, 0)):
        error = variance[gene] / len(control) + moved * np.interp(moved, centres, ratios) / n_cells
        z.append(change[gene] / np.sqrt(error) if error > 0 else 0.0)
    return np.array(z)


@pytest.mark.parametrize("n_genes", [3, 17, 104, 300])
def test_the_shift_test_equals_its_definition_gene_by_gene(n_genes):
    rng = np.random.default_rng(n_genes)
    control = rng.poisson(rng.gamma(1.0, 2.0, size=n_genes), size=(50, n_genes)).astype(float)
    control[:, 0] = 0.0
    change = rng.normal(size=n_genes)
    change[:2] = 0.0, -control[:, 1].mean() - 1
    z, p = shift_test(change, control, n_cells=30)
    expected = shift_by_genes(change, control, 30)
    np.testing.assert_allclose(z, expected)
    np.testing.assert_allclose(p, 2 * norm.sf(np.abs(expected)))


def test_false_discoveries_below_five_percent_are_significant():
    np.testing.assert_array_equal(significant(np.array([0.01, 0.02, 0.04, 0.5])), [True, True, False, False])
    np.testing.assert_array_equal(significant(np.array([0.05, 0.05])), [False, False])

"""Reconstruction scores: values by hand, scikit-learn, weights as repetition, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.reconstruction import (
    cell_mae,
    cell_means,
    cell_mse,
    cell_pearson,
    cell_r2,
    centred_pearson,
    gene_r2,
)

RNG = np.random.default_rng(0)
CELL = np.array([0, 0, 0, 1, 1])
TARGET = np.array([1.0, 2, 3, 10, 20])
GIVEN = np.array([2.0, 2, 2, 20, 10])


def test_cells_count_the_same_by_hand():
    # cell 0: errors 1, 0, 1; cell 1: errors 10, 10
    assert cell_mse(TARGET, GIVEN, cell=CELL) == pytest.approx((2 / 3 + 100) / 2)
    assert cell_mae(TARGET, GIVEN, cell=CELL) == pytest.approx((2 / 3 + 10) / 2)
    np.testing.assert_allclose(cell_means(TARGET, cell=CELL), [2, 15])


def test_a_flat_truth_is_left_out_and_a_flat_prediction_counts_nothing():
    counted = cell_pearson.statistic(TARGET, GIVEN, cell=CELL)
    left_out = cell_pearson.statistic(GIVEN, TARGET, cell=CELL)
    assert (counted.value(), left_out.value()) == pytest.approx((-0.5, -1))
    assert (counted.how["undefined"], counted.how["flat_predictions"]) == (0, 1)
    assert (left_out.how["undefined"], left_out.how["flat_predictions"]) == (1, 0)
    for true, given_, side in ((TARGET, np.ones(5), "predicted"), (np.ones(5), TARGET, "true")):
        with pytest.raises(UndefinedMetricError, match=f"do the {side} values vary"):
            cell_pearson(true, given_, cell=CELL)


def test_nothing_is_gained_by_answering_one_cell_only():
    true = RNG.normal(size=(10, 6))
    one = np.where(np.arange(10)[:, None] == 0, true, 0.0)
    assert centred_pearson(true, one, mean=np.zeros(6)) == pytest.approx(0.1)
    cell = np.repeat(np.arange(10), 6)
    assert cell_pearson(true.ravel(), one.ravel(), cell=cell) == pytest.approx(0.1)


def test_the_mean_of_the_cell_has_its_variance_for_error():
    mean = cell_means(TARGET, cell=CELL)[CELL]
    assert cell_mse(TARGET, mean, cell=CELL) == pytest.approx((2 / 3 + 25) / 2)
    assert cell_r2(TARGET, mean, cell=CELL) == 0
    assert cell_r2(TARGET, TARGET, cell=CELL) == 1
    assert cell_r2(TARGET, GIVEN, cell=CELL) == pytest.approx(1 - (2 / 3 + 100) / (2 / 3 + 25))
    with pytest.raises(UndefinedMetricError):
        cell_r2(mean, TARGET, cell=CELL)


def test_r2_is_the_median_of_scikit_learn():
    true = RNG.normal(size=(30, 6))
    given_ = true + RNG.normal(size=(30, 6)) * np.arange(6)
    expected = np.median(r2_score(true, given_, multioutput="raw_values"))
    assert gene_r2(true, given_) == pytest.approx(expected)
    assert gene_r2(true, true) == 1.0
    assert gene_r2(true, np.tile(true.mean(axis=0), (30, 1))) == pytest.approx(0, abs=1e-12)


def test_genes_that_do_not_vary_are_left_out_and_counted():
    true = RNG.normal(size=(20, 3))
    true[:, 1] = 4.0
    made = gene_r2.statistic(true, true)
    assert made.value() == 1.0
    assert made.how["undefined"] == 1
    with pytest.raises(UndefinedMetricError, match="no gene varies"):
        gene_r2(np.ones((5, 2)), np.ones((5, 2)))


def test_centring_takes_off_what_the_mean_profile_knows():
    mean = np.array([0.0, 5, 10, 2])
    true = mean + RNG.normal(size=(200, 4))
    noise = mean + RNG.normal(size=(200, 4))
    assert np.corrcoef(true[0], noise[0])[0, 1] > 0.8
    assert abs(centred_pearson(true, noise, mean=mean)) < 0.15
    assert centred_pearson(true, mean + 3 * (true - mean), mean=mean) == pytest.approx(1)
    assert centred_pearson(true, 2 * mean - true, mean=mean) == pytest.approx(-1)
    with pytest.raises(UndefinedMetricError):
        centred_pearson(true, np.tile(mean, (200, 1)), mean=mean)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.integers(0, 5))
def test_weights_are_repetitions(counts, seed):
    rng = np.random.default_rng(seed)
    counts = np.array(counts) + (np.arange(12) < 2)
    true, given_ = rng.normal(size=(2, 12, 5))
    often = np.repeat(np.arange(12), counts)
    for made, repeated in (
        (gene_r2.statistic(true, given_), gene_r2(true[often], given_[often])),
        (
            centred_pearson.statistic(true, given_, mean=true[0]),
            centred_pearson(true[often], given_[often], mean=true[0]) if (often != 0).any() else np.nan,
        ),
    ):
        value = made.of_weights(counts[None].astype(np.float64))[0]
        assert value == pytest.approx(repeated, abs=1e-9, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(8)), st.floats(0.1, 10), st.floats(-5, 5))
def test_order_and_scale(order, factor, shift):
    cell, (true, given_) = np.repeat(np.arange(8), 4), RNG.normal(size=(2, 32))
    places = np.concatenate([np.flatnonzero(cell == one) for one in order])
    for metric in (cell_mse, cell_mae, cell_pearson):
        assert metric(true[places], given_[places], cell=cell) == pytest.approx(metric(true, given_, cell=cell))
    assert cell_pearson(true, factor * given_ + shift, cell=cell) == pytest.approx(
        cell_pearson(true, given_, cell=cell)
    )
    assert cell_mse(factor * true, factor * given_, cell=cell) == pytest.approx(
        factor**2 * cell_mse(true, given_, cell=cell)
    )


FAULTS = {
    "shapes": (TARGET, GIVEN[:4], CELL),
    "NaN": (TARGET, GIVEN * np.nan, CELL),
    "1 cells without a value": (TARGET, GIVEN, np.array([0, 0, 0, 2, 2])),
}


@pytest.mark.parametrize("said", FAULTS)
def test_faults_are_named(said):
    true, given_, cell = FAULTS[said]
    with pytest.raises(InvalidInputError, match=said):
        cell_mse(true, given_, cell=cell)


def test_tables_of_other_shapes_are_refused():
    with pytest.raises(InvalidInputError, match="shapes"):
        gene_r2(np.ones((3, 2)), np.ones((3, 4)))


def test_genes_far_from_zero_keep_their_digits():
    true = RNG.normal(size=(40, 4))
    given_ = true + RNG.normal(size=(40, 4))
    far = np.array([0.0, 1e7, -1e7, 3e7])
    assert gene_r2(true + far, given_ + far) == pytest.approx(gene_r2(true, given_), abs=1e-5)


def test_a_gene_that_is_constant_in_a_resample_leaves_its_median():
    true = RNG.normal(size=(10, 4))
    true[1:, 3], true[2:, 2] = 2.0, 1.0
    given_ = true + RNG.normal(size=(10, 4))
    weights = np.array(
        [[1] * 10, [0, 2, 1, 3, 1, 1, 0, 1, 1, 1], [0, 0, 1, 2, 1, 1, 1, 1, 2, 3], [0] * 4 + [5] + [0] * 5]
    )
    found = gene_r2.statistic(true, given_).of_weights(weights.astype(float))
    for row, genes, value in zip(weights, (4, 3, 2, 0), found, strict=True):
        cells = np.repeat(np.arange(10), row)
        each = [r2_score(true[cells, gene], given_[cells, gene]) for gene in range(genes)]
        assert value == pytest.approx(np.median(each) if each else np.nan, nan_ok=True)

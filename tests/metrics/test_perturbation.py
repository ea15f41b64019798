"""Scores of predicted means: golden values, hand-worked ones, and what the known answers score."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.discrimination import centroid_accuracy, distinct_neighbors, pds_chance, pds_l1, variance_error
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.perturbation import (
    direction_match,
    effect_size_error,
    effect_size_ratios,
    l2_top1000,
    mae,
    mse,
    pearson_delta,
    pearson_delta_centroid,
)
from scfm_eval.metrics.responses import Responses
from tests.perturbation_golden import FOLDER, expected, golden, golden_responses

ALL = np.ones((16, 80), dtype=bool)
MEANS = [pearson_delta, pearson_delta_centroid, mae, mse, l2_top1000, effect_size_error, variance_error]
TOLD_APART = [pds_l1, centroid_accuracy, distinct_neighbors]


def responses(n=6, n_genes=12, *, seed=0, **known):
    rng = np.random.default_rng(seed)
    control = np.tile(rng.uniform(1, 3, n_genes), (n, 1))
    truth = control + rng.normal(size=(n, n_genes))
    made = Responses(
        conditions=np.array([f"g{i}" for i in range(n)]),
        truth=truth,
        predicted=truth + rng.normal(size=(n, n_genes)),
        control=control,
        centroid=control + rng.normal(size=n_genes),
        scored=np.ones((n, n_genes), dtype=bool),
        groups=np.full(n, "a"),
        answered=np.ones(n, dtype=bool),
    )
    return replace(made, **known)


def de_top20():
    data, top = golden(), json.loads((FOLDER / "perturbation_data" / "de_top20.json").read_text())["top20"]
    return np.array([np.isin(data.genes, top[name if "+" in name else f"{name}+ctrl"]) for name in data.conditions])


def test_pearson_delta_reaches_the_golden_values():
    known = expected("pearson_delta")
    published, corrected = known["reference"]["mean_over_perturbations"], known["corrected"]
    with_targets, without = golden_responses(scored=ALL), golden_responses()
    assert pearson_delta(with_targets) == pytest.approx(published["true_control_all"], abs=1e-6)
    assert pearson_delta(with_targets.restricted(de_top20())) == pytest.approx(
        published["true_control_top20"], abs=1e-6
    )
    assert pearson_delta(without) == pytest.approx(corrected["mean_all_without_perturbed_genes"], abs=1e-6)
    top = pearson_delta(without.restricted(de_top20()))
    assert top == pytest.approx(corrected["mean_top20_without_perturbed_genes"], abs=1e-6)


def test_errors_reach_the_golden_values():
    known, made = expected("mae"), golden_responses(scored=ALL)
    assert mae(made) == pytest.approx(known["reference"]["mean"]["mae"], abs=1e-6)
    assert mse(made) == pytest.approx(known["reference"]["mean"]["mse"], abs=1e-6)
    assert l2_top1000(made) == pytest.approx(np.mean(list(known["corrected"]["l2"].values())), abs=1e-6)


def test_discrimination_reaches_the_golden_values():
    data, known = golden(), expected("pds")
    # the reference leaves out a gene that is called exactly as the condition, and takes own controls
    without = np.array([data.genes != name for name in data.conditions])
    shift = data.mean["non-targeting"] - data.predicted["non-targeting"]
    own = golden_responses(predicted={name: data.predicted[name] + shift for name in data.conditions}, scored=without)
    assert pds_l1(own) == pytest.approx(known["reference"]["mean"]["l1"], abs=1e-9)
    same = known["reference"]["mean_l1_with_true_controls_in_the_prediction"]
    assert pds_l1(golden_responses(scored=without)) == pytest.approx(same, abs=1e-9)
    assert pds_chance(own) == known["reference"]["range"]["chance"]
    doubled = golden_responses(
        predicted={n: data.mean["non-targeting"] + 2 * own.predicted_change[i] for i, n in enumerate(data.conditions)},
        scored=without,
    )
    times = known["checks"]["mean_reference_l1_when_the_predicted_effect_is_multiplied_by"]["2"]
    assert pds_l1(doubled) == pytest.approx(times, abs=1e-9)
    np.testing.assert_allclose(effect_size_ratios(doubled), 2 * effect_size_ratios(own))


def test_systema_reaches_the_golden_values():
    data, known = golden(), expected("systema")["values"]
    made = golden_responses(names=data.test, scored=ALL)
    assert pearson_delta_centroid(made) == pytest.approx(known["mean"]["pearson_delta_O_all"], abs=1e-8)
    accuracy = known["mean_centroid_accuracy"]["test"]
    assert centroid_accuracy(made) == pytest.approx(accuracy["model"], abs=1e-8)
    constant = golden_responses(names=data.test, scored=ALL, predicted=dict.fromkeys(data.test, data.centroid))
    assert centroid_accuracy(constant) == pytest.approx(accuracy["mean_of_centroids"], abs=1e-8)
    with pytest.raises(UndefinedMetricError, match=r"mean of the training perturbations.*6 conditions"):
        pearson_delta_centroid(replace(constant, predicted=constant.predicted.astype(np.float32).astype(float)))


def test_hand_worked_values():
    made = responses(
        2,
        3,
        truth=np.array([[1.0, 2.0, 3.0], [4.0, 2.0, 2.0]]),
        predicted=np.array([[1.0, 2.0, 5.0], [2.0, 2.0, 2.0]]),
        control=np.ones((2, 3)),
        scored=np.array([[True, True, True], [True, True, False]]),
    )
    assert mae(made) == pytest.approx((2 / 3 + 1) / 2)
    assert mse(made) == pytest.approx((4 / 3 + 2) / 2)
    assert l2_top1000(made) == pytest.approx((2 + 2) / 2)
    # lengths of change: sqrt 17 over sqrt 5, and sqrt 2 over sqrt 10
    size = effect_size_error.statistic(made)
    assert size.value() == pytest.approx(1 - (np.sqrt(5 / 17) + np.sqrt(2 / 10)) / 2)
    assert size.how["mean_ratio"] == pytest.approx((np.sqrt(17 / 5) + np.sqrt(2 / 10)) / 2)
    # L1 from the first prediction: 2 and 6; from the second over two genes: 2 to its own, 1 to the other
    assert pds_l1(made) == pytest.approx((1 + 0.5) / 2)
    assert direction_match(made, changed=np.array([[False, True, True], [True, False, False]])) == 1.0


def test_the_thousand_are_chosen_by_control_expression():
    control = np.tile(np.arange(1500.0), (2, 1))
    truth = control + np.where(np.arange(1500) < 500, 7.0, 0.0)
    made = responses(2, 1500, control=control, truth=truth, predicted=control, centroid=control)
    assert l2_top1000(made) == 0
    assert mae(made) > 0


@pytest.mark.parametrize("metric", [*MEANS, *TOLD_APART], ids=lambda m: m.name)
def test_the_truth_reaches_the_best(metric):
    made = responses()
    assert metric(replace(made, predicted=made.truth)) == pytest.approx(metric.best)


@pytest.mark.parametrize("times", [0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
def test_the_right_size_is_best_and_too_much_is_as_wrong_as_too_little(times):
    made = responses()
    scaled = replace(made, predicted=made.control + times * made.true_change)
    size, spread = effect_size_error.statistic(scaled), variance_error.statistic(scaled)
    assert (size.how["mean_ratio"], spread.how["ratio"]) == pytest.approx((times, times**2))
    smaller = min(times, 1 / times) if times else 0.0
    assert (size.value(), spread.value()) == pytest.approx((1 - smaller, 1 - smaller**2))


def test_one_answer_to_everything_is_at_chance_and_collapsed():
    made = responses(8)
    constant = replace(made, predicted=np.tile(made.truth.mean(axis=0), (8, 1)))
    assert pds_l1(constant) == pytest.approx(pds_chance(constant)) == pytest.approx(0.5 + 1 / 16)
    assert centroid_accuracy(constant) == pytest.approx(0.5)
    assert variance_error(constant) == 1
    assert distinct_neighbors(constant) == pytest.approx(1 / 8)


def test_answers_to_other_conditions_land_on_chance():
    made = responses(200, 30)
    wrong = replace(made, predicted=made.truth[np.random.default_rng(2).permutation(200)])
    assert pds_l1(wrong) == pytest.approx(pds_chance(wrong), abs=0.08)
    assert centroid_accuracy(wrong) == pytest.approx(0.5, abs=0.08)
    assert pearson_delta(wrong) == pytest.approx(0, abs=0.08)
    changed = np.abs(made.true_change) > 0.5
    assert direction_match(wrong, changed=changed) == pytest.approx(0.5, abs=0.08)
    assert variance_error(wrong) == pytest.approx(0, abs=1e-9)


def test_a_constant_answer_gains_by_own_targets_only():
    """With strong effects on the perturbed genes, leaving out the own one only would reveal the right condition."""
    made = responses(5, 40)
    truth = made.control + 0.01 * made.true_change
    truth[np.arange(5), np.arange(5)] -= 5
    constant = replace(made, truth=truth, predicted=made.control, scored=~np.eye(5, 40, dtype=bool))
    assert pds_l1(constant) == 1.0
    assert pds_l1(constant.comparable()) == pytest.approx(pds_chance(constant))


def test_equal_truths_share_a_rank():
    made = responses(3)
    same = np.tile(made.truth[:1], (3, 1))
    assert pds_l1(replace(made, truth=same)) == pytest.approx(1 - 1 / 3)
    assert centroid_accuracy(replace(made, truth=same)) == pytest.approx(0.5)


def test_conditions_are_told_apart_within_their_group_only():
    made = responses(4)
    swapped = replace(made, predicted=made.truth[[2, 3, 0, 1]])
    assert pds_l1(swapped) < 1
    assert pds_l1(replace(swapped, groups=np.array(["a", "b", "c", "c"]), predicted=made.truth)) == 1
    alone = replace(swapped, groups=np.array(["a", "b", "c", "d"]))
    for metric in TOLD_APART:
        with pytest.raises(UndefinedMetricError, match="no other condition was held out with it"):
            metric(alone)
    partly = pds_l1.statistic(replace(made, groups=np.array(["a", "b", "c", "c"])))
    assert partly.how["left_out"]["conditions"] == ["g0", "g1"]


def test_a_predicted_standstill_undoes_the_mean_and_is_named():
    made = responses()
    made.predicted[2] = made.control[2] + 1e-7
    with pytest.raises(UndefinedMetricError, match=r"prediction is the control.*1 conditions \(g2\)"):
        pearson_delta(made)
    assert np.isfinite(mae(made))


def test_a_true_standstill_leaves_the_mean_and_is_named():
    made = responses()
    truth = made.truth.copy()
    truth[2] = made.control[2]
    still = replace(made, truth=truth)
    statistic = pearson_delta.statistic(still)
    assert statistic.how["left_out"] == {"why": "the truth is the control", "conditions": ["g2"]}
    others = np.array([0, 1, 3, 4, 5])
    assert statistic.value() == pytest.approx(pearson_delta(still.rows(others)))
    # and does so for a model that predicts no change there, too
    predicted = made.predicted.copy()
    predicted[2] = made.control[2]
    assert pearson_delta(replace(still, predicted=predicted)) == pytest.approx(statistic.value())
    with pytest.raises(UndefinedMetricError, match="the truth is the control"):
        pearson_delta(replace(made, truth=made.control))


def test_a_missing_answer_counts_nothing_against_the_centroid():
    made = responses(4)
    predicted = made.predicted.copy()
    predicted[0] = made.centroid[0]
    partly = replace(made, predicted=predicted, answered=np.array([False, True, True, True]))
    answered = pearson_delta_centroid(made.rows(np.array([1, 2, 3])))
    assert pearson_delta_centroid(partly) == pytest.approx(answered * 3 / 4)


def test_direction_of_a_gene_that_stands_still_counts_half():
    made = responses(2)
    changed = np.ones_like(made.scored)
    changed[1] = False
    statistic = direction_match.statistic(replace(made, predicted=made.control), changed=changed)
    assert statistic.value() == 0.5
    assert statistic.how["left_out"]["conditions"] == ["g1"]
    with pytest.raises(UndefinedMetricError, match="no gene truly changed"):
        direction_match(made, changed=np.zeros_like(changed))


@pytest.mark.parametrize("metric", MEANS, ids=lambda metric: metric.name)
@settings(max_examples=15, deadline=None)
@given(repeats=st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(lambda w: sum(map(bool, w)) > 1))
def test_weights_are_repeated_conditions(metric, repeats):
    made, weights = responses(), np.array(repeats)
    again = metric(made.rows(np.repeat(np.arange(6), weights)))
    assert metric.statistic(made).of_weights(weights[None].astype(float))[0] == pytest.approx(again, rel=1e-9)


@pytest.mark.parametrize("metric", [*MEANS, *TOLD_APART], ids=lambda metric: metric.name)
def test_neither_order_of_conditions_nor_of_genes_matters(metric):
    made, rng = responses(), np.random.default_rng(1)
    rows, genes = rng.permutation(6), rng.permutation(12)
    turned = {name: getattr(made, name)[:, genes] for name in ("truth", "predicted", "control", "centroid", "scored")}
    assert metric(replace(made, **turned).rows(rows)) == pytest.approx(metric(made))


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 100))
def test_correlation_is_free_of_scale_and_all_stay_in_range(scale, seed):
    made = responses(seed=seed)
    scaled = replace(made, predicted=made.control + scale * made.predicted_change)
    assert pearson_delta(scaled) == pytest.approx(pearson_delta(made))
    np.testing.assert_allclose(effect_size_ratios(scaled), scale * effect_size_ratios(made), rtol=1e-3)
    for metric in [*MEANS, *TOLD_APART]:
        low, high = sorted((metric.best, metric.worst))
        assert low <= metric(scaled) <= high


def test_exchanged_answers_of_one_group_stay_in_it():
    made = responses(5, groups=np.array(list("aabbb")))
    shifted = made.exchanged()
    assert [len(one.conditions) for one in shifted] == [5, 3]
    for one in shifted:
        for name, answer in zip(one.conditions, one.predicted, strict=True):
            (origin,) = np.flatnonzero((made.predicted == answer).all(axis=1))
            own = list(made.conditions).index(name)
            assert made.groups[origin] == made.groups[own]
            assert origin != own
    assert responses(2, groups=np.array(["a", "b"])).exchanged() == []


@pytest.mark.parametrize(
    "fault",
    [
        {"predicted": np.full((6, 12), np.nan)},
        {"truth": np.ones((6, 11))},
        {"groups": np.array(["a"])},
        {"scored": np.ones((6, 3), dtype=bool)},
    ],
)
def test_what_cannot_be_scored_is_refused(fault):
    with pytest.raises(InvalidInputError, match="finite expression of 6 conditions"):
        responses(**fault)


def test_perturbations_that_do_not_differ_have_no_spread():
    made = responses()
    with pytest.raises(UndefinedMetricError, match="do not differ"):
        variance_error(replace(made, truth=made.control + 1))


def test_the_nearest_truth_of_a_condition_that_is_alone_does_not_count():
    truth = np.array([[1.0, 0], [0, 1], [5, 5]])
    made = Responses(
        conditions=np.array(["a", "b", "c"]),
        truth=truth,
        predicted=np.array([[0.9, 0], [0.8, 0], [5, 5]]),
        control=np.zeros((3, 2)),
        centroid=np.zeros((3, 2)),
        scored=np.ones((3, 2), dtype=bool),
        groups=np.array(["x", "x", "y"]),
        answered=np.ones(3, dtype=bool),
    )
    # both predictions lie nearest to a: one of two conditions is anybody's neighbour
    found = distinct_neighbors.statistic(made)
    weights = np.array([[1.0, 1, 1], [1, 0, 3], [0, 2, 0], [0, 0, 1], [2, 0, 0]])
    np.testing.assert_array_equal(found.of_weights(weights), [1 / 2, 1, 1, np.nan, 1])
    np.testing.assert_allclose(pds_l1.statistic(made).of_weights(np.eye(3)), [1, 0.5, np.nan])
    np.testing.assert_allclose(centroid_accuracy.statistic(made).of_weights(np.eye(3)), [1, 0, np.nan])
    assert pds_chance(made) == pytest.approx(0.75)
    assert pds_chance(replace(made, groups=made.conditions)) is None


def spread_by_pairs(change, groups, weights):
    total = 0.0
    for group in np.unique(groups):
        rows = np.repeat(change[groups == group], weights[groups == group], axis=0)
        total += ((rows - rows.mean(axis=0)) ** 2).sum() if len(rows) else 0.0
    return total


def test_spread_is_that_of_the_repeated_conditions_around_the_mean_of_their_group():
    groups = np.array(list("aabbb"))
    made = responses(5, groups=groups)
    statistic = variance_error.statistic(made)
    weights = np.array([[1, 1, 1, 1, 1], [2, 1, 0, 3, 1], [1, 0, 2, 1, 0], [4, 1, 1, 0, 2]])
    ratios = [
        spread_by_pairs(made.predicted_change, groups, row) / spread_by_pairs(made.true_change, groups, row)
        for row in weights
    ]
    np.testing.assert_allclose(statistic.of_weights(weights.astype(float)), [1 - min(r, 1 / r) for r in ratios])
    assert statistic.how["ratio"] == pytest.approx(ratios[0])
    assert np.isnan(statistic.of_weights(np.array([[1.0, 0, 1, 0, 0]]))[0])


def test_spread_is_over_genes_that_are_scored_everywhere():
    scored = np.ones((6, 12), dtype=bool)
    scored[2, :4] = False
    made = responses(scored=scored)
    some = replace(
        made, **{name: getattr(made, name)[:, 4:] for name in ("truth", "predicted", "control", "centroid", "scored")}
    )
    assert variance_error(made) == pytest.approx(variance_error(some))
    assert variance_error.statistic(made).how["n_genes"] == 8


def test_a_tie_with_another_condition_counts_half():
    truth = np.array([[0.0, 0], [2, 0], [0, 2]])
    made = responses(3, 2, truth=truth, predicted=np.array([[1.0, 0], [1, 0], [0, 2]]), control=np.zeros((3, 2)))
    np.testing.assert_allclose(pds_l1.statistic(made).of_weights(np.eye(3)), [1 - 0.5 / 3, 1 - 0.5 / 3, 1])
    np.testing.assert_allclose(centroid_accuracy.statistic(made).of_weights(np.eye(3)), [0.75, 0.75, 1])


def test_distances_are_over_the_genes_of_each_condition():
    truth = np.array([[0.0, 0, 9], [3, 3, 0]])
    predicted, scored = np.array([[0.5, 1, 0], [3, 0, 0]]), np.array([[True, True, False], [True, True, True]])
    made = responses(2, 3, truth=truth, predicted=predicted, control=np.zeros((2, 3)), scored=scored)
    # the first: 1.5 and 4.5 without the last gene; the second: 3 and 12
    np.testing.assert_allclose(pds_l1.statistic(made).of_weights(np.eye(2)), [1, 1])
    everything = replace(made, scored=np.ones((2, 3), dtype=bool))
    np.testing.assert_allclose(pds_l1.statistic(everything).of_weights(np.eye(2)), [0.5, 1])


def test_the_thousand_genes_most_expressed_in_control_are_taken():
    rng = np.random.default_rng(0)
    n = 1003
    control = np.tile(rng.permutation(n).astype(float), (2, 1))
    truth, predicted = rng.normal(size=(2, 2, n))
    scored = np.ones((2, n), dtype=bool)
    scored[1, control[1] >= n - 2] = False
    made = responses(2, n, truth=truth, predicted=predicted, control=control, scored=scored)
    squares = (truth - predicted) ** 2
    expected = [np.sqrt(squares[0, control[0] >= 3].sum()), np.sqrt(squares[1, (control[1] >= 1) & scored[1]].sum())]
    statistic = l2_top1000.statistic(made)
    np.testing.assert_allclose(statistic.of_weights(np.eye(2)), expected)
    assert statistic.how["n_genes"] == 1000


def test_direction_counts_what_stays_where_it_was_as_half():
    made = responses(
        2, 4, control=np.zeros((2, 4)), truth=np.array([[1.0, -1, 1, 0], [1, 1, 1, 1]]),
        predicted=np.array([[2.0, 3, 0, 0], [1, 1, 1, 1]]),
    )  # fmt: skip
    changed = np.array([[True, True, True, False], [True, False, False, False]])
    np.testing.assert_allclose(direction_match.statistic(made, changed=changed).of_weights(np.eye(2)), [0.5, 1])


def test_a_missing_answer_that_does_not_move_is_no_fault_but_scores_nothing():
    made = responses()
    still = np.where(np.arange(6)[:, None] == 2, made.control, made.predicted)
    found = pearson_delta.statistic(replace(made, predicted=still, answered=np.arange(6) != 2))
    assert found.of_weights(np.eye(6))[2] == 0
    with pytest.raises(UndefinedMetricError, match=r"1 conditions \(g2\)"):
        pearson_delta(replace(made, predicted=still))


def test_what_changes_in_genes_that_are_not_scored_is_no_change():
    made = responses()
    scored = np.ones((6, 12), dtype=bool)
    scored[:, 0] = False
    elsewhere = np.where(np.arange(12) == 0, 5.0, 0.0)
    with pytest.raises(UndefinedMetricError, match="the truth is the control"):
        pearson_delta(replace(made, truth=made.control + elsewhere, scored=scored))
    with pytest.raises(UndefinedMetricError, match="the prediction is the control"):
        pearson_delta(replace(made, predicted=made.control - elsewhere, scored=scored))
    kept = {name: getattr(made, name)[:, 1:] for name in ("truth", "predicted", "control", "centroid", "scored")}
    without, restricted = replace(made, **kept), replace(made, scored=scored)
    for metric in (pearson_delta, pearson_delta_centroid, mae, mse, l2_top1000, effect_size_error):
        assert metric(restricted) == pytest.approx(metric(without)), metric.name


def test_of_genes_equally_expressed_the_first_are_taken():
    truth = np.random.default_rng(1).normal(size=(2, 1005))
    flat = np.ones((2, 1005))
    made = responses(2, 1005, truth=truth, predicted=np.zeros((2, 1005)), control=flat)
    expected = np.sqrt((truth[:, :1000] ** 2).sum(axis=1))
    np.testing.assert_allclose(l2_top1000.statistic(made).of_weights(np.eye(2)), expected)


def test_neighbours_are_nearest_by_the_sum_of_absolute_differences():
    # of (0, 0), (3, 0) is nearer by the sum, (2, 2) by the squares
    truth, still = np.array([[3.0, 0], [2, 2], [9, 9]]), np.zeros((3, 2))
    made = responses(3, 2, truth=truth, predicted=np.array([[0.0, 0], [0, 0], [2, 2]]), control=still)
    np.testing.assert_array_equal(
        distinct_neighbors.statistic(made).of_weights(np.array([[1.0, 1, 0], [1, 1, 1]])), [1 / 2, 2 / 3]
    )
    np.testing.assert_allclose(pds_l1.statistic(made).of_weights(np.eye(3)), [1, 1 - 1 / 3, 1 - 2 / 3])
    np.testing.assert_allclose(centroid_accuracy.statistic(made).of_weights(np.eye(3)), [0.5, 1, 0])

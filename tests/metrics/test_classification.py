import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import classification
from scfm_eval.metrics.metric import UndefinedMetricError

CLASSES = np.array(["B", "NK", "T", "mono"])
BY_PREDICTION = [classification.accuracy, classification.balanced_accuracy, classification.macro_f1]
cells = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES), st.integers(1, 3)), min_size=2)


def second_implementation(metric, truth, predicted):
    """The same value from scikit-learn."""
    if metric is classification.macro_f1:
        return sklearn_metrics.f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    if metric is classification.balanced_accuracy:
        return sklearn_metrics.recall_score(truth, predicted, labels=np.unique(truth), average="macro")
    return sklearn_metrics.accuracy_score(truth, predicted)


@pytest.mark.parametrize("metric", BY_PREDICTION, ids=lambda metric: metric.name)
@settings(max_examples=40, deadline=None)
@given(cells)
def test_equals_scikit_learn_on_the_repeated_cells(metric, cells):
    truth, predicted, repeats = (np.array(column) for column in zip(*cells, strict=True))
    statistic = metric.statistic(truth, predicted, classes=CLASSES)
    assert statistic.value() == pytest.approx(second_implementation(metric, truth, predicted))
    weighted = statistic.of_weights(np.array([repeats, np.ones(len(truth))], dtype=float))
    again = second_implementation(metric, np.repeat(truth, repeats), np.repeat(predicted, repeats))
    np.testing.assert_allclose(weighted, [again, statistic.value()])


@pytest.mark.parametrize("metric", BY_PREDICTION, ids=lambda metric: metric.name)
def test_oracle_is_best_and_always_wrong_is_worst(metric):
    truth = np.repeat(CLASSES, 5)
    assert metric(truth, truth, classes=CLASSES) == metric.best
    assert metric(truth, np.roll(truth, 5), classes=CLASSES) == metric.worst


@pytest.mark.parametrize("metric", [classification.balanced_accuracy, classification.macro_f1], ids=lambda m: m.name)
def test_random_predictions_land_near_chance(metric):
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice(CLASSES, size=(2, 4000))
    assert metric(truth, predicted, classes=CLASSES) == pytest.approx(0.25, abs=0.03)


def test_hand_worked_macro_f1():
    truth, predicted = ["B", "B", "B", "T", "NK"], ["B", "B", "T", "T", "mono"]
    # B: 2·2 / (3 + 2) = 0.8; T: 2·1 / (1 + 2) = 2/3; NK is never predicted: 0; mono has no cell: no member
    assert classification.macro_f1(truth, predicted, classes=CLASSES) == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert classification.balanced_accuracy(truth, predicted, classes=CLASSES) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert classification.macro_f1.statistic(truth, predicted, classes=CLASSES).how["classes_without_cells"] == ["mono"]


def test_a_class_absent_from_a_resample_leaves_its_mean():
    statistic = classification.macro_f1.statistic(["B", "B", "T"], ["B", "B", "B"], classes=["B", "T"])
    np.testing.assert_allclose(statistic.of_weights(np.array([[1.0, 1, 1], [1, 2, 0]])), [0.4, 1.0])


def test_per_class_says_none_where_there_is_nothing_to_divide_by():
    table = classification.per_class(["B", "B", "T"], ["B", "mono", "B"], classes=CLASSES)
    assert list(table) == list(CLASSES)
    assert table["B"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert table["T"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}
    assert table["mono"] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    assert table["NK"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_confusion_matrix_has_truth_in_rows_in_the_order_of_classes():
    matrix = classification.confusion_matrix(["T", "T", "B"], ["B", "T", "B"], classes=["T", "B"])
    np.testing.assert_array_equal(matrix, [[1, 1], [0, 1]])


def test_a_class_that_was_not_announced_is_refused_by_name():
    with pytest.raises(InvalidInputError, match="Treg"):
        classification.accuracy(["B", "T"], ["B", "Treg"], classes=CLASSES)
    with pytest.raises(InvalidInputError, match="twice"):
        classification.accuracy(["B"], ["B"], classes=["B", "B"])


def softmax_case(seed=0, n_cells=500):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), size=n_cells)
    truth = np.array([rng.choice(CLASSES, p=row) for row in probabilities])
    return truth, probabilities


def test_log_loss_equals_scikit_learn_with_columns_in_any_order():
    truth, probabilities = softmax_case()
    expected = sklearn_metrics.log_loss(truth, probabilities, labels=CLASSES)
    order = [2, 0, 3, 1]
    for columns in (slice(None), order):
        found = classification.log_loss(truth, probabilities=probabilities[:, columns], classes=CLASSES[columns])
        assert found == pytest.approx(expected)
    repeats = np.random.default_rng(1).integers(3, size=len(truth))
    weighted = classification.log_loss.statistic(truth, probabilities=probabilities, classes=CLASSES).of_weights(
        repeats[None].astype(float)
    )
    again = sklearn_metrics.log_loss(
        np.repeat(truth, repeats), np.repeat(probabilities, repeats, axis=0), labels=CLASSES
    )
    assert weighted[0] == pytest.approx(again)


def test_log_loss_without_a_column_for_a_true_class_is_undefined():
    with pytest.raises(UndefinedMetricError, match="NK"):
        classification.log_loss(["B", "NK"], probabilities=np.full((2, 2), 0.5), classes=["B", "T"])


def test_log_loss_of_certain_errors_stays_finite():
    loss = classification.log_loss(["B"], probabilities=np.array([[0.0, 1.0]]), classes=["B", "T"])
    assert loss == pytest.approx(36.04, abs=0.01)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    truth = ["B", "T", "B", "B"]
    # bins of 0.6 (accuracy 1/2), 0.9 (1) and 0.8 (0)
    expected = (2 * 0.1 + 0.1 + 0.8) / 4
    arguments = {"probabilities": probabilities, "classes": ["B", "T"]}
    assert classification.expected_calibration_error(truth, **arguments) == pytest.approx(expected)
    statistic = classification.expected_calibration_error.statistic(truth, **arguments)
    assert statistic.of_weights(np.array([[0.0, 3, 1, 0]]))[0] == pytest.approx((3 * 0.6 + 0.1) / 4)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower():
    # 0.75 shares the bin of 0.6, where an error of -0.4 and one of 0.75 partly cancel
    probabilities = np.array([[0.6, 0.4], [0.75, 0.25]])
    found = classification.expected_calibration_error(
        ["B", "T"], probabilities=probabilities, classes=["B", "T"], n_bins=4
    )
    assert found == pytest.approx((0.75 - 0.4) / 2)


def test_calibrated_probabilities_have_little_error_and_overconfident_ones_much():
    truth, probabilities = softmax_case(n_cells=4000)
    calibrated = classification.expected_calibration_error(truth, probabilities=probabilities, classes=CLASSES)
    sure = (probabilities == probabilities.max(axis=1, keepdims=True)).astype(float)
    overconfident = classification.expected_calibration_error(truth, probabilities=sure, classes=CLASSES)
    wrong = 1 - classification.accuracy(truth, CLASSES[probabilities.argmax(axis=1)], classes=CLASSES)
    assert calibrated < 0.05
    assert overconfident == pytest.approx(wrong)


@pytest.mark.parametrize("probabilities", [[[0.5, 0.6]], [[1.5, -0.5]], [[np.nan, 1]], [[1.0]]])
def test_what_is_no_probability_is_refused(probabilities):
    with pytest.raises(InvalidInputError):
        classification.log_loss(["B"], probabilities=np.array(probabilities), classes=["B", "T"])


def test_direction_is_declared():
    assert not classification.log_loss.higher_is_better
    assert not classification.expected_calibration_error.higher_is_better
    assert all(metric.higher_is_better for metric in BY_PREDICTION)


@pytest.mark.parametrize(
    ("truth", "predicted", "found"),
    [
        (["B", "T"], ["B"], "shapes (2,) and (1,)"),
        ([["B"], ["T"]], [["B"], ["T"]], "shapes (2, 1) and (2, 1)"),
        ([["B", "T"]], ["B", "T"], "shapes (1, 2) and (2,)"),
        ([], [], "shapes (0,) and (0,)"),
    ],
)
def test_arrays_of_other_cells_are_refused_with_their_shapes(truth, predicted, found):
    with pytest.raises(InvalidInputError) as refused:
        classification.accuracy(truth, predicted, classes=CLASSES)
    assert refused.value.found == found


def test_all_strange_labels_are_named_and_no_others():
    for truth, predicted in ((["B", "x", "y", "x"], ["B"] * 4), (["B"] * 4, ["B", "x", "y", "x"])):
        with pytest.raises(InvalidInputError) as refused:
            classification.accuracy(truth, predicted, classes=CLASSES)
        assert (refused.value.asked, refused.value.found) == ("labels among 4 classes", "x, y")


def test_classes_may_come_in_any_order_and_be_numbers():
    truth, predicted = [10, 2, 2, 30], [10, 2, 30, 30]
    assert classification.macro_f1(truth, predicted, classes=[30, 10, 2]) == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    table = classification.per_class(truth, predicted, classes=[30, 10, 2])
    assert list(table) == ["30", "10", "2"]
    assert table["2"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert classification.confusion_matrix(truth, predicted, classes=[30, 10, 2]).dtype == np.int64


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ([1 + 9e-7, 0.0], False),
        ([1 + 2e-6, 0.0], True),
        ([0.50009, 0.5], False),
        ([0.5002, 0.5], True),
        ([0.4998, 0.5], True),
    ],
)
def test_probabilities_may_be_off_by_rounding_only(row, refused):
    if refused:
        with pytest.raises(InvalidInputError, match="rows sum to 1"):
            classification.log_loss(["B"], probabilities=[row], classes=["B", "T"])
    else:
        assert classification.log_loss(["B"], probabilities=[row], classes=["B", "T"]) == pytest.approx(-np.log(row[0]))


def test_probabilities_of_other_cells_or_classes_are_refused_with_their_shape():
    for truth, shape in ((["B"], (2, 2)), (["B", "T"], (2, 3)), ([], (0, 2))):
        with pytest.raises(InvalidInputError) as refused:
            classification.log_loss(truth, probabilities=np.full(shape, 1 / max(shape[1], 1)), classes=["B", "T"])
        assert (refused.value.asked, refused.value.found) == (f"probabilities ({len(truth)}, 2)", f"shape {shape}")


def test_the_upper_end_of_a_bin_belongs_to_it():
    # five bins: 0.6 is in the third with 0.5, of which one is right: |1/2 − 0.55|; 0.7 is right in the fourth
    probabilities = [[0.6, 0.4], [0.5, 0.5], [0.7, 0.3]]
    found = classification.expected_calibration_error(
        ["B", "T", "B"], probabilities=probabilities, classes=["B", "T"], n_bins=5
    )
    assert found == pytest.approx((2 * abs(1 / 2 - 0.55) + abs(1 - 0.7)) / 3)


def test_calibration_has_fifteen_bins_from_zero_to_one():
    confidence = (np.arange(15) + 0.6) / 15
    shares = np.column_stack([confidence, *[(1 - confidence) / 40] * 40])
    truth = np.where(np.arange(15) % 2, "a0", "none of them")
    classes = [f"a{i}" for i in range(41)]
    # one cell per bin: nothing cancels
    expected = np.mean(np.abs((truth == "a0") - confidence))
    found = classification.expected_calibration_error(truth, probabilities=shares, classes=classes)
    assert found == pytest.approx(expected)


def test_a_class_without_a_column_is_never_right():
    found = classification.expected_calibration_error(["x"], probabilities=[[0.25, 0.75]], classes=["B", "T"])
    assert found == pytest.approx(0.75)

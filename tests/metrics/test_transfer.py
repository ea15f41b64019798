import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.transfer import domain_accuracy, macro_f1_drop


def test_hand_worked_drop():
    truth = ["B", "B", "T", "T"]
    found = macro_f1_drop.statistic(truth, within=truth, transferred=["B", "B", "B", "T"], classes=["B", "T"])
    # B: 4/5, T: 2/3
    assert found.value() == pytest.approx(1 - (4 / 5 + 2 / 3) / 2)
    assert found.of_weights(np.array([[1.0, 1, 0, 1]]))[0] == 0


def test_learning_elsewhere_can_be_better():
    truth = ["B", "T"]
    assert macro_f1_drop(truth, within=["T", "B"], transferred=truth, classes=truth) == macro_f1_drop.best
    assert macro_f1_drop(truth, within=truth, transferred=["T", "B"], classes=truth) == macro_f1_drop.worst


DOMAIN = np.repeat(["source", "target"], [6, 4])
LABELS = np.array(["B", "B", "B", "B", "B", "T", "B", "T", "T", "T"])


def test_knowing_the_type_only_is_at_chance_though_types_differ_in_frequency():
    guessed = np.where(LABELS == "B", "source", "target")
    assert (guessed == DOMAIN).mean() == 0.8
    assert domain_accuracy(DOMAIN, predicted=guessed, labels=LABELS) == domain_accuracy.chance
    assert domain_accuracy(DOMAIN, predicted=DOMAIN, labels=LABELS) == domain_accuracy.worst


def test_erring_more_often_than_a_coin_is_no_better_than_a_coin():
    swapped = np.where(DOMAIN == "source", "target", "source")
    found = domain_accuracy.statistic(DOMAIN, predicted=swapped, labels=LABELS)
    assert found.value() == domain_accuracy.best == domain_accuracy.chance == 0.5
    assert found.how["share"] == 0
    assert np.isnan(found.of_weights(np.zeros((1, 10)))[0])


def test_hand_worked_domain_accuracy():
    guessed = ["source"] * 4 + ["target"] * 6
    # B of the source 4/5, T of the source 0/1, B and T of the target all
    assert domain_accuracy(DOMAIN, predicted=guessed, labels=LABELS) == pytest.approx((4 / 5 + 0 + 1 + 1) / 4)


def test_a_label_of_one_domain_does_not_count():
    labels = np.where(np.arange(10) == 0, "plasma", LABELS)
    guessed = ["target", *DOMAIN[1:]]
    assert domain_accuracy(DOMAIN, predicted=guessed, labels=labels) == 1
    with pytest.raises(UndefinedMetricError, match="no label"):
        domain_accuracy(DOMAIN, predicted=DOMAIN, labels=DOMAIN)
    with pytest.raises(UndefinedMetricError, match="there is source"):
        domain_accuracy(["source"] * 3, predicted=["source"] * 3, labels=["B", "B", "T"])
    with pytest.raises(InvalidInputError, match="one per cell"):
        domain_accuracy(DOMAIN, predicted=DOMAIN[1:], labels=LABELS)

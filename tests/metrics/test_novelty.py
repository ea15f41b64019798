import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.novelty import auroc, novelty_auroc

NAN = np.nan
cells = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 3)), min_size=2).filter(
    lambda rows: len({positive for _, positive, _ in rows}) == 2
)


def test_hand_worked_auroc():
    # positives 3 and 1, negatives 2, 1 and 0: 3 beats all three, 1 beats one and ties with one
    assert auroc([3, 1, 2, 1, 0], positive=[1, 1, 0, 0, 0]) == pytest.approx((3 + 1.5) / 6)


def test_hand_worked_weights():
    statistic = auroc.statistic([3, 1, 2, 1, 0], positive=[1, 1, 0, 0, 0])
    weights = np.array([[0, 2, 1, 1, 1], [1, 1, 0, 3, 0], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=float)
    # twice the 1: 1.5 of 3; three ties for the 1 and three wins for the 3; one kind only: none
    np.testing.assert_allclose(statistic.of_weights(weights), [0.5, (3 + 1.5) / 6, NAN, NAN])


@settings(max_examples=60, deadline=None)
@given(cells, st.randoms())
def test_equals_scikit_learn_on_the_repeated_cells_in_any_order(rows, shuffler):
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    scores, positive, repeats = (np.array(column) for column in zip(*shuffled, strict=True))
    statistic = auroc.statistic(scores, positive=positive)
    assert statistic.value() == pytest.approx(roc_auc_score(positive, scores))
    again = roc_auc_score(np.repeat(positive, repeats), np.repeat(scores, repeats))
    assert statistic.of_weights(repeats[None].astype(float))[0] == pytest.approx(again)
    assert auroc(np.exp(scores), positive=positive) == pytest.approx(statistic.value())
    assert auroc(-scores, positive=positive) == pytest.approx(1 - statistic.value())


def test_the_ends_and_the_middle():
    positive = np.repeat([False, True], 20)
    assert auroc(positive, positive=positive) == auroc.best
    assert auroc(~positive, positive=positive) == auroc.worst
    assert auroc(np.zeros(40), positive=positive) == auroc.chance
    assert auroc([-np.inf, 0, np.inf], positive=[0, 0, 1]) == 1


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_one_kind_only_is_undefined(positive):
    with pytest.raises(UndefinedMetricError, match="both kinds are needed"):
        auroc([1, 2], positive=positive)


@pytest.mark.parametrize(("scores", "positive"), [([1, NAN], [0, 1]), ([1, 2, 3], [0, 1])])
def test_what_is_no_score_is_refused(scores, positive):
    with pytest.raises(InvalidInputError):
        auroc(scores, positive=positive)


def test_types_count_alike_whatever_their_number_of_cells():
    labels = ["B", "B", "B", "T", "T", "NK"]
    scores = [[1, 1, 1, 0, 0, 0], [2, 2, 2, 1, 3, 0]]
    # B stands out; of T one cell beats all four others, the other one of them
    assert novelty_auroc(scores, labels=labels, held_out=["B", "T"]) == pytest.approx((1 + 5 / 8) / 2)


def test_cells_that_were_not_scored_count_nowhere():
    labels = ["B", "B", "T", "T", "NK"]
    statistic = novelty_auroc.statistic([[1, NAN, 0, NAN, 2]], labels=labels, held_out=["B"])
    assert statistic.value() == 0.5
    np.testing.assert_allclose(statistic.of_weights(np.array([[1.0, 9, 3, 9, 1], [1, 9, 0, 9, 0]])), [0.75, NAN])


def test_a_type_absent_from_a_resample_leaves_its_mean():
    statistic = novelty_auroc.statistic([[1, 0, 0], [1, 0, 1]], labels=["B", "T", "NK"], held_out=["B", "T"])
    np.testing.assert_allclose(statistic.of_weights(np.array([[1.0, 1, 1], [0, 1, 1], [1, 0, 1]])), [0.5, 0, 1])


def test_nothing_held_out_is_undefined():
    with pytest.raises(UndefinedMetricError, match="no type was held out"):
        novelty_auroc(np.empty((0, 3)), labels=["B", "T", "NK"], held_out=[])
    with pytest.raises(UndefinedMetricError, match="0 of 2"):
        novelty_auroc([[NAN, 1, 2]], labels=["B", "T", "NK"], held_out=["B"])
    with pytest.raises(InvalidInputError, match="one row per held-out type"):
        novelty_auroc([[1, 2]], labels=["B", "T", "NK"], held_out=["B"])

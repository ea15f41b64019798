"""Scores compare by paired differences, say by how much, and refuse what cannot be compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.score import Comparison, NotApplicableError, Score, UndecidedError, recording

RNG = np.random.default_rng(0)
NOISE = RNG.normal(scale=0.05, size=1000)


def score(value, *, noise=NOISE, model="a", pairing="same", **known):
    replicates = None if noise is None else value + noise
    return Score(value, name="macro_f1", model=model, dataset="toy", replicates=replicates, pairing=pairing, **known)


def test_shared_noise_cancels_in_a_paired_difference():
    assert score(0.81) > score(0.80, model="b")


def test_unshared_noise_does_not_cancel():
    other = score(0.80, noise=np.random.default_rng(1).normal(scale=0.05, size=1000), model="b")
    assert not score(0.81) > other


def test_greater_or_equal_takes_the_stated_margin():
    other = score(0.80, noise=NOISE[::-1], model="b")
    assert not score(0.80) >= other
    assert score(0.80) >= other - 0.2


def test_lower_is_better_is_claimed_with_less_than():
    assert score(0.1, higher_is_better=False) < score(0.2, higher_is_better=False)
    assert not score(0.2) < score(0.1)


def test_against_a_number_the_own_interval_decides():
    assert score(0.80) > 0.65
    assert not score(0.80) > 0.75


def test_explains_by_how_much():
    text = str(score(0.412, model="geneformer").compare(score(0.653, model="hvg"), ">"))
    assert text.startswith("geneformer macro_f1 = 0.412 [0.3")
    assert "on toy is not > hvg macro_f1 = 0.653" in text
    assert text.endswith("short by 0.241 [0.241, 0.241]")


@pytest.mark.parametrize(
    ("relation", "difference", "low", "high", "said"),
    [
        (">", 0.1, 0.05, 0.2, "ahead by 0.100 [0.050, 0.200]"),
        (">", -0.1, -0.2, 0.05, "short by 0.100 [-0.050, 0.200]"),
        ("<", -0.1, -0.2, -0.05, "ahead by 0.100 [0.050, 0.200]"),
        ("<=", 0.1, 0.05, 0.2, "short by 0.100 [0.050, 0.200]"),
        ("at least level with", -0.1, -0.2, -0.05, "short by 0.100 [0.050, 0.200]"),
        ("at most level with", 0.1, -0.05, 0.2, "short by 0.100 [-0.050, 0.200]"),
        (">", 0.0, -0.1, 0.1, "level [-0.100, +0.100]"),
    ],
)
def test_the_amount_and_its_interval_have_one_sign(relation, difference, low, high, said):
    holds = said.startswith("ahead")
    assert str(Comparison("a", relation, "b", holds, difference, low, high)).endswith(f"b: {said}")


def test_says_when_ahead_but_not_surely():
    text = str(score(0.81).compare(score(0.80, noise=-NOISE), ">"))
    assert "ahead by 0.010" in text
    assert "does not exclude a loss" in text


@pytest.mark.parametrize(
    "other", [score(0.5, pairing="other"), Score(None, name="x", model="m", dataset="d", reason="one batch")]
)
def test_what_cannot_be_decided_is_neither_true_nor_false(other):
    with pytest.raises(UndecidedError, match="cannot be decided"):
        bool(score(0.9) > other)


def test_undefined_is_nan_with_a_reason():
    undefined = Score(None, name="kbet", model="m", dataset="d", reason="one batch")
    assert math.isnan(undefined)
    assert "one batch" in str(undefined)


def test_regression_is_a_sure_loss_only():
    reference = score(0.80, noise=-NOISE)
    assert score(0.79).has_not_regressed_from(reference)
    assert not score(0.79).has_not_regressed_from(score(0.80))
    assert score(0.21, higher_is_better=False).has_not_regressed_from(score(0.22, higher_is_better=False))


def test_every_comparison_is_recorded_once():
    with recording() as made:
        assert score(0.9) > score(0.1)
        assert not score(0.1) > score(0.9)
    assert [found.holds for found in made] == [True, False]


def test_arithmetic_that_would_lose_the_interval_is_refused():
    for broken in (lambda s: s * 2, lambda s: s / s, lambda s: -s, lambda s: 1 - s):
        with pytest.raises(TypeError, match="loses the interval"):
            broken(score(0.9))
    assert (0.1 + score(0.5)).interval == (score(0.5) + 0.1).interval


def test_a_margin_is_a_number():
    with pytest.raises(TypeError, match="margin"):
        score(0.9) - score(0.1)


@given(st.floats(0, 1), st.floats(0, 1))
def test_no_two_scores_beat_each_other(a, b):
    assert not (score(a) > score(b) and score(b) > score(a))


@pytest.mark.parametrize(
    ("ours", "theirs", "noise", "standing"),
    [
        (0.9, 0.8, NOISE, 1),
        (0.8, 0.9, NOISE, -1),
        (0.81, 0.80, -NOISE, 0),
        (0.5 + 2e-12, 0.5, NOISE, 0),
    ],
)
def test_standing_goes_by_the_interval_and_the_direction(ours, theirs, noise, standing):
    left, right = score(ours), score(theirs, noise=noise)
    assert left.standing(right) == standing
    assert (left > right).holds == (standing == 1)
    turned = (score(ours, higher_is_better=False), score(theirs, noise=noise, higher_is_better=False))
    assert turned[0].standing(turned[1]) == -standing


@pytest.mark.parametrize(
    "other",
    [
        score(0.5, pairing="other"),
        score(None, noise=None, reason="one batch"),
        score(0.5, noise=None),
        score(0.5, noise=np.full(1000, np.nan)),
        score(0.5, noise=NOISE[:500]),
        score(0.5, applies=False),
    ],
)
def test_without_a_paired_interval_there_is_no_standing(other):
    assert score(0.9).standing(other) is None
    assert other.standing(score(0.9)) is None


def test_another_number_of_resamples_cannot_be_compared():
    with pytest.raises(UndecidedError, match="another number of resamples"):
        bool(score(0.9) > score(0.5, noise=NOISE[:500]))


def test_a_score_that_does_not_apply_is_no_claim_at_all():
    without = score(None, noise=None, reason="no head", applies=False)
    for claim in (lambda: without > 0.1, lambda: score(0.8) > without, lambda: without - 0.1 >= without.chance):
        with pytest.raises(NotApplicableError, match="no head"):
            claim()


def test_what_rounding_alone_decides_is_level():
    assert not score(0.5, noise=np.zeros(1000)) > 0.5 - 1e-12
    with pytest.raises(UndecidedError, match="no chance level"):
        bool(score(0.5) > None)


@pytest.mark.parametrize(
    "known", [{"n_units": 30}, {"n_units": None}, {"n_units": 6, "noise": NOISE / 100}, {"n_units": 6, "noise": None}]
)
def test_a_control_that_can_be_told_is_judged(known):
    score(0.5, **known).require_told(0.47, 0.53)


def test_a_control_that_few_units_cannot_tell_is_skipped_and_one_that_is_surely_off_is_not():
    with pytest.raises(NotApplicableError, match=r"6 units are too few to tell .* between 0\.470 and 0\.530"):
        score(0.5, n_units=6).require_told(0.47, 0.53)
    with pytest.raises(NotApplicableError, match="too few"):
        score(0.66, n_units=6).require_told(0.47, 0.53)
    score(0.9, n_units=6).require_told(0.47, 0.53)

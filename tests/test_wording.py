"""Numbers, differences and lists as a person reads them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.wording import counted, difference, listed, number, signed, there, with_interval


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.500"),
        (0, "0.000"),
        (-0.0, "0.000"),
        (-0.25, "-0.250"),
        (0.001, "0.001"),
        (0.00012, "1.2e-04"),
        (999.9994, "999.999"),
        (999.9996, "1,000"),
        (-12345.6, "-12,346"),
        (None, "undefined"),
        (math.nan, "undefined"),
        (math.inf, "undefined"),
        ("text", "undefined"),
    ],
)
def test_a_number(value, shown):
    assert number(value) == shown


@given(st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-300))
def test_a_number_is_never_shown_as_zero_or_far_off(value):
    read = float(number(value).replace(",", ""))
    assert abs(read - value) <= 0.051 * abs(value)
    assert (read == 0) == (value == 0)


def test_a_sign_is_shown_except_of_what_is_undefined():
    assert [signed(value) for value in (0.5, -0.5, 0, None)] == ["+0.500", "-0.500", "+0.000", "undefined"]


def test_an_interval_is_whole_or_said_to_be_missing():
    assert with_interval(0.5, low=0.4, high=0.6) == "0.500 [0.400, 0.600]"
    assert with_interval(0.5, low=math.nan, high=0.6) == "0.500 [no interval]"
    assert with_interval(None, low=0.4, high=0.6) == "undefined"


def test_a_difference_has_its_interval_or_says_that_there_is_none():
    assert difference(-0.2, low=-0.3, high=0.1) == "-0.200 [-0.300, +0.100]"
    assert difference(0.00012, low=None, high=None) == "+1.2e-04 [no interval]"
    assert difference(math.nan, low=0.1, high=0.2) == "undefined"


def test_things_are_counted():
    assert [counted(n, "model") for n in (0, 1, 2000)] == ["0 models", "1 model", "2,000 models"]
    assert counted(2, "unexpected pass", "unexpected passes") == "2 unexpected passes"


def test_names_are_listed():
    assert [listed(list(names)) for names in ("", "a", "ab", "abcd")] == ["none", "a", "a and b", "a, b, c and d"]
    assert [listed(list("abcd"), most=most) for most in (3, 4)] == ["a, b, c and 1 more", "a, b, c and d"]


def test_what_is_no_finite_number_is_not_there():
    assert [there(value) for value in (0, 0.5, math.nan, -math.inf, None, "1")] == [True, True, *[False] * 4]

"""What DataTables is given holds text, never markup of strangers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from scfm_eval.html.data import MOST_PLAIN, data_element, json_of
from scfm_eval.html.tables import Column, Table, number
from tests.html.reports import HOSTILE


@given(st.text())
def test_text_is_escaped_in_cells_and_heads(text):
    options = Table("t", "c", [Column(text), Column("b")], [[text, "x"]]).options()
    for shown in (options["data"][0][0], options["columns"][0]["title"]):
        assert "<" not in shown
        assert Markup(shown).unescape() == Markup.escape(text).unescape()


def test_markup_and_what_sorts_it_stay_and_what_is_missing_is_null():
    options = Table("t", "c", [Column("a", "number"), Column("b")], [[(Markup("<b>1</b>"), 1), math.nan]]).options()
    assert options["data"] == [[["<b>1</b>", 1], None]]
    assert options["columns"][0]["render"] == {"_": "0", "sort": "1", "type": "1"}


def test_an_optional_column_goes_where_it_is_empty():
    columns = [Column("a"), Column("why", optional=True)]
    assert [c["title"] for c in Table("t", "c", columns, [["x", None]]).options()["columns"]] == ["a"]
    assert len(Table("t", "c", columns, [["x", "because"]]).options()["columns"]) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.500"),
        (0.0, "0.000"),
        (12345.6, "12,346"),
        (0.00042, "4.2e-04"),
        (-0.25, "-0.250"),
        (None, None),
        (math.nan, None),
        (math.inf, None),
    ],
)
def test_numbers_have_three_places_and_undefined_is_none(value, text):
    assert number(value) == text


@given(
    st.recursive(st.none() | st.text() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_data_cannot_close_their_element_and_come_back_as_they_were(value):
    element = data_element(value)
    inside = element.removeprefix('<script type="application/json">').removesuffix("</script>")
    assert "<" not in inside
    assert json.loads(inside) == json.loads(json_of(value))


def test_nan_is_null():
    assert json_of({"a": math.nan, "b": [math.inf]}) == '{"a":null,"b":[null]}'


def test_much_data_is_packed():
    element = data_element([HOSTILE] * MOST_PLAIN)
    assert element.startswith('<script type="application/gzip">')
    assert len(element) < MOST_PLAIN

"""Data inside the page: JSON that cannot be taken for markup, packed where there is much of it."""

from __future__ import annotations

import gzip
from base64 import b64encode
from typing import Any

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from pydantic_core import to_json

MOST_PLAIN = 100_000
"""Bytes of JSON above which the data are compressed."""

_PLAIN = Markup('<script type="application/json">{}</script>')
_PACKED = Markup('<script type="application/gzip">{}</script>')


def data_element(value: Any) -> Markup:
    """Return a ``script`` element that holds the value and runs nothing.

    Its text is JSON with ``<``, ``>``, ``&`` and ``'`` written as escapes, or, above ``MOST_PLAIN`` bytes, base64 of
    JSON compressed by gzip.
    """
    text = json_of(value)
    if len(text) <= MOST_PLAIN:
        return _PLAIN.format(htmlsafe_json_dumps(value, dumps=json_of))
    return _PACKED.format(b64encode(gzip.compress(text.encode(), mtime=0)).decode())


def json_of(value: Any, **_: Any) -> str:
    """Return JSON; NaN and infinity, which it does not know, become null."""
    return to_json(value, inf_nan_mode="null").decode()

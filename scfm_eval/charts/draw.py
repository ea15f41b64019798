"""A figure as a picture for a paper: PNG, SVG or PDF, drawn without network."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any, Literal, get_args

import vl_convert

from scfm_eval.charts.figure import Figure, looks
from scfm_eval.errors import InvalidInputError

Format = Literal["png", "svg", "pdf"]
"""Formats of pictures."""

_INK, _FONT_SIZE, _WIDTH, _LINE = "#222222", 13, 480, 56
_FONT = "Arial, Liberation Sans, Helvetica, sans-serif"
"""Fonts of the same widths: an SVG is cut where another font than the one that was measured is wider."""
_PIXELS_PER_INCH = 300
_OFFLINE: dict[str, Any] = {"allowed_base_urls": []}
_WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "png": lambda spec: bytes(vl_convert.vegalite_to_png(spec, scale=_PIXELS_PER_INCH / 72, ppi=72, **_OFFLINE)),
    "svg": lambda spec: str(vl_convert.vegalite_to_svg(spec, **_OFFLINE)).encode(),
    "pdf": lambda spec: bytes(vl_convert.vegalite_to_pdf(spec, **_OFFLINE)),
}


def drawn(figure: Figure, format: Format = "png") -> bytes:  # noqa: A002 - the word of savefig and to_png
    """Return the picture on white, under its title, of what the dropdowns choose at first.

    Parameters
    ----------
    figure
        The figure.
    format
        ``"png"`` of 300 pixels per inch, ``"svg"`` or ``"pdf"``.

    Raises
    ------
    InvalidInputError
        For any other format.
    """
    if format not in get_args(Format):
        raise InvalidInputError(
            asked=f"a figure as {format}", found="no such format", remedy=f"name one of {', '.join(get_args(Format))}"
        )
    return _WRITERS[format](_for_paper(figure))


def _for_paper(figure: Figure) -> dict[str, Any]:
    spec: dict[str, Any] = figure.chart.to_dict()
    width = {"width": _WIDTH} if spec.get("width") == "container" else {}
    title: dict[str, Any] = {"text": textwrap.wrap(figure.title, _LINE)}
    if "title" in spec:
        title["subtitle"] = spec["title"]["text"]
    config = looks(ink=_INK, size=_FONT_SIZE) | {"background": "white", "font": _FONT}
    return spec | width | {"title": title, "config": config}

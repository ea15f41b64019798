"""The document as one HTML file that needs nothing else; everything from a report is escaped by Jinja2."""

from __future__ import annotations

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from scfm_eval.charts.draw import drawn
from scfm_eval.paper.document import Document, Picture, plain, verbatim


def written(document: Document) -> str:
    """Return the page, with figures as SVG images inside it."""
    environment = Environment(
        loader=PackageLoader("scfm_eval.paper", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("paper.html.jinja")
    blocks = [(type(block).__name__, block) for block in document.blocks]
    return template.render(document=document, blocks=blocks, drawn=_inlined, verbatim=_verbatim) + "\n"


def _inlined(picture: Picture) -> str:
    packed = base64.b64encode(drawn(picture.figure, "svg")).decode("ascii")
    return f"data:image/svg+xml;base64,{packed}"


def _verbatim(text: str) -> Markup:
    return escape(verbatim(text))


def _visible(value: Any) -> Any:
    return plain(value) if type(value) is str else value

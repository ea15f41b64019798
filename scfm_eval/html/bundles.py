"""The libraries that run in the page, as addresses that hold them whole, so that no request leaves it."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from importlib.resources import files

import vl_convert


@cache
def tables_bundle() -> tuple[str, str]:
    """Return DataTables with its extensions, as itables packs it: the address of the module, and its style."""
    packed = files("itables") / "html"
    script, style = ((packed / f"dt_bundle.{ending}").read_text(encoding="utf-8") for ending in ("js", "css"))
    return _address(script), style.replace("</", r"<\/")


@cache
def charts_bundle() -> str:
    """Return the address of a module that sets ``window.vegaEmbed``: Vega, Vega-Lite and Vega-Embed."""
    # its stub lacks the default
    return _address(vl_convert.javascript_bundle())  # type: ignore[call-arg]


def _address(script: str) -> str:
    return f"data:text/javascript;base64,{b64encode(script.encode()).decode()}"

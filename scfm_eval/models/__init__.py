"""Models: one self-contained adapter a file. ``Geneformer`` and ``ScGPT`` are importable from here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scfm_eval.models.geneformer import Geneformer
    from scfm_eval.models.scgpt import ScGPT

__all__ = ["Geneformer", "ScGPT"]

_HOME = {"Geneformer": "geneformer", "ScGPT": "scgpt"}


def __getattr__(name: str) -> type:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)  # type: ignore[no-any-return]

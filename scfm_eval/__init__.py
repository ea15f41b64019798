"""A benchmark suite for single-cell foundation models that is a pytest suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scfm_eval.report import Report, read_report

__all__ = ["Report", "read_report"]


def __getattr__(name: str) -> Any:
    # the plugin imports this package in every run of pytest: nothing heavy until it is asked for
    if name in __all__:
        from scfm_eval import report

        return getattr(report, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

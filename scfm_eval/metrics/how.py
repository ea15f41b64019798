"""How a value was obtained: package versions and parameters, kept beside every number."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any


def made_with(*packages: str, **parameters: Any) -> dict[str, Any]:
    """Return what a report needs to make a value again.

    Parameters
    ----------
    *packages
        Distribution names whose code the value depends on, beside this suite and numpy.
    **parameters
        Parameters of the metric, and what it found out about its input.

    Returns
    -------
    ``{"packages": {name: version}, **parameters}``.
    """
    return {"packages": {name: _version(name) for name in ("scfm-eval", "numpy", *packages)}, **parameters}


@cache
def _version(package: str) -> str:
    return version(package)

"""Reports as tidy tables in CSV files, for any other program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from scfm_eval.atomic import replacing
from scfm_eval.report import Report

FRAMES: dict[str, Callable[[Report], pd.DataFrame]] = {
    "scores": Report.to_frame,
    "claims": Report.claims_frame,
    "costs": Report.costs_frame,
}
"""What can be written, and what makes it of a report."""


def frame(reports: Mapping[str, Report], what: str) -> pd.DataFrame:
    """Return one of :data:`FRAMES` over several reports, with a first column ``report``.

    Parameters
    ----------
    reports
        Reports by name.
    what
        ``"scores"``, ``"claims"`` or ``"costs"``.
    """
    parts = [FRAMES[what](report) for report in reports.values()]
    full = [part.assign(report=name) for name, part in zip(reports, parts, strict=True) if len(part)]
    columns = ["report", *parts[0].columns]
    # without the empty ones: they would turn numbers into objects
    return pd.concat(full, ignore_index=True)[columns] if full else pd.DataFrame(columns=columns)


def write_csv(reports: Mapping[str, Report], path: Path, *, what: str | None = None) -> list[Path]:
    """Write one table into the file ``path``, or all three into the folder ``path``; returns the files.

    Numbers are written so that they read back the same; undefined is an empty field with a ``reason`` beside it.
    """
    if what is not None:
        with replacing(path) as temporary:
            frame(reports, what).to_csv(temporary, index=False)
        return [path]
    return [made for name in FRAMES for made in write_csv(reports, path / f"{name}.csv", what=name)]

"""Where the suite's own tests find real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real datasets as `<name>.h5ad`: `$SCFM_EVAL_DATA`."""
    folder = Path(os.environ.get("SCFM_EVAL_DATA", "no folder named"))
    if not (folder / "pbmc3k.h5ad").exists():
        pytest.skip(f"no real datasets in {folder}: set SCFM_EVAL_DATA to a folder with pbmc3k.h5ad and others")
    return folder

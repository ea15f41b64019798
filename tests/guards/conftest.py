"""Datasets that no guard of cells and keys may refuse, or tell an untruth of."""

from __future__ import annotations

import pytest

from tests.guards.asked import REAL
from tests.guards.judged import MADE, cells_of


@pytest.fixture(params=(*REAL, *MADE))
def sound(request):
    """Cells of one real or embedded dataset; real ones are skipped, with the reason, where they are not at hand."""
    if request.param in REAL:
        request.getfixturevalue("real_data")
    return cells_of(request.param)


@pytest.fixture
def blood():
    """The cells of pbmc68k_reduced."""
    return cells_of("pbmc68k_reduced")

"""The adapter contract on methods that mean nothing without batches."""

from __future__ import annotations

import pytest

from scfm_eval.cells import Cells, model_view
from scfm_eval.discovery import find_dataset, find_model
from scfm_eval.models.card import card
from tests.conformance.subjects import Subject
from tests.conformance.test_conformance import *  # noqa: F403 - every check, collected here once more


@pytest.fixture(scope="module", params=["harmony", "scanorama"])
def subject(request):
    """A method with 60 simulated cells of all batches."""
    if request.param == "scanorama":
        pytest.importorskip("scanorama", reason="Scanorama is an extra that needs a compiler")
    model, dataset = find_model(request.param), find_dataset("synthetic_batches")
    about, cells = card(model), Cells(dataset, dataset.load())
    seen, _ = model_view(model, about, cells, weights=None)
    few = slice(None, None, seen.n_obs // 60)
    labels = cells.adata.obs["label"].to_numpy()[few].astype(str)
    return Subject(model, about, seen[few].copy(), labels, None, {"seed": 0})

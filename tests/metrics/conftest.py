"""Inputs that the metric tests share: golden folders and a small mixture of types and batches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden_metrics"


def _golden(name):
    inputs = dict(np.load(GOLDEN / name / "input.npz"))
    for array in inputs.values():
        array.flags.writeable = False
    return SimpleNamespace(**inputs, expected=json.loads((GOLDEN / name / "expected.json").read_text()))


@pytest.fixture(scope="session")
def integration_golden():
    return _golden("integration")


@pytest.fixture(scope="session")
def jaccard_golden():
    return _golden("scibe_jaccard")


@pytest.fixture(scope="session")
def mixture():
    """Four separated types in three batches with a batch shift, read-only."""
    rng = np.random.default_rng(0)
    type_of_cell, batch_of_cell = rng.integers(4, size=240), rng.integers(3, size=240)
    X = 4 * rng.normal(size=(4, 6))[type_of_cell] + rng.normal(size=(3, 6))[batch_of_cell] + rng.normal(size=(240, 6))
    labels = np.array(["B", "NK", "T", "mono"])[type_of_cell]
    batch = np.array(["p1", "p2", "p3"])[batch_of_cell]
    for array in (X, labels, batch):
        array.flags.writeable = False
    return SimpleNamespace(X=X, labels=labels, batch=batch, n_cells=240)

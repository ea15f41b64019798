"""SCimilarity against what upstream computes."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.models.counts import aligned_counts
from scfm_eval.models.scimilarity import SCimilarity

FOLDER = Path(__file__).parent / "scimilarity"


def model(**options):
    return SCimilarity(weights=FOLDER, fewest_genes=10, unread="keep", **options)


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture(scope="module")
def expected():
    return np.load(FOLDER / "expected.npz")


def near(made, wanted):
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5)


def test_what_the_encoder_reads(cells, expected):
    counts = aligned_counts(cells, genes=list(cells.var_names), order=model().genes)
    np.testing.assert_array_equal(counts.sum(axis=1).A1, expected["total_in_list"])
    near(model().log_normalised(cells).toarray(), expected["lognorm"])


@pytest.mark.parametrize(("normalise", "array"), [(True, "embedding"), (False, "unnormalised")])
def test_embedding(cells, expected, normalise, array):
    made = model(normalise=normalise).embed(cells)
    assert made.dtype == np.float32
    near(made, expected[array])


def test_hidden_blocks(cells, expected):
    made = model(batch_size=5).hidden_blocks(cells)
    assert len(made) == 2
    for number, block in enumerate(made):
        near(block, expected[f"hidden_{number}"])

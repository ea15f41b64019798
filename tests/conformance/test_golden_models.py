"""The adapter contract on every published family, on the tiny checkpoints of tests/parity."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.datasets.view import view
from scfm_eval.discovery import find_model
from scfm_eval.models.card import card
from tests.conformance.subjects import Subject
from tests.conformance.test_conformance import *  # noqa: F403 - every check, collected here once more

PARITY = Path(__file__).parents[1] / "parity"
GOLDEN = {
    "geneformer": "geneformer_v2",
    "geneformer-v1-10m": "geneformer_v1",
    "scgpt": "scgpt",
    "scfoundation": "scfoundation",
    "uce-4layers": "uce",
    "langcell": "langcell",
    "nicheformer": "nicheformer",
    "scbert": "scbert",
    "scimilarity": "scimilarity",
    "genept-w": "genept",
}
OPTIONS = {"scimilarity": {"fewest_genes": 10}}
GENES = {"ensembl": ("ensembl_id", "gene_id"), "symbol": ("feature_name", "gene_name")}


@pytest.fixture(scope="module", params=GOLDEN)
def subject(request):
    """A family on its golden checkpoint, and those of the golden cells that have something to read."""
    model, folder = find_model(request.param), PARITY / GOLDEN[request.param]
    about = card(model, name=request.param)
    cells = _named(ad.read_h5ad(folder / "cells.h5ad"), about.gene_ids)
    seen, _ = view(
        cells, gene_ids=about.gene_ids, source_gene_ids=about.gene_ids, vocabulary=model.vocabulary(folder), keep=()
    )
    full = np.asarray((seen.X > 0).sum(axis=1)).ravel() >= 5
    seen = seen[full].copy()
    return Subject(
        model, about, seen, np.array(["a"] * seen.n_obs), folder, {"seed": 0, **OPTIONS.get(request.param, {})}
    )


def _named(cells, namespace):
    column = next((name for name in GENES[namespace] if name in cells.var), None)
    cells.var_names = cells.var[column].astype(str) if column else cells.var_names
    cells = cells[:, ~cells.var_names.duplicated()].copy()
    cells.obs, cells.var = cells.obs[[]], cells.var[[]]
    return cells

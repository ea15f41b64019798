"""The adapter contract on what has no golden checkpoint: tables, linear models, references, and what runs elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from scfm_eval.cells import Cells, model_view
from scfm_eval.discovery import find_dataset, find_model
from scfm_eval.models.card import card
from scfm_eval.models.genept import sentences
from tests.conformance.subjects import Subject
from tests.conformance.test_conformance import *  # noqa: F403 - every check, collected here once more
from tests.models import test_celltypist, test_scvi_reference

MINIMAL = Path(__file__).parents[2] / "examples" / "outside" / "minimal"
WIDTH = 12


def _gene_table(folder, cells):
    rows = np.random.default_rng(0).normal(size=(cells.n_vars, WIDTH)).astype(np.float32)
    np.savez(folder / "vectors.npz", genes=cells.var_names.to_numpy(dtype=str), vectors=rows)
    return None, folder / "vectors.npz"


def _rows_of_sentences(folder, cells):
    rows = np.random.default_rng(0).normal(size=(cells.n_obs, WIDTH)).astype(np.float32)
    assert len(set(sentences(cells))) == cells.n_obs
    np.savez(folder / "rows.npz", embedding=rows, cell_ids=cells.obs_names.to_numpy(dtype=str))
    return None, folder / "rows.npz"


def _stored(folder, cells):
    _, file = _rows_of_sentences(folder, cells)
    return str(file), None


def _linear(folder, _cells):
    test_celltypist.written(folder, *test_celltypist.fitted("logistic", test_celltypist.TYPES))
    return None, folder


def _scvi(folder, _cells):
    test_scvi_reference.trained("plain", folder / "reference")
    return None, folder / "reference"


def _scanvi(folder, _cells):
    test_scvi_reference.trained("scanvi", folder / "reference")
    return None, folder / "reference"


def _outside(folder, _cells):
    text = (MINIMAL / "minimal.toml").read_text().replace('"venv/bin/python"', f'"{sys.executable}"')
    (folder / "minimal.toml").write_text(text)
    (folder / "minimal.py").write_bytes((MINIMAL / "minimal.py").read_bytes())
    return str(folder / "minimal.toml"), None


def _real_cells():
    dataset = find_dataset("pbmc68k_reduced")
    return Cells(dataset, dataset.load()[:60].copy())


MADE = {
    "gene2vec": _gene_table,
    "gene-vectors": _gene_table,
    "genept-s": _rows_of_sentences,
    "stored": _stored,
    "outside": _outside,
    "celltypist": _linear,
    "scvi-reference": _scvi,
    "scanvi-reference": _scanvi,
}
OWN_CELLS = {
    "celltypist": lambda: test_celltypist.made_cells(30, seed=1),
    "scvi-reference": lambda: test_scvi_reference.made_cells(25, seed=1),
    "scanvi-reference": lambda: test_scvi_reference.made_cells(25, seed=1),
}


@pytest.fixture(scope="module", params=MADE)
def subject(request, tmp_path_factory):
    """A model with weights that are made here, and cells that it can read."""
    folder = tmp_path_factory.mktemp("made")
    if request.param in OWN_CELLS:
        cells = OWN_CELLS[request.param]()
        cells.obs = cells.obs[["batch"] if "batch" in cells.obs else []]
        spec, weights = MADE[request.param](folder, cells)
        model = find_model(spec or request.param)
        return Subject(model, card(model), cells, np.array(["a"] * cells.n_obs), weights, {"seed": 0})
    cells = _real_cells()
    spec, weights = MADE[request.param](folder, cells.adata)
    model = find_model(spec or request.param)
    seen, _ = model_view(model, card(model), cells, weights=weights)
    return Subject(model, card(model), seen, cells.adata.obs["label"].to_numpy(dtype=str), weights, {"seed": 0})

"""What every adapter owes, checked on any model: `pytest tests/conformance --model ./my_model.py:MyModel`.

Without `--model`, the models, baselines and controls that come with the package are checked. A check that a model
cannot pass is declared on its card, `exceptions = {"works_on_chunks": "why"}`, and the report shows it.
"""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import weakref
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from scfm_eval.cells import model_view
from scfm_eval.datasets.view import view
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Embedder
from scfm_eval.owed import checked
from scfm_eval.provenance import weights_folder
from scfm_eval.selection import RUN
from scfm_eval.tasks.task import lacks
from tests.conformance.subjects import FOREIGN, Subject

N_CELLS = 60
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
HEAVY = ("torch", "transformers", "scvi", "lightning", "jax", "tensorflow")


@dataclass(frozen=True)
class Conformance:
    """The adapter contract; no score."""

    name: ClassVar[str] = "conformance"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = ()

    def refuses(self, model):
        return lacks(model, Embedder)


task = Conformance()


@pytest.fixture(scope="session")
def subject(request, model, cells, model_class):
    """The model and its view of 60 cells."""
    found = model_class(model)
    about = card(found, name=model)
    option = request.config.getoption
    folder = weights_folder(found, request.config.stash[RUN].weights.get(model), offline=option("--offline"))
    seen, _ = model_view(found, about, cells, weights=folder)
    labels = cells.adata.obs["label"].to_numpy()[:N_CELLS].astype(str)
    settings = {name: option(f"--{name}") for name in ("device", "precision", "offline")} | {"seed": 0}
    return Subject(found, about, seen[:N_CELLS].copy(), labels, folder, settings)


def test_gives_one_finite_float_row_per_cell(subject):
    cells = subject.cells
    assert checked(subject.instance.embed(cells), cells, name=subject.about.name).shape[0] == cells.n_obs


def test_never_changes_its_input(subject):
    cells, before = subject.cells, copy.deepcopy(subject.cells)
    subject.instance.embed(cells)
    np.testing.assert_array_equal(cells.X.toarray(), before.X.toarray())
    assert cells.obs.equals(before.obs)
    assert cells.var.equals(before.var)
    assert cells.obs_names.equals(before.obs_names)
    assert not cells.obsm
    assert not cells.uns


def test_gives_the_same_again(subject):
    embed = subject.instance.embed
    np.testing.assert_array_equal(embed(subject.cells), embed(subject.cells))


def test_the_same_seed_gives_the_same(subject):
    first, second = (subject.loaded().embed(subject.cells) for _ in range(2))
    np.testing.assert_allclose(first, second, **CLOSE)


def test_rows_follow_the_cells(subject):
    cells, embed = subject.cells, subject.instance.embed
    order = np.random.default_rng(0).permutation(cells.n_obs)
    np.testing.assert_allclose(embed(cells[order].copy()), embed(cells)[order], **CLOSE)


def test_a_cell_does_not_depend_on_its_neighbours(subject):
    cells, embed = subject.cells, subject.instance.embed
    np.testing.assert_allclose(embed(cells[:7].copy()), embed(cells)[:7], **CLOSE)


def test_the_batch_size_does_not_matter(subject):
    if not subject.takes("batch_size"):
        pytest.skip("its constructor has no batch_size")
    one, many = (subject.loaded(batch_size=size).embed(subject.cells) for size in (1, 16))
    np.testing.assert_allclose(one, many, **CLOSE)


def test_the_order_of_genes_does_not_matter(subject):
    if not subject.knows_genes:
        pytest.skip("it reads the genes that it learned from, and came with none")
    order = np.random.default_rng(1).permutation(subject.cells.n_vars)
    embed = subject.instance.embed
    np.testing.assert_allclose(embed(subject.cells[:, order].copy()), embed(subject.cells), **CLOSE)


def test_genes_that_it_does_not_know_do_not_matter(subject):
    if not subject.knows_genes:
        pytest.skip("it reads the genes that it learned from, and came with none")
    embed = subject.instance.embed
    np.testing.assert_allclose(embed(subject.with_foreign_genes()), embed(subject.cells), **CLOSE)


def test_genes_that_it_does_not_know_are_counted(subject):
    if not subject.knows_genes or subject.about.gene_ids is None:
        pytest.skip("it reads the genes that it learned from, and came with none")
    namespace = subject.about.gene_ids
    vocabulary = subject.model.vocabulary(subject.weights)
    assert not set(FOREIGN) & set(vocabulary)
    more = subject.with_foreign_genes()
    _, readable = view(more, gene_ids=namespace, source_gene_ids=namespace, vocabulary=vocabulary)
    assert readable.n_genes == subject.cells.n_vars
    assert readable.genes == pytest.approx(subject.cells.n_vars / more.n_vars)
    assert readable.counts == pytest.approx(0.25, rel=1e-4)


def test_works_on_a_backed_file(subject, tmp_path):
    subject.cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    made = subject.instance.embed(backed)
    backed.file.close()
    np.testing.assert_allclose(made, subject.instance.embed(subject.cells), **CLOSE)


def test_works_on_chunks(subject):
    import dask.array as da

    chunked = subject.cells.copy()
    chunked.X = da.from_array(chunked.X.toarray(), chunks=(7, chunked.n_vars)).map_blocks(sparse.csr_matrix)
    np.testing.assert_allclose(subject.instance.embed(chunked), subject.instance.embed(subject.cells), **CLOSE)


def test_a_cell_without_counts_is_refused_or_has_a_finite_row(subject):
    empty = subject.cells[:3].copy()
    empty.X = sparse.csr_matrix(empty.X.toarray() * np.array([[1], [0], [1]], dtype=np.float32))
    try:
        rows = subject.instance.embed(empty)
    except InvalidInputError:
        return
    assert np.isfinite(rows).all()


def test_lower_precision_stays_within_its_tolerance(subject):
    if not subject.takes("precision"):
        pytest.skip("its constructor has no precision")
    assert subject.about.tolerances, "declare `tolerances`, e.g. {'bfloat16': 0.01}: the largest 1 − cosine of a row"
    exact = subject.loaded(precision="float32").embed(subject.cells)
    for precision, tolerance in subject.about.tolerances.items():
        rows = subject.loaded(precision=precision).embed(subject.cells)
        cosine = (exact * rows).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rows, axis=1)
        assert 1 - cosine.min() <= tolerance, precision
        assert not np.array_equal(rows, exact), f"{precision} changes nothing: it is not used"


def test_runs_on_the_device_that_is_named(subject):
    if not subject.takes("device"):
        pytest.skip("its constructor has no device")
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        subject.loaded(device="cuda").embed(subject.cells)
        assert torch.cuda.max_memory_allocated() > before
        return
    # each package refuses a device that is not there in its own way
    with pytest.raises(Exception, match=r"(?i)cuda|gpu|nvidia|device"):
        subject.loaded(device="cuda").embed(subject.cells)


def _device_memory():
    torch = sys.modules.get("torch")
    return torch.cuda.memory_allocated() if torch is not None and torch.cuda.is_initialized() else 0


def test_memory_is_freed(subject):
    before = _device_memory()
    made = subject.loaded()
    made.embed(subject.cells)
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None
    assert _device_memory() <= before


def test_the_class_can_be_pickled(subject):
    assert pickle.loads(pickle.dumps(subject.model)) is subject.model  # noqa: S301


@cache
def _heavy_imports_of(file):
    code = (
        "import importlib.util, sys; "
        "spec = importlib.util.spec_from_file_location('under_test', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); sys.modules['under_test'] = module; "
        f"spec.loader.exec_module(module); print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    made = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    return made.stdout.split()


def test_is_imported_without_heavy_packages(subject):
    """Listing models and collecting claims import every class: what is heavy is imported when it is loaded."""
    assert _heavy_imports_of(sys.modules[subject.model.__module__].__file__) == []


def test_has_a_card(subject):
    about = subject.about
    assert about.name
    assert about.role in ("model", "baseline", "control")
    assert about.gene_ids in (None, "symbol", "ensembl")
    checks = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(about.exceptions) <= checks, "an exception from a check that there is not"
    assert all(about.exceptions.values())


__all__ = [name for name in globals() if name.startswith("test_")]

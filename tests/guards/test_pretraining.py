"""A dataset that a model saw in pretraining is told of once per result, under whatever name it comes."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval import guards
from scfm_eval.cells import Cells
from scfm_eval.datasets.build_known_cells import main
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.known_cells import _known, count_hashes, name_hashes, recognised, sketch
from scfm_eval.device import Resident
from scfm_eval.evaluate import evaluate
from scfm_eval.store import Store
from scfm_eval.tasks.annotation import Annotation
from tests.guards.asked import EMBEDDED, REAL, some_of
from tests.toys import toy_cells


class Saw:
    """A model that was pretrained on the toy cells."""

    name = "saw"
    pretrained_on = ("known",)

    def embed(self, cells):
        return np.log1p(cells.X.toarray())


class New(Saw):
    """One that was not."""

    name = "new"
    pretrained_on = ("elsewhere",)


def large(*, seed=0):
    """Return toy cells that are known by their counts: many genes, all names of their own."""
    cells = toy_cells(n_cells=600, seed=seed)
    cells.obs_names = [f"{seed}:{name}" for name in cells.obs_names]
    return cells


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Make the toy cells a known dataset."""
    cells, path = large(), tmp_path / "known.h5ad"
    cells.write_h5ad(path)
    main([f"known={path}", str(tmp_path / "known.npz")])
    _known.cache_clear()
    monkeypatch.setattr("scfm_eval.datasets.known_cells.PACKAGED", tmp_path / "known.npz")
    yield cells
    _known.cache_clear()


def renamed_cells(cells):
    cells.obs_names = [f"x{i}" for i in range(cells.n_obs)]
    return cells


def renamed_genes(cells):
    cells.var_names = [f"y{i}" for i in range(cells.n_vars)]
    return renamed_cells(cells)


def fewer_genes(cells):
    return cells[:, :25].copy()


def a_part(cells):
    return cells[::7].copy()


def shuffled(cells):
    order = np.random.default_rng(0).permutation
    return renamed_cells(cells[order(cells.n_obs)][:, order(cells.n_vars)].copy())


def mixed(cells):
    return ad.concat([cells[:150], large(seed=1)])


def result(model, cells, folder, *, name="mine"):
    """Return the result of a model on cells under a name."""
    dataset = Dataset(name=name, build=lambda: cells, label_key="cell_type")
    loaded = Cells(dataset, dataset.load())
    return evaluate(Annotation(), model, loaded, store=Store(folder), resident=Resident())


def told(found):
    """Return what the guard tells of a result."""
    return [one.found for one in found.findings if one.guard == "pretraining"]


@pytest.mark.parametrize("change", [renamed_cells, renamed_genes, fewer_genes, a_part, shuffled, mixed])
def test_cells_of_the_pretraining_are_known_under_another_name(change, known, tmp_path):
    found = result(Saw, change(known.copy()), tmp_path)
    assert told(found) == ["saw saw mine in pretraining, whose cells are those of known"]
    assert found.model.saw_dataset_in_pretraining is True
    assert found.notes == []
    assert not told(result(New, change(known.copy()), tmp_path))
    with guards.without(["pretraining"]):
        unguarded = result(Saw, change(known.copy()), tmp_path)
    assert not told(unguarded)
    # the fact is kept: pages and papers say so whatever is told
    assert unguarded.model.saw_dataset_in_pretraining is True


def test_it_is_told_by_the_name_alone_and_from_the_store_too(tmp_path):
    for _ in range(2):
        found = result(Saw, toy_cells(), tmp_path, name="known")
        assert told(found) == ["saw saw known in pretraining"]


@pytest.mark.usefixtures("known")
def test_other_cells_are_no_false_alarm(tmp_path):
    assert not told(result(Saw, large(seed=1), tmp_path))
    assert recognised(toy_cells()) == ()


def test_hashes_of_counts_know_no_order_and_no_zeros():
    cells = toy_cells(n_cells=50)
    turned = cells[:, ::-1].copy()
    dense = cells.copy()
    dense.X = cells.X.toarray().astype(np.int64)
    assert (count_hashes(cells) == count_hashes(turned)).all()
    assert (count_hashes(cells) == count_hashes(dense)).all()
    assert len(set(count_hashes(cells))) == 50
    few = cells[:, :5].copy()
    assert len(set(count_hashes(few))) == 1
    made = sketch(name_hashes([f"cell{i}" for i in range(1000)]))
    assert (len(made), made[0]) == (257, 1000)
    assert (np.diff(made[1:].astype(float)) > 0).all()


@pytest.mark.parametrize("dataset", EMBEDDED)
def test_embedded_datasets_are_none_of_the_known(dataset):
    assert recognised(some_of(dataset, n_cells=10_000).adata) == ()


@pytest.mark.parametrize("dataset", REAL)
def test_real_datasets_are_known_as_themselves_and_as_no_other(dataset, real_data: Path):
    cells = ad.read_h5ad(real_data / f"{dataset}.h5ad")
    itself = () if dataset.startswith("perturbseq") else (dataset,)
    assert recognised(cells) == itself
    few = cells[:: max(1, cells.n_obs // 300)].copy()
    assert recognised(few) == itself
    assert recognised(renamed_cells(few)) == itself

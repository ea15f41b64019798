"""What every adapter owes, checked on any model: `pytest tests/conformance --model ./my_model.py:MyModel`.

Without `--model`, the models, baselines and controls that come with the package are checked.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from scfm_eval.cells import model_view
from scfm_eval.device import Resident
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Embedder, LabelTrainable, Trainable, missing_methods
from scfm_eval.owed import checked
from scfm_eval.provenance import weights_folder
from scfm_eval.selection import RUN
from scfm_eval.tasks.task import lacks


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
def loaded(request, model, cells, model_class):
    """The model, ready to embed, and its view of 60 cells."""
    found = model_class(model)
    about = card(found, name=model)
    option = request.config.getoption
    folder = weights_folder(found, request.config.stash[RUN].weights.get(model), offline=option("--offline"))
    view, _ = model_view(found, about, cells, weights=folder)
    few = view[:60].copy()
    resident = Resident(device=option("--device"), precision=option("--precision"), offline=option("--offline"), seed=0)
    instance = resident.load(found, name=model, **({"weights": folder} if folder else {}))
    if not missing_methods(found, LabelTrainable):
        instance.fit_with_labels(few, labels=cells.adata.obs["label"].to_numpy()[:60].astype(str))
    elif not missing_methods(found, Trainable):
        instance.fit(few)
    return instance, few, about


def test_gives_one_finite_float_row_per_cell(loaded):
    instance, cells, about = loaded
    assert checked(instance.embed(cells), cells, name=about.name).shape[0] == 60


def test_never_changes_its_input(loaded):
    instance, cells, _ = loaded
    before = copy.deepcopy(cells)
    instance.embed(cells)
    np.testing.assert_array_equal(cells.X.toarray(), before.X.toarray())
    assert cells.obs.equals(before.obs)
    assert cells.var.equals(before.var)
    assert cells.obs_names.equals(before.obs_names)
    assert not cells.obsm
    assert not cells.uns


def test_gives_the_same_again(loaded):
    instance, cells, _ = loaded
    np.testing.assert_array_equal(instance.embed(cells), instance.embed(cells))


def test_rows_follow_the_cells(loaded):
    instance, cells, _ = loaded
    if getattr(instance, "transductive", False):
        pytest.skip("a transductive method aligns the batches in an order that depends on all cells")
    order = np.random.default_rng(0).permutation(cells.n_obs)
    straight, shuffled = instance.embed(cells), instance.embed(cells[order].copy())
    np.testing.assert_allclose(shuffled, straight[order], atol=2e-5, rtol=1e-4)


def test_a_cell_does_not_depend_on_its_neighbours(loaded):
    instance, cells, _ = loaded
    if getattr(instance, "transductive", False):
        pytest.skip("a transductive method embeds all cells of the call together")
    np.testing.assert_allclose(instance.embed(cells[:7].copy()), instance.embed(cells)[:7], atol=2e-5, rtol=1e-4)


def test_has_a_card(loaded):
    _, _, about = loaded
    assert about.name
    assert about.role in ("model", "baseline", "control")
    assert about.gene_ids in (None, "symbol", "ensembl")

"""Confounded: batches that labels, or perturbations, go with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval import guards
from scfm_eval.cells import Cells
from scfm_eval.datasets.confounding import (
    cramers_v,
    labels_in_one_batch,
    require_labels_in_several_batches,
    tell_confounded,
)
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.tasks.integration import BatchIntegration
from tests.guards.judged import judged
from tests.toys import toy_cells


def keyed(**columns):
    obs = pd.DataFrame({key: pd.Categorical(list(values)) for key, values in columns.items()})
    return AnnData(np.ones((len(obs), 1), dtype=np.float32), obs=obs.set_index(obs.index.astype(str)))


def told(cells):
    with guards.listening() as findings:
        tell_confounded(cells, dataset="x")
    return [finding.found for finding in findings]


def confounded_toy():
    cells = toy_cells()
    cells.obs["lane"] = np.where(cells.obs["cell_type"] == "a", "x", "y")
    return cells


TOY = Dataset(name="toy", build=confounded_toy, label_key="cell_type", batch_key="lane", organism="simulated")


def test_integration_of_labels_that_the_batch_follows_from_is_refused_and_goes_on_without_the_guard(tmp_path):
    cells = Cells(TOY, TOY.load())
    with pytest.raises(guards.GuardError, match="each of its 3 labels occurs in one batch only"):
        judged(cells, tmp_path, task=BatchIntegration(n_components=5))
    with guards.without(["confounded"]):
        result = judged(cells, tmp_path, task=BatchIntegration(n_components=5))
        assert result["nmi"] > 0.5
    assert result.dataset.findings == []
    told_of = [finding.guard for finding in Cells(TOY, TOY.load()).findings]
    assert told_of == ["confounded"]


def test_annotation_is_not_concerned_but_told(tmp_path):
    result = judged(Cells(TOY, TOY.load()), tmp_path)
    (finding,) = result.dataset.findings
    assert finding.found == (
        "100% of the labelled cells have a label that occurs in one batch only; Cramér's V of label and batch is 0.99"
    )


def test_a_part_is_told_from_a_tenth_of_the_cells_on():
    assert told(keyed(label="AB" * 45 + "C" * 10, batch="1122" * 22 + "11" + "1" * 10)) != []
    assert told(keyed(label="AB" * 46 + "C" * 8, batch="1122" * 23 + "1" * 8)) == []


def test_lanes_of_one_label_each_are_told_but_not_refused():
    cells = keyed(label="AAAABBBB" * 5, batch="11223344" * 5)
    require_labels_in_several_batches(cells, dataset="x")
    assert labels_in_one_batch(cells) == 0
    assert "Cramér's V of label and batch is 0.97" in told(cells)[0]


def test_perturbed_cells_in_batches_without_controls_are_told():
    assert (
        "50% of the perturbed cells are in 1 batches"
        in told(keyed(perturbation=["control", "A", "B", "C"] * 5 + ["D"] * 15, batch="1" * 20 + "2" * 15))[0]
    )
    assert told(keyed(perturbation=["control", "A"] * 10, batch="1122" * 5)) == []


def test_donors_that_are_batches_are_no_fault():
    assert told(keyed(label="AB" * 20, batch="1122" * 10, donor="1122" * 10)) == []


def test_cells_without_a_label_do_not_count():
    assert labels_in_one_batch(keyed(label=["A", "A", None, None], batch="1212")) == 0
    assert cramers_v(keyed(label=[None, None], batch="12")) == 0


@settings(deadline=None, max_examples=30)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40), seed=st.integers(0, 99)
)
def test_names_and_order_are_no_matter(pairs, seed):
    rng = np.random.default_rng(seed)
    label, batch = np.array(pairs).T
    order = rng.permutation(len(label))
    other = keyed(label=rng.permutation(4)[label[order]], batch=rng.permutation(4)[batch[order]])
    cells = keyed(label=label, batch=batch)
    assert labels_in_one_batch(cells) == labels_in_one_batch(other)
    assert cramers_v(cells) == pytest.approx(cramers_v(other), abs=1e-6)
    assert 0 <= cramers_v(cells) <= 1


def test_sound_datasets_are_neither_refused_nor_told_of(sound):
    if {"label", "batch"} <= set(sound.adata.obs):
        require_labels_in_several_batches(sound.adata, dataset=sound.dataset.name)
    assert told(sound.adata) == []


def test_one_batch_alone_confounds_nothing():
    assert told(keyed(label="aabb", batch="xxxx")) == []

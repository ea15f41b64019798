"""Batches hold like lengths within a budget, and rows come back in the order of the cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.batching import batches_by_length, layer_number, padded, pool_in_batches, refuse_unread


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_every_cell_is_in_one_batch_within_the_budget(lengths, budget):
    lengths = np.array(lengths)
    batches = batches_by_length(lengths, token_budget=budget)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    assert (np.diff(lengths[np.concatenate(batches)]) <= 0).all()


def test_padded_fills_on_the_right():
    made = padded([np.array([1, 2, 3]), np.array([4])], fill=0)
    np.testing.assert_array_equal(made, [[1, 2, 3], [4, 0, 0]])


def test_rows_come_back_in_order():
    lengths = np.array([2, 9, 1, 5, 9])
    made = pool_in_batches(
        lambda batch: [torch.from_numpy(lengths[batch])[:, None], torch.from_numpy(batch)[:, None]],
        lengths,
        token_budget=10,
        device="cpu",
        precision="float32",
        name="test",
    )
    np.testing.assert_array_equal(made[0][:, 0], lengths)
    np.testing.assert_array_equal(made[1][:, 0], range(5))
    assert made[0].dtype == np.float32


def test_cells_without_a_gene_are_named():
    refuse_unread(np.array([1, 2]), names=["a", "b"])
    with pytest.raises(InvalidInputError, match=r"1 cells .*: b"):
        refuse_unread(np.array([1, 0]), names=["a", "b"])


def test_layers_are_counted_from_both_ends():
    assert [layer_number(i, n_layers=4) for i in (0, 3, -1, -4)] == [0, 3, 3, 0]
    for outside in (4, -5):
        with pytest.raises(InvalidInputError, match=f"layer {outside}"):
            layer_number(outside, n_layers=4)

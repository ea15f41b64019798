"""Every layer in one pass equals torch's own stack; padding is never attended to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scfm_eval.models.blocks import attention_of, layer_outputs, masked_mean


@pytest.fixture
def stack():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(block, 3, enable_nested_tensor=False).eval()


def test_the_last_layer_is_that_of_the_stack(stack):
    hidden, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.inference_mode():
        layers = list(layer_outputs(hidden, stack.layers, padding=padding))
        expected = stack(hidden, src_key_padding_mask=padding)
    assert len(layers) == 4
    torch.testing.assert_close(layers[0], hidden)
    torch.testing.assert_close(layers[-1][~padding], expected[~padding], atol=1e-6, rtol=0)


def test_padding_changes_nothing(stack):
    hidden = torch.randn(1, 3, 8)
    longer, padding = torch.cat([hidden, torch.randn(1, 2, 8)], dim=1), torch.tensor([[False] * 3 + [True] * 2])
    with torch.inference_mode():
        alone = list(layer_outputs(hidden, stack.layers, padding=None))[-1]
        beside = list(layer_outputs(longer, stack.layers, padding=padding))[-1]
    torch.testing.assert_close(beside[:, :3], alone, atol=1e-6, rtol=0)


def test_attention_sums_to_one_over_what_is_no_padding(stack):
    hidden, padding = torch.randn(2, 4, 8), torch.tensor([[False] * 4, [False, False, True, True]])
    with torch.inference_mode():
        attention = attention_of(stack.layers[0], hidden, padding=padding)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 4))
    assert (attention[1, :, 2:] == 0).all()


def test_masked_mean_by_hand():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [6.0], [7.0]]])
    kept = torch.tensor([[True, True, False], [False, False, False]])
    torch.testing.assert_close(masked_mean(hidden, kept), torch.tensor([[2.0], [0.0]]))

"""Every layer in one pass equals torch's own stack; padding is never attended to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scfm_eval.models.blocks import (
    Block,
    bert_layer_outputs,
    layer_outputs,
    masked_mean,
    mean_attention,
    mean_bert_attention,
)

PADDING = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


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


def test_attention_is_what_torch_says_of_each_block(stack):
    hidden = torch.randn(2, 5, 8)
    with torch.inference_mode():
        made = mean_attention(stack.layers, hidden, padding=PADDING)
        expected = torch.zeros(2, 5, 5)
        for block, given in zip(stack.layers, layer_outputs(hidden, stack.layers, padding=PADDING), strict=False):
            _, weights = block.self_attn(given, given, given, key_padding_mask=PADDING, average_attn_weights=False)
            expected += weights.mean(dim=1) / 3
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(made.sum(dim=-1), torch.ones(2, 5))
    assert (made[1, :, 3:] == 0).all()


def test_attention_alone_is_that_beside_longer_cells(stack):
    hidden = torch.randn(2, 5, 8)
    with torch.inference_mode():
        beside = mean_attention(stack.layers, hidden, padding=PADDING)[1, :3, :3]
        alone = mean_attention(stack.layers, hidden[1:, :3], padding=None)[0]
    torch.testing.assert_close(beside, alone, atol=1e-6, rtol=0)


def test_the_last_block_only_attends(stack):
    stack.layers[-1].linear1 = None
    assert mean_attention(stack.layers, torch.randn(1, 4, 8), padding=None).shape == (1, 4, 4)


@pytest.fixture(scope="module")
def bert():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    return BertModel(BertConfig(vocab_size=11, **sizes, attn_implementation="eager")).eval()


def test_layers_and_attention_of_a_bert_are_what_transformers_says(bert):
    ids = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]])
    with torch.inference_mode():
        said = bert(ids, attention_mask=~PADDING, output_attentions=True, output_hidden_states=True)
        bert.set_attn_implementation("sdpa")
        hidden, blocks = bert.embeddings(input_ids=ids), bert.encoder.layer
        layers = list(bert_layer_outputs(hidden, blocks, padding=PADDING))
        made = mean_bert_attention(blocks, hidden, padding=PADDING)
        alone = mean_bert_attention(blocks, hidden[1:, :3], padding=None)
    for layer, expected in zip(layers, said.hidden_states, strict=True):
        torch.testing.assert_close(layer[~PADDING], expected[~PADDING], atol=1e-6, rtol=0)
    torch.testing.assert_close(made, torch.stack(said.attentions).mean(dim=(0, 2)), atol=1e-6, rtol=0)
    torch.testing.assert_close(made[1:, :3, :3], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_float_mask_is_added_to_the_scores(precision):
    torch.manual_seed(0)
    block, hidden = Block(width=8, n_heads=2, d_hid=16).eval(), torch.randn(2, 5, 8)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).train()
    theirs.load_state_dict(block.state_dict())
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32), torch.no_grad():
        made, expected = (run(hidden, src_key_padding_mask=PADDING.float()) for run in (block, theirs))
        masked = block(hidden, src_key_padding_mask=PADDING)
    torch.testing.assert_close(made, expected, atol=1e-6 if precision == torch.float32 else 5e-2, rtol=0)
    assert (made - masked)[1].abs().max() > 1e-3


def test_masked_mean_by_hand():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [6.0], [7.0]]])
    kept = torch.tensor([[True, True, False], [False, False, False]])
    torch.testing.assert_close(masked_mean(hidden, kept), torch.tensor([[2.0], [0.0]]))

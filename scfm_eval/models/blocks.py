"""Stacks of torch's own transformer blocks (post-norm): every layer in one pass, and attention on request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def layer_outputs(hidden: Tensor, blocks: Iterable[nn.Module], *, padding: Tensor | None) -> Iterator[Tensor]:
    """Give the input and then the output of each block ``(b, l, d)``, one after the other.

    Parameters
    ----------
    hidden
        Input of the first block ``(b, l, d)``.
    blocks
        ``torch.nn.TransformerEncoderLayer`` with ``batch_first=True``, in evaluation mode.
    padding
        True where a position is padding, which is never attended to ``(b, l)``; ``None`` where there is none. A float
        mask is added to the scores of attention instead.
    """
    yield hidden
    for block in blocks:
        hidden = block(hidden, src_key_padding_mask=padding)
        yield hidden


def attention_of(block: nn.TransformerEncoderLayer, hidden: Tensor, *, padding: Tensor | None) -> Tensor:
    """Return the attention ``(b, l, l)`` from each position to each other in a post-norm block, mean over its heads."""
    _, attention = block.self_attn(hidden, hidden, hidden, key_padding_mask=padding, need_weights=True)
    made: Tensor = attention
    return made


def masked_mean(hidden: Tensor, kept: Tensor) -> Tensor:
    """Return the mean ``(b, d)`` of ``hidden`` ``(b, l, d)`` over positions that are ``kept`` ``(b, l)``; 0 if none."""
    weight = kept.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / torch.clamp(weight.sum(dim=1), min=1)

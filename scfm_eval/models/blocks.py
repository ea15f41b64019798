"""Stacks of transformer blocks: every layer in one pass, the mean of their attention, and ranks from a head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A post-norm block with ReLU and the names of ``torch.nn.TransformerEncoderLayer``, run through its parts.

    Torch's own block takes a short cut in evaluation mode that reads the weights of its parts and does not call them:
    what LoRA has added to a part would be trained and then passed by in silence. It also holds all attention weights,
    and is slower.

    Parameters
    ----------
    width, n_heads, d_hid
        Of the hidden state, its heads, and the layer in the middle.
    dropout
        Probability, in training only.
    eps
        Of the normalisation.
    """

    def __init__(self, *, width: int, n_heads: int, d_hid: int, dropout: float = 0.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, n_heads, dropout=dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, d_hid), nn.Linear(d_hid, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, *, src_key_padding_mask: Tensor | None = None) -> Tensor:
        """Return the hidden state ``(b, l, d)`` after the block; see :func:`layer_outputs` for the mask ``(b, l)``."""
        attention, mask = self.self_attn, src_key_padding_mask
        query, key, value = _by_head(attention, hidden)
        if mask is not None:
            # torch wants a mask of floats in the type of the query, which autocast decides
            mask = (~mask if mask.dtype == torch.bool else mask.to(query.dtype))[:, None, None, :]
        rate = attention.dropout if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        hidden = self.norm1(hidden + self.dropout(attention.out_proj(attended.transpose(1, 2).flatten(2))))
        inner = self.dropout(torch.relu(self.linear1(hidden)))
        made: Tensor = self.norm2(hidden + self.dropout(self.linear2(inner)))
        return made


def layer_outputs(hidden: Tensor, blocks: Iterable[nn.Module], *, padding: Tensor | None) -> Iterator[Tensor]:
    """Give the input and then the output of each block ``(b, l, d)``, one after the other.

    Parameters
    ----------
    hidden
        Input of the first block ``(b, l, d)``.
    blocks
        :class:`Block`, or ``torch.nn.TransformerEncoderLayer`` with ``batch_first=True``, in evaluation mode.
    padding
        True where a position is padding, which is never attended to ``(b, l)``; ``None`` where there is none. A float
        mask is added to the scores of attention instead.
    """
    yield hidden
    for block in blocks:
        hidden = block(hidden, src_key_padding_mask=padding)
        yield hidden


def bert_layer_outputs(hidden: Tensor, blocks: Iterable[Any], *, padding: Tensor | None) -> Iterator[Tensor]:
    """Give the input and then the output of each block of a BERT of transformers ``(b, l, d)``, one after the other.

    Parameters
    ----------
    hidden, padding
        See :func:`layer_outputs`; ``padding`` is no float mask.
    blocks
        ``BertLayer``.
    """
    yield hidden
    mask = None if padding is None else ~padding[:, None, None, :]
    for block in blocks:
        hidden = block(hidden, mask)
        yield hidden


def mean_attention(blocks: Iterable[Any], hidden: Tensor, *, padding: Tensor | None) -> Tensor:
    """Return the attention ``(b, l, l)`` from each position (row) to each (column), mean over heads and over blocks.

    One head of one block is computed after the other, so that no more than a few ``(b, l, l)`` are held at once.

    Parameters
    ----------
    blocks, hidden, padding
        See :func:`layer_outputs`; ``padding`` is no float mask.
    """
    blocks = list(blocks)
    # the blocks stand first in zip, so that the last one only attends
    inputs = zip(blocks, layer_outputs(hidden, blocks, padding=padding), strict=False)
    return _mean(_over_heads(_by_head(block.self_attn, given), padding) for block, given in inputs)


def mean_bert_attention(blocks: Iterable[Any], hidden: Tensor, *, padding: Tensor | None) -> Tensor:
    """Return what :func:`mean_attention` does, for blocks of :func:`bert_layer_outputs`."""
    blocks = list(blocks)
    inputs = zip(blocks, bert_layer_outputs(hidden, blocks, padding=padding), strict=False)
    return _mean(_over_heads(_bert_by_head(block.attention.self, given), padding) for block, given in inputs)


def _bert_by_head(attention: Any, hidden: Tensor) -> list[Tensor]:
    """Return queries and keys ``(b, h, l, d / h)``."""
    return [
        split_heads(part(hidden), n_heads=attention.num_attention_heads) for part in (attention.query, attention.key)
    ]


def _by_head(attention: nn.MultiheadAttention, hidden: Tensor) -> list[Tensor]:
    """Return queries, keys and values ``(b, h, l, d / h)``."""
    joined = nn.functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)  # (b, l, 3 d)
    return [split_heads(part, n_heads=attention.num_heads) for part in joined.chunk(3, dim=-1)]


def split_heads(hidden: Tensor, *, n_heads: int) -> Tensor:
    """Return ``(b, l, h d)`` as ``(b, h, l, d)``."""
    return hidden.reshape(*hidden.shape[:-1], n_heads, -1).transpose(1, 2)


def _over_heads(by_head: Sequence[Tensor], padding: Tensor | None) -> Tensor:
    query, key = by_head[:2]
    never = torch.zeros((), dtype=torch.bool, device=query.device) if padding is None else padding[:, None, :]
    scale = query.shape[-1] ** -0.5
    return _mean(
        ((own @ others.mT).float() * scale).masked_fill(never, -torch.inf).softmax(dim=-1)
        for own, others in zip(query.unbind(1), key.unbind(1), strict=True)
    )


def _mean(parts: Iterable[Tensor]) -> Tensor:
    total, n = torch.zeros(()), 0
    for part in parts:
        total, n = total + part, n + 1
    return total / n


def masked_mean(hidden: Tensor, kept: Tensor) -> Tensor:
    """Return the mean ``(b, d)`` of ``hidden`` ``(b, l, d)`` over positions that are ``kept`` ``(b, l)``; 0 if none."""
    weight = kept.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / torch.clamp(weight.sum(dim=1), min=1)


def expected_ranks(logits: Tensor, genes: Tensor) -> Tensor:
    """Return the rank that a masked-token head expects at the place of each gene of ranked cells ``(n_values,)``.

    At a place, the logits of the cell's own genes make a distribution (softmax); the expected rank is the mean of these
    genes' ranks under it, 1 at the front of the sentence and 0 at its end.

    Parameters
    ----------
    logits
        What the head says at each place (row) of the token of each other place (column), ``(b, l, l)``.
    genes
        True on genes, which stand in the order of their ranks, ``(b, l)``.
    """
    n_genes = genes.sum(dim=1, keepdim=True)
    rank = 1 - (genes.cumsum(dim=1) - 1) / (n_genes - 1).clamp(min=1)  # (b, l)
    shares = logits.float().masked_fill(~genes[:, None, :], -torch.inf).softmax(dim=2)
    return (shares * rank[:, None, :]).sum(dim=2)[genes]

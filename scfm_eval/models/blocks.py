"""Stacks of post-norm transformer blocks: every layer in one pass, attention on request, and ranks from a head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
        mask = src_key_padding_mask
        if mask is not None:
            mask = (~mask if mask.dtype == torch.bool else mask)[:, None, None, :]
        attention = self.self_attn
        joined = nn.functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)  # (b, l, 3 d)
        heads = joined.reshape(*hidden.shape[:2], 3, attention.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (b, h, l, d / h)
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


def attention_of(block: Block | nn.TransformerEncoderLayer, hidden: Tensor, *, padding: Tensor | None) -> Tensor:
    """Return the attention ``(b, l, l)`` from each position to each other in a post-norm block, mean over its heads."""
    _, attention = block.self_attn(hidden, hidden, hidden, key_padding_mask=padding, need_weights=True)
    made: Tensor = attention
    return made


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

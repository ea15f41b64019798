"""Attention of Performers by random features of the softmax kernel (Choromanski et al., arXiv:2009.14794)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Stabiliser = Literal["cell", "batch"]
_EPSILON = 1e-4


def performer_attention(
    query: Tensor, key: Tensor, value: Tensor, *, projection: Tensor, stabiliser: Stabiliser = "cell"
) -> Tensor:
    """Return what each position takes from all others, in time linear in their number.

    Parameters
    ----------
    query, key, value
        ``(b, heads, l, d)``.
    projection
        Random features ``(m, d)``, from the checkpoint.
    stabiliser
        What is subtracted from the keys' exponents so that they stay finite: the largest of the ``"cell"`` (over its
        heads, positions and features), or of the whole ``"batch"``. As a small constant is added afterwards, it does
        not cancel: with ``"batch"`` a cell depends on which others are in the batch. One cell at a time, both are one.

    Returns
    -------
    Tensor
        ``(b, heads, l, d)``.
    """
    import torch

    scores_q, scores_k = _exponents(query, projection), _exponents(key, projection)
    largest = scores_k.projected.amax(dim=(0, 1, 2, 3) if stabiliser == "batch" else (1, 2, 3), keepdim=True)
    features_q = scores_q.features(scores_q.projected.amax(dim=-1, keepdim=True))
    features_k = scores_k.features(largest)
    total = torch.einsum("bhlm,bhm->bhl", features_q, features_k.sum(dim=2))
    context = torch.einsum("bhlm,bhld->bhmd", features_k, value)
    return torch.einsum("bhlm,bhmd->bhld", features_q, context) / total.unsqueeze(-1)


class _Exponents:
    """Projected vectors and half their squared length, before the exponential."""

    def __init__(self, projected: Tensor, half_square: Tensor) -> None:
        self.projected, self.half_square = projected, half_square

    def features(self, stabiliser: Tensor) -> Tensor:
        """Return the positive random features ``(b, heads, l, m)``."""
        m = self.projected.shape[-1]
        made: Tensor = m**-0.5 * ((self.projected - self.half_square - stabiliser).exp() + _EPSILON)
        return made


def _exponents(vectors: Tensor, projection: Tensor) -> _Exponents:
    import torch

    scale = vectors.shape[-1] ** -0.25
    projected = torch.einsum("bhld,md->bhlm", vectors * scale, projection.to(vectors.dtype))
    return _Exponents(projected, vectors.pow(2).sum(dim=-1, keepdim=True) * scale**2 / 2)

"""Which parameters of a transformer are fine-tuned: all, none, the last blocks, or few that are added to it.

LoRA is Hu et al. 2021, doi:10.48550/arXiv.2106.09685; bottleneck adapters are Houlsby et al. 2019,
doi:10.48550/arXiv.1902.00751, one after each block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import FineTuning

LARGEST_SHARE = 0.01
"""Parameters that LoRA and bottlenecks stay below, as a share of those of the encoder."""
_RANKS = (8, 4, 2, 1)
_WIDTHS = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True, eq=False)
class Encoder:
    """What fine-tuning has to know of a transformer.

    Parameters
    ----------
    network
        Holds every parameter that decides ``pooled``, and no other.
    blocks
        Transformer blocks of ``network``, first to last; each returns its hidden state ``(b, l, d)``.
    width
        d.
    pooled
        Takes sentences of some cells and returns their pooled last layer ``(b, d)``, differentiable.
    length
        Returns the number of tokens of a sentence.
    """

    network: nn.Module
    blocks: Sequence[nn.Module] | nn.ModuleList
    width: int
    pooled: Callable[[Sequence[Any]], Tensor]
    length: Callable[[Any], int] = len


class Bottleneck(nn.Module):
    """Adds ``up(relu(down(hidden)))`` to a hidden state ``(b, l, d)``; nothing at first.

    Parameters
    ----------
    width, inner
        d, and the width in the middle.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the hidden state with what was learned added."""
        return hidden + cast("Tensor", self.up(torch.relu(self.down(hidden))))


def unfreeze(encoder: Encoder, *, how: FineTuning) -> dict[str, Any]:
    """Let gradients reach what ``how.mode`` trains and nothing else; with LoRA and bottlenecks, add it first.

    Parameters
    ----------
    encoder
        Changed in place: its parameters, and with LoRA and bottlenecks its modules.
    how
        See :class:`~scfm_eval.models.protocols.FineTuning`.

    Returns
    -------
    Numbers of parameters of the encoder and of those trained in it, the share of the latter, and the rank of LoRA or
    the width of the bottlenecks.

    Raises
    ------
    InvalidInputError
        More blocks are asked for than there are, or even the smallest addition is 1 % of the parameters or more.
    """
    n_parameters = _count(encoder.network)
    encoder.network.requires_grad_(how.mode == "full")
    added: dict[str, Any] = {}
    if how.mode == "last":
        for block in _last(encoder.blocks, how.n_blocks):
            block.requires_grad_(True)
    elif how.mode == "lora":
        added = {"rank": _add_lora(encoder, n_parameters)}
    elif how.mode == "adapter":
        added = {"bottleneck": _add_bottlenecks(encoder, n_parameters)}
    trained = _count(encoder.network, trained=True)
    return {
        "encoder_parameters": n_parameters,
        "trained_parameters": trained,
        "trained_share": trained / max(n_parameters, 1),
        **added,
    }


def _count(network: nn.Module, *, trained: bool = False) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained)


def _last(blocks: Sequence[nn.Module] | nn.ModuleList, n_blocks: int) -> Sequence[nn.Module]:
    if 1 <= n_blocks <= len(blocks):
        return list(blocks)[-n_blocks:]
    raise InvalidInputError(
        asked=f"fine-tuning of the last {n_blocks} blocks",
        found=f"a model of {len(blocks)} blocks",
        remedy=f"take n_blocks from 1 to {len(blocks)}",
    )


def _add_lora(encoder: Encoder, n_parameters: int) -> int:
    from peft import LoraConfig, inject_adapter_in_model

    inside = {id(module) for block in encoder.blocks for module in block.modules()}
    linear = {
        name: module
        for name, module in encoder.network.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear)
    }
    per_rank = sum(module.in_features + module.out_features for module in linear.values())
    rank = _largest(_RANKS, lambda rank: rank * per_rank, n_parameters=n_parameters, what="LoRA of rank")
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=list(linear))
    inject_adapter_in_model(config, encoder.network)
    return rank


def _add_bottlenecks(encoder: Encoder, n_parameters: int) -> int:
    width, n_blocks = encoder.width, len(encoder.blocks)
    inner = _largest(
        _WIDTHS,
        lambda inner: n_blocks * (2 * width * inner + inner + width),
        n_parameters=n_parameters,
        what="bottlenecks of width",
    )
    for block in encoder.blocks:
        block.add_module("bottleneck", Bottleneck(width, inner).to(next(block.parameters()).device))
        block.register_forward_hook(_through_bottleneck)
    return inner


def _through_bottleneck(block: nn.Module, _: Any, hidden: Tensor) -> Tensor:
    return cast("Tensor", block.get_submodule("bottleneck")(hidden))


def _largest(sizes: Sequence[int], cost: Callable[[int], int], *, n_parameters: int, what: str) -> int:
    """Return the largest size whose parameters are less than 1 % of the encoder's."""
    small = [size for size in sizes if 0 < cost(size) < LARGEST_SHARE * n_parameters]
    if small:
        return small[0]
    share = cost(sizes[-1]) / max(n_parameters, 1)
    raise InvalidInputError(
        asked=f"{what} {sizes[-1]} with less than {LARGEST_SHARE:.0%} of the {n_parameters} parameters",
        found=f"{share:.1%}",
        remedy="use a larger model, or the mode 'head' or 'last'",
    )

"""Cells of many lengths through a transformer: batches of like length, rows back in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

Precision = Literal["float32", "bfloat16", "float16"]


def usual_batch_size(device: str) -> int:
    """Return the number of cells of full length that run well together on a device."""
    # on a CPU core, 2,000 tokens a batch gave 10 cells a second, 16,000 tokens 6: they leave the cache
    return 1 if device == "cpu" else 16


def gene_places(cells: AnnData) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the genes of a view, sorted, and the place of each column ``(n_columns,)`` among them."""
    genes, place = np.unique(np.asarray(cells.var_names, dtype=str), return_inverse=True)
    return genes.tolist(), place


def refuse_unread(n_genes: NDArray[np.integer], *, names: Sequence[str]) -> None:
    """Refuse cells without any gene that a model can read: a made-up row would be wrong in silence.

    Parameters
    ----------
    n_genes
        Readable genes per cell, ``(n_cells,)``.
    names
        Names of the cells.

    Raises
    ------
    InvalidInputError
        There are such cells; the message names them.
    """
    empty = [name for name, n in zip(names, n_genes, strict=True) if n == 0]
    if empty:
        raise InvalidInputError(
            asked=f"an embedding of each of {len(names)} cells",
            found=f"{len(empty)} cells without any gene that the model can read: {', '.join(empty[:5])}",
            remedy="drop these cells, or check that the genes are in the model's namespace",
        )


def layer_number(layer: int, *, n_layers: int) -> int:
    """Return the place of a layer that may be counted from the end; raises ``InvalidInputError`` outside."""
    if -n_layers <= layer < n_layers:
        return layer % n_layers
    raise InvalidInputError(
        asked=f"layer {layer}",
        found=f"{n_layers} layers, the input embedding counted",
        remedy=f"take a layer from {-n_layers} to {n_layers - 1}",
    )


def batches_by_length(lengths: NDArray[np.int64], *, token_budget: int) -> list[NDArray[np.int64]]:
    """Return the cells of each batch, longest first, so that little is padded and memory runs out at once or never.

    Parameters
    ----------
    lengths
        Tokens per cell, ``(n_cells,)``.
    token_budget
        Most tokens in a batch, padding counted; a single longer cell is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        stop = start + max(1, token_budget // max(1, int(lengths[order[start]])))
        batches.append(order[start:stop])
        start = stop
    return batches


def padded(rows: Sequence[NDArray[np.generic]], *, fill: float) -> NDArray[np.generic]:
    """Return rows of unequal length as one array ``(n_rows, longest)``, filled up on the right."""
    made = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        made[i, : len(row)] = row
    return made


def pool_in_batches(
    forward: Callable[[NDArray[np.int64]], list[Tensor]],
    lengths: NDArray[np.int64],
    *,
    token_budget: int,
    device: str,
    precision: Precision,
    name: str,
) -> list[NDArray[np.float32]]:
    """Run a model over batches of cells and return its pooled layers in the order of the cells.

    Parameters
    ----------
    forward
        Takes the places of some cells ``(b,)`` and returns one pooled tensor ``(b, d)`` per wanted layer.
    lengths
        Tokens per cell, ``(n_cells,)``.
    token_budget
        See :func:`batches_by_length`.
    device, precision
        Where the model lies and the type that matrix products run in.
    name
        Shown by the progress bar.

    Returns
    -------
    list of array
        One ``(n_cells, d)`` per layer.
    """
    import torch
    from tqdm import tqdm

    batches = batches_by_length(lengths, token_budget=token_budget)
    autocast = torch.autocast(
        torch.device(device).type, dtype=getattr(torch, precision), enabled=precision != "float32"
    )
    with phase("forward"), torch.inference_mode(), autocast:
        pooled = [
            [layer.float().cpu().numpy() for layer in forward(batch)]
            for batch in tqdm(batches, desc=name, unit="batch", disable=None, leave=False)
        ]
    back = np.argsort(np.concatenate(batches))
    return [np.concatenate(layer)[back] for layer in zip(*pooled, strict=True)]

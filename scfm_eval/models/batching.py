"""What adapters of transformers share: cells of many lengths in batches, rows back in order, vectors of genes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from scfm_eval.errors import InvalidInputError, UnknownGeneError
from scfm_eval.models.options import require_whole
from scfm_eval.timing import phase

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["float32", "bfloat16", "float16"]
Unread = Literal["refuse", "keep"]
Made = TypeVar("Made")


def usual_batch_size(device: str) -> int:
    """Return the number of cells of full length that run well together on a device."""
    # on a CPU core, 2,000 tokens a batch gave 10 cells a second, 16,000 tokens 6: they leave the cache
    return 1 if device == "cpu" else 16


def chosen_batch_size(batch_size: int | None, *, usual: int) -> int:
    """Return the number of cells in a batch, ``usual`` where it is left open.

    Raises
    ------
    InvalidInputError
        It is no whole number of 1 or more.
    """
    if batch_size is None:
        return usual
    require_whole("batch_size", batch_size, least=1)
    return batch_size


def require_known(genes: Sequence[str], *, token: NDArray[np.int64], model: str) -> None:
    """Raise ``UnknownGeneError`` for genes whose ``token`` ``(n_genes,)`` is −1: a model cannot perturb these."""
    unknown = [gene for gene, number in zip(genes, token, strict=True) if number < 0]
    if unknown:
        raise UnknownGeneError(
            asked=f"a perturbation of {len(genes)} genes in the input of {model}",
            found=f"{len(unknown)} genes that it does not know: {', '.join(unknown[:5])}",
            remedy="leave these genes out, or check that they are in the model's namespace",
        )


def gene_rows(table: NDArray[np.float32], *, token: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the row of ``table`` ``(n_tokens, d)`` of each token ``(n_genes,)``; NaN where the token is −1."""
    return np.where(token[:, None] >= 0, table[token], np.float32(np.nan))


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
    require_whole("layer", layer)
    if -n_layers <= layer < n_layers:
        return layer % n_layers
    raise InvalidInputError(
        asked=f"layer {layer}",
        found=f"{n_layers} layers, the input embedding counted",
        remedy=f"take a layer from {-n_layers} to {n_layers - 1}",
    )


def sentence_lengths(sentences: Iterable[Sized]) -> NDArray[np.int64]:
    """Return the number of tokens of each sentence ``(n_cells,)``."""
    return np.array([len(sentence) for sentence in sentences], dtype=np.int64)


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
    forward: Callable[[NDArray[np.int64]], list[Tensor]], lengths: NDArray[np.int64], *, token_budget: int, **how: Any
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
    how
        ``device``, ``precision`` and ``name``: where the model lies, the type that matrix products run in, and what
        the progress bar shows.

    Returns
    -------
    list of array
        One ``(n_cells, d)`` per layer.
    """
    batches = batches_by_length(lengths, token_budget=token_budget)
    pooled = _forward(forward, batches, **how)
    back = np.argsort(np.concatenate(batches))
    return [np.concatenate(layer)[back] for layer in zip(*pooled, strict=True)]


def values_in_batches(
    forward: Callable[[NDArray[np.int64]], list[Tensor]],
    lengths: NDArray[np.int64],
    *,
    n_values: NDArray[np.int64],
    token_budget: int,
    **how: Any,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Run a model over batches of cells and return a value per token and layer, cell by cell.

    Parameters
    ----------
    forward
        Takes the places of some cells and returns one tensor ``(n_values of these cells,)`` per layer, cell by cell.
    n_values
        Values of each cell, ``(n_cells,)``.
    lengths, token_budget, how
        See :func:`pool_in_batches`.

    Returns
    -------
    cell
        Row of the cell of each value ``(n_values,)``, ascending.
    layers
        ``(n_layers, n_values)``.
    """
    batches = batches_by_length(lengths, token_budget=token_budget)
    made = _forward(forward, batches, **how)
    order = np.concatenate(batches)
    cell = np.repeat(order, n_values[order])
    back = np.argsort(cell, kind="stable")
    return cell[back], np.stack([np.concatenate(layer)[back] for layer in zip(*made, strict=True)])


def _forward(
    forward: Callable[[NDArray[np.int64]], list[Tensor]], batches: Sequence[NDArray[np.int64]], **how: Any
) -> list[list[NDArray[np.float32]]]:
    return in_batches(lambda batch: [layer.float().cpu().numpy() for layer in forward(batch)], batches, **how)


def in_batches(
    forward: Callable[[NDArray[np.int64]], Made],
    batches: Sequence[NDArray[np.int64]],
    *,
    device: str,
    precision: Precision,
    name: str,
) -> list[Made]:
    """Call ``forward`` with the places of the cells of each batch, in inference mode, and return what it gives.

    Parameters
    ----------
    forward
        Leaves nothing that is large on the device.
    batches
        See :func:`batches_by_length`.
    device, precision, name
        See :func:`pool_in_batches`.
    """
    import torch
    from tqdm import tqdm

    autocast = torch.autocast(
        torch.device(device).type, dtype=getattr(torch, precision), enabled=precision != "float32"
    )
    with phase("forward"), torch.inference_mode(), autocast:
        return [forward(batch) for batch in tqdm(batches, desc=name, unit="batch", disable=None, leave=False)]

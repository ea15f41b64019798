"""What a layout learns from: which parts of a cell are hidden, and how far off an answer is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval.errors import InvalidInputError

_BYTES_OF_A_PARAMETER = 16  # itself, its gradient, and two moments of AdamW
_GIB = 1 << 30
_SHORTEST = 3  # a gene between two tokens that enclose it


@dataclass(frozen=True)
class Sizes:
    """Sizes of a transformer.

    Parameters
    ----------
    width, n_blocks, n_heads, hidden
        Of the transformer; ``hidden`` is the width inside a block's feed-forward part.
    length
        Most tokens of a cell, those that enclose its genes counted; 3 or more.

    Raises
    ------
    InvalidInputError
        A size is not positive, or the heads do not share the width evenly.
    """

    width: int
    n_blocks: int
    n_heads: int
    hidden: int
    length: int

    def __post_init__(self) -> None:
        said = f"width {self.width}, blocks {self.n_blocks}, heads {self.n_heads}, hidden {self.hidden}"
        if min(self.width, self.n_blocks, self.n_heads, self.hidden) < 1 or self.length < _SHORTEST:
            raise InvalidInputError(
                asked=f"a network of {said}, length {self.length}",
                found="a size that is too small",
                remedy=f"give sizes of 1 or more, and a --length of {_SHORTEST} or more",
            )
        if self.width % self.n_heads:
            raise InvalidInputError(
                asked=f"a network of {said}",
                found=f"a width that {self.n_heads} heads cannot share evenly",
                remedy="give a --width that is a multiple of --heads",
            )


def refuse_too_large(sizes: Sizes, *, n_genes: int) -> None:
    """Refuse a network that cannot be trained in the memory of this machine, before any of it is made.

    Raises
    ------
    InvalidInputError
        Its parameters over ``n_genes``, with gradients and the moments of AdamW, are larger than the memory.
    """
    block = 4 * sizes.width + 2 * sizes.hidden
    n_parameters = sizes.width * (n_genes + sizes.length + sizes.n_blocks * block)
    needed, here = _BYTES_OF_A_PARAMETER * n_parameters, psutil.virtual_memory().total
    if needed > here:
        raise InvalidInputError(
            asked=f"a network of about {n_parameters:,} parameters",
            found=f"{here / _GIB:,.0f} GiB of memory, where training takes {needed / _GIB:,.0f} GiB and more",
            remedy="give a smaller --width, --hidden, --length or --blocks",
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Cells with parts of them hidden, as arrays ``(b, l)`` padded on the right.

    Parameters
    ----------
    tokens
        What the network is shown.
    values
        Values beside the tokens; ``None`` where there are none.
    hidden
        Where the answer is asked for.
    answers
        The true tokens or values at these places, ``(n_hidden,)``.
    genes
        Tokens of the genes at these places, ``(n_hidden,)``.
    """

    tokens: NDArray[np.int64]
    values: NDArray[np.float32] | None
    hidden: NDArray[np.bool_]
    answers: NDArray[Any]
    genes: NDArray[np.int64]


class Objective(Protocol):
    """A network, the cells in its form with the number of genes that each expresses, and its loss.

    ``layout`` is the form of the files, ``loss_name`` says what the first loss is and in which unit, ``hidden_share``
    is the chance of a gene to be hidden.
    """

    layout: str
    loss_name: str
    hidden_share: float
    n_genes: NDArray[np.int64]

    @property
    def network(self) -> nn.Module:
        """The network, in evaluation mode with random weights at first."""
        ...

    def batch(self, cells: NDArray[np.int64], *, rng: np.random.Generator, share: float = 1.0) -> Batch:
        """Return some cells with parts hidden; of their genes, a random ``share`` is read."""
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean loss over the hidden places by part; what is trained is their sum, the first is reported."""
        ...

    def unigram_losses(self, batch: Batch) -> NDArray[np.float64]:
        """Return the loss at each hidden place of the answer that knows the gene frequencies of training cells only."""
        ...

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write weights (float16), settings and dictionaries in the upstream layout, and return the files' names."""
        ...


def kept_genes(n_genes: int, *, rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    """Return which of a cell's expressed genes are read ``(n_genes,)``, each with a chance of ``share``; one always."""
    if share >= 1:
        return np.ones(n_genes, dtype=bool)
    kept = rng.random(n_genes) < share
    kept[rng.integers(n_genes)] = True
    return kept


def hidden_places(real: NDArray[np.bool_], *, rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    """Return which of the ``real`` places ``(b, l)`` are hidden, each with a chance of ``share``; at least one is."""
    hidden = real & (rng.random(real.shape) < share)
    if not hidden.any():
        places = np.argwhere(real)
        hidden[tuple(places[rng.integers(len(places))])] = True
    return hidden

"""The encoder of SCimilarity, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint

_REMEDY = "use the files that were published with the checkpoint"


class TripletEncoder(nn.Module):
    """Hidden blocks of linear, BatchNorm and PReLU, and a linear layer; names are those of the checkpoint.

    Parameters
    ----------
    widths
        Of the input, the hidden blocks and the output.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        hidden = [
            # dropout has no weights, and is off in an embedding
            nn.Sequential(nn.Identity(), nn.Linear(before, after), nn.BatchNorm1d(after), nn.PReLU())
            for before, after in pairwise(widths[:-1])
        ]
        self.network = nn.ModuleList([*hidden, nn.Linear(widths[-2], widths[-1])])

    def layers(self, expression: Tensor) -> Iterator[Tensor]:
        """Give the output of each hidden block, then that of the last layer ``(b, d)``; each has its own width."""
        hidden = expression
        for layer in self.network:
            hidden = layer(hidden)
            yield hidden

    def forward(self, expression: Tensor) -> Tensor:
        """Return the last layer ``(b, d)``, not normalised."""
        *_, last = self.layers(expression)
        return last

    def embedded(self, expression: Tensor, *, normalise: bool) -> Tensor:
        """Return the last layer ``(b, d)``, of unit length where it is to be."""
        rows: Tensor = self(expression)
        return nn.functional.normalize(rows.float(), dim=-1) if normalise else rows

    def gene_weights(self) -> NDArray[np.float32]:
        """Return the weights of each gene in the first layer ``(n_genes, d)``."""
        first = cast("nn.Linear", cast("nn.Sequential", self.network[0])[1])
        weights: NDArray[np.float32] = first.weight.detach().T.float().cpu().numpy()
        return weights

    def likeness(self, expression: Tensor, places: NDArray[np.int64], *, normalise: bool) -> NDArray[np.float64]:
        """Return the cosines between the derivatives of the embedding by each gene at ``places``, summed over cells.

        Parameters
        ----------
        expression
            ``(b, n_genes)``.
        places
            Columns of the genes ``(n,)``.
        normalise
            Whether the embedding is that of unit length.

        Returns
        -------
        ``(n, n)``.
        """
        expression.requires_grad_(True)
        rows, columns = self.embedded(expression, normalise=normalise), torch.from_numpy(places).to(expression.device)
        each = [torch.autograd.grad(row.sum(), expression, retain_graph=True)[0][:, columns] for row in rows.T]
        moved = nn.functional.normalize(torch.stack(each), dim=0)  # (d, b, n)
        summed: NDArray[np.float64] = torch.einsum("dbg,dbh->gh", moved, moved).double().cpu().numpy()
        return summed


def read_widths(path: Path) -> list[int]:
    """Return the widths of input, hidden blocks and output that ``layer_sizes.json`` states, by the layers' numbers.

    Raises
    ------
    InvalidInputError
        The file is damaged, or does not state each layer from 0 on with two sizes.
    """
    said = checkpoint.read_dictionary(path)
    found: dict[int, Any] = {}
    for name, shape in said.items():
        number = re.fullmatch(r"network\.(\d+)\.(1\.)?weight", name)
        if number:
            found[int(number[1])] = shape
    shapes = [found.get(number) for number in range(len(found))]
    if len(found) < 2 or not all(_is_shape(shape) for shape in shapes):
        raise InvalidInputError(
            asked=f"the sizes of two layers or more in {path}, numbered from 0",
            found=", ".join(f"{number}: {shape}" for number, shape in sorted(found.items())) or "none",
            remedy=_REMEDY,
        )
    rows = cast("list[list[int]]", shapes)
    return [rows[0][1], *(row[0] for row in rows)]


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) == 2 and all(checkpoint.is_whole(n) and n > 0 for n in shape)


def load_encoder(weights: Path, *, sizes: Path, n_genes: int) -> checkpoint.Loaded[TripletEncoder]:
    """Return the encoder in a checkpoint, every tensor accounted for; raises ``InvalidInputError`` where one is not."""
    widths = read_widths(sizes)
    if widths[0] != n_genes:
        guards.refuse(
            "pretrained",
            asked=f"an encoder of the {n_genes} genes that are listed beside {weights}",
            found=f"one that reads {widths[0]} by {sizes.name}",
            remedy=_REMEDY,
        )
    content = checkpoint.read_checkpoint(weights)
    tensors = content.get("state_dict") if isinstance(content, Mapping) else content
    return checkpoint.loaded(
        lambda: TripletEncoder([n_genes, *widths[1:]]).eval(),
        checkpoint.only_tensors(tensors, path=weights),
        files=[weights, sizes],
        settings=f"the sizes in {sizes}",
    )

"""What the layers of a model are like: in how many directions each varies, and how alike two are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.inputs import as_matrix
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.weighted import ratio

EFFECTIVE_RANK_SOURCE = "Roy and Vetterli 2007, EUSIPCO, ieeexplore.ieee.org/document/7098875"
CKA_SOURCE = "10.48550/arXiv.1905.00414"


def effective_rank(X: ArrayLike) -> float:
    """Exponential of the Shannon entropy of the singular values of the centred ``X``, as shares of their sum.

    Equal variance in k directions and none in others gives k. Singular values are taken as they are, not squared (Roy
    and Vetterli 2007, EUSIPCO; no DOI): the square gives lower values under the same name.

    Parameters
    ----------
    X
        Embedding ``(n_cells, d)``.

    Returns
    -------
    In [1, min(n_cells − 1, d)].

    Raises
    ------
    UndefinedMetricError
        ``X`` is the same for all cells.
    """
    matrix = as_matrix(X)
    values = np.linalg.svd(matrix, compute_uv=False)
    values = values[values > values.max() * max(matrix.shape) * np.finfo(np.float64).eps]
    if not values.size:
        raise UndefinedMetricError("X is the same for all cells")
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def linear_cka(layers: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Linear centred kernel alignment of every pair of layers (Kornblith et al. 2019, doi:10.48550/arXiv.1905.00414).

    It does not change under rotation or isotropic scaling of a layer. With fewer cells than dimensions unrelated layers
    score well above 0: compare layers on the same cells only.

    Parameters
    ----------
    layers
        One ``(n_cells, d)`` per layer, of the same cells; widths may differ.

    Returns
    -------
    ``(n_layers, n_layers)``, symmetric, in [0, 1], ones on the diagonal; nan for a layer that is the same for all
    cells.

    Raises
    ------
    InvalidInputError
        The layers are of different numbers of cells.
    """
    centred = [as_matrix(layer, name=f"layer {number}") for number, layer in enumerate(layers)]
    sizes = {len(layer) for layer in centred}
    if len(sizes) > 1:
        raise InvalidInputError(
            asked="layers of the same cells", found=f"{min(sizes)} to {max(sizes)} cells", remedy="pass equal rows"
        )
    shared = np.zeros((len(centred), len(centred)))
    for i, one in enumerate(centred):
        for j, other in enumerate(centred[: i + 1]):
            shared[i, j] = shared[j, i] = np.square(one.T @ other).sum()
    own = np.sqrt(np.diag(shared))
    return np.minimum(ratio(shared, np.outer(own, own)), 1.0)

"""Controls: results that are known before a model is run."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import shake_128

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.special import ndtri

from scfm_eval.timing import phase

_NOISE = 0.01


def normal_by_id(ids: Iterable[str], *, seed: int, width: int) -> NDArray[np.float32]:
    """Return standard-normal rows that depend on nothing but each id and the seed.

    Parameters
    ----------
    ids
        Names of cells or labels.
    seed
        Another seed gives other rows.
    width
        Numbers per row.

    Returns
    -------
    ``(n_ids, width)``, every value within ±6.4.
    """
    digests = b"".join(shake_128(f"{seed}:{name}".encode()).digest(4 * width) for name in ids)
    uniform = (np.frombuffer(digests, dtype="<u4").astype(np.float64) + 0.5) / 2**32
    return np.asarray(ndtri(uniform), dtype=np.float32).reshape(-1, width)


class Random:
    """Knows nothing: 50 standard-normal numbers that are a function of the seed and the cell's name.

    Parameters
    ----------
    seed
        Seed of the numbers.
    """

    name = "random"
    role = "control"
    in_default_run = False
    revision = "1"
    licence = "BSD-3-Clause"

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the numbers, ``(n_cells, 50)``."""
        with phase("forward"):
            return normal_by_id(cells.obs_names, seed=self._seed, width=50)


class Oracle:
    """Knows the labels: a code per label and a little noise per cell, so that inside a type neighbours are random.

    The code is a random direction that depends on the label's name only: a one-hot column would depend on which
    other labels are in the call. A cell without a label has the code zero.

    Parameters
    ----------
    seed
        Seed of the codes and of the noise.
    """

    name = "oracle"
    role = "control"
    in_default_run = False
    revision = "1"
    licence = "BSD-3-Clause"
    sees = ("label",)

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return code plus noise (standard deviation 0.01), ``(n_cells, 64)``; codes have length 1."""
        with phase("forward"):
            noise = normal_by_id(cells.obs_names, seed=self._seed, width=64)
            return self._codes(cells.obs["label"]) + np.float32(_NOISE) * noise

    def _codes(self, label: pd.Series) -> NDArray[np.float32]:
        positions, names = pd.factorize(label.astype(object))
        codes = normal_by_id((f"label {name}" for name in names), seed=self._seed, width=64)
        codes /= np.linalg.norm(codes, axis=1, keepdims=True)
        # position -1, a missing label, picks the row of zeros
        return np.vstack([codes, np.zeros((1, 64), dtype=np.float32)])[positions]

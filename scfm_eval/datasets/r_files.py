"""Objects of R in ``.RData`` files, read by the optional package ``rdata``; no R is needed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from scfm_eval.errors import InvalidInputError


def r_object(path: Path) -> Any:
    """Return the one object that the file ``path`` holds.

    A list is a dict by name, a data frame is that of pandas, and an object of any other class has its slots as
    attributes.

    Raises
    ------
    InvalidInputError
        If the package ``rdata`` is not installed.
    """
    try:
        import rdata
    except ImportError as error:
        raise InvalidInputError(
            asked=f"the R file {path.name}",
            found="the package rdata, which reads it, is not installed",
            remedy='pip install "scfm-eval[rdata]"',
        ) from error
    with warnings.catch_warnings():
        # classes that it does not know are wanted slot by slot
        warnings.filterwarnings("ignore", message="Missing constructor")
        (found,) = rdata.read_rda(path).values()
    return found


def r_matrix(stored: Any) -> sp.csc_matrix:
    """Return R's ``dgCMatrix`` as a float32 matrix of the same shape."""
    return sp.csc_matrix((stored.x.astype(np.float32), stored.i, stored.p), shape=tuple(stored.Dim))

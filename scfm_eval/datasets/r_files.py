"""Objects of R in ``.RData`` files, read by the optional package ``rdata``; no R is needed."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from scfm_eval.bounds import FREELY, TIMES, inflated, read_bytes, require_room
from scfm_eval.errors import InvalidInputError

_SAID = 200  # characters


def r_object(path: Path) -> Any:
    """Return the one object that the file ``path`` holds.

    A list is a dict by name, a data frame is that of pandas, and an object of any other class has its slots as
    attributes.

    Raises
    ------
    InvalidInputError
        If the package ``rdata`` is not installed, or the file is damaged or unpacks to more than is allowed.
    """
    try:
        import rdata
    except ImportError as error:
        raise InvalidInputError(
            asked=f"the R file {path.name}",
            found="the package rdata, which reads it, is not installed",
            remedy='pip install "scfm-eval[rdata]"',
        ) from error
    try:
        content = _unpacked(read_bytes(path), path=path)
        with warnings.catch_warnings():
            # classes that it does not know are wanted slot by slot
            warnings.filterwarnings("ignore", message="Missing constructor")
            warnings.filterwarnings("error", message="Unknown file type")
            (found,) = rdata.conversion.convert(rdata.parser.parse_data(content, extension=".rda")).values()
    except InvalidInputError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise InvalidInputError(
            asked=f"the R file {path}",
            found=f"{type(error).__name__}: {str(error)[:_SAID]}",
            remedy="fetch the file again from where it was published",
        ) from error
    return found


def _unpacked(content: bytes, *, path: Path) -> bytes:
    """Return the content of a file that gzip, bzip2 or xz compressed, up to the size that is allowed."""
    import bz2
    import lzma

    if content[:2] == b"\x1f\x8b":
        return inflated(content, path=path)
    opener = next(
        (of for begin, of in ((b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)) if content.startswith(begin)), None
    )
    if opener is None:
        return content
    most = max(FREELY, TIMES * len(content))
    with opener(io.BytesIO(content)) as packed:
        made: bytes = packed.read(most + 1)
    require_room(len(made), path=path, packed=len(content))
    return made


def r_matrix(stored: Any) -> sp.csc_matrix:
    """Return R's ``dgCMatrix`` as a float32 matrix of the same shape."""
    return sp.csc_matrix((stored.x.astype(np.float32), stored.i, stored.p), shape=tuple(stored.Dim))

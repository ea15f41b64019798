"""What was predicted for which cell: tables of a result, and a compact form that can be read back."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics import classification
from scfm_eval.results import Result

_WIDTHS = ("<u1", "<u2")


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predicted labels of the first seed.

    Parameters
    ----------
    rows
        Places among all cells of the dataset of those that were predicted, ``(n_predicted,)``, ascending.
    codes
        Their predicted labels as places in ``classes``, ``(n_predicted,)``.
    classes
        Labels ``(n_classes,)``.
    n_cells
        All cells of the dataset.
    """

    rows: NDArray[np.intp]
    codes: NDArray[np.int64]
    classes: list[str]
    n_cells: int


def prediction_details(
    truth: NDArray[np.str_], predicted: NDArray[np.str_], *, classes: NDArray[np.str_], tested: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return what a report says of predicted labels: classes, confusion matrix, scores by class, and each prediction.

    Parameters
    ----------
    truth, predicted
        Labels of the cells that were predicted, ``(n_predicted,)``.
    classes
        All labels, sorted ``(n_classes,)``.
    tested
        Which of all cells were predicted, ``(n_cells,)``; :func:`predictions` reads them back.
    """
    width = _WIDTHS[len(classes) > 256]
    codes = np.searchsorted(classes, predicted).astype(width)
    return {
        "classes": classes.tolist(),
        "confusion_matrix": classification.confusion_matrix(truth, predicted, classes=classes).tolist(),
        "per_class": dict(classification.per_class(truth, predicted, classes=classes)),
        "predicted": {"n_cells": len(tested), "cells": packed(tested), "codes": _text(codes), "dtype": width},
    }


def predictions(result: Result) -> Predicted | None:
    """Return the predicted labels of a result's first seed; ``None`` where the report does not have them."""
    kept = result.details.get("predicted")
    if kept is None:
        return None
    rows = np.flatnonzero(unpacked(kept["cells"], n_cells=kept["n_cells"]))
    codes = np.frombuffer(base64.b64decode(kept["codes"]), dtype=kept["dtype"]).astype(np.int64)
    return Predicted(rows, codes, list(result.details["classes"]), kept["n_cells"])


def packed(mask: NDArray[np.bool_]) -> str:
    """Return a mask as base64 of its bits, the first cell in the highest bit."""
    return _text(np.packbits(mask))


def unpacked(text: str, *, n_cells: int) -> NDArray[np.bool_]:
    """Return the mask ``(n_cells,)`` that was :func:`packed`."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n_cells).astype(bool)


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")

"""Whether two models differ on the cells that both were tested on, for all pairs of a report."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.significance import benjamini_hochberg, mcnemar, wilcoxon_over_seeds
from scfm_eval.results import Result


def paired_tests(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Test every two models of one task on one dataset whose results say which test cells were right.

    McNemar's test is on the test cells of the first seed, as if they were independent; the signed-rank test is on the
    macro F1 of each seed. Each is corrected over all pairs that are returned (Benjamini–Hochberg).

    Parameters
    ----------
    results
        Those without ``details["correct"]`` are passed over.

    Returns
    -------
    One row per pair: ``task``, ``dataset``, ``left``, ``right``, ``n_cells``, ``only_left``, ``only_right``,
    ``mcnemar_p``, ``mcnemar_q``, ``wilcoxon_p``, ``wilcoxon_q``, and ``reasons`` for those that are ``None``.
    """
    comparable: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in results:
        if "correct" in result.details:
            comparable[result.task, result.dataset.name, result.pairing].append(result)
    rows = [_row(*pair) for same in comparable.values() for pair in combinations(same, 2)]
    for test in ("mcnemar", "wilcoxon"):
        p = [np.nan if row[f"{test}_p"] is None else row[f"{test}_p"] for row in rows]
        for row, q in zip(rows, benjamini_hochberg(p), strict=True):
            row[f"{test}_q"] = None if np.isnan(q) else float(q)
    return rows


def _row(left: Result, right: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        "task": left.task,
        "dataset": left.dataset.name,
        "left": left.model.name,
        "right": right.model.name,
        "reasons": {},
    }
    first, second = (_right(result) for result in (left, right))
    found = _or_reason(lambda: mcnemar(first, second), row, "mcnemar_p")
    row |= {
        "n_cells": len(first),
        "only_left": found.only_left if found else 0,
        "only_right": found.only_right if found else 0,
        "mcnemar_p": found.p if found else None,
    }
    per_seed = [result.scores["macro_f1"].per_seed for result in (left, right)]
    row["wilcoxon_p"] = _or_reason(lambda: wilcoxon_over_seeds(*per_seed), row, "wilcoxon_p")
    return row


def _or_reason(test: Callable[[], Any], row: dict[str, Any], name: str) -> Any:
    try:
        return test()
    except UndefinedMetricError as undefined:
        row["reasons"][name] = str(undefined)
        return None


def _right(result: Result) -> NDArray[np.bool_]:
    """Return which test cells of the first seed the model has right."""
    correct = result.details["correct"]
    of_seed = correct["seeds"][str(result.seeds[0])]
    n_test = int(_unpacked(of_seed["test"], correct["n_cells"]).sum())
    return _unpacked(of_seed["right"], n_test)


def _unpacked(packed: str, n_cells: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), dtype=np.uint8), count=n_cells).astype(bool)

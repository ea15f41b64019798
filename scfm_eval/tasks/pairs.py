"""Whether two models differ on the cells that both were tested on, for all pairs of a report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.significance import benjamini_hochberg, mcnemar, wilcoxon_over_seeds
from scfm_eval.results import Result
from scfm_eval.tasks.predictions import unpacked

Row = dict[str, Any]


def paired_tests(results: Sequence[Result]) -> list[Row]:
    """Test every two models of one task on one dataset whose results say which test cells were right.

    McNemar's test is on the test cells of each split, as if they were independent; the signed-rank test is on the
    macro F1 of each seed. Each kind is corrected over all that are returned (Benjamini–Hochberg).

    Parameters
    ----------
    results
        Those without ``details["correct"]`` are passed over.

    Returns
    -------
    One row per pair: ``task``, ``dataset``, ``left``, ``right``; ``splits`` with ``seed``, ``n_cells``, ``only_left``,
    ``only_right``, ``p`` and ``q`` each; and ``seeds`` with ``p`` and ``q``. Where p is ``None``, ``reason`` says why.
    """
    comparable: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in results:
        if "correct" in result.details:
            comparable[result.task, result.dataset.name, result.pairing].append(result)
    rows = [_row(*pair) for same in comparable.values() for pair in combinations(same, 2)]
    _correct([split for row in rows for split in row["splits"]])
    _correct([row["seeds"] for row in rows])
    return rows


def _correct(tests: list[Row]) -> None:
    q = benjamini_hochberg([np.nan if test["p"] is None else test["p"] for test in tests])
    for test, corrected in zip(tests, q, strict=True):
        test["q"] = None if np.isnan(corrected) else float(corrected)


def _row(left: Result, right: Result) -> Row:
    per_seed = [result.scores["macro_f1"].per_seed for result in (left, right)]
    return {
        "task": left.task,
        "dataset": left.dataset.name,
        "left": left.model.name,
        "right": right.model.name,
        "splits": [_split(_right(left, seed), _right(right, seed), seed=seed) for seed in left.seeds],
        "seeds": _p_or_reason(lambda: wilcoxon_over_seeds(*per_seed)),
    }


def _split(left: NDArray[np.bool_], right: NDArray[np.bool_], *, seed: int) -> Row:
    counts = {"only_left": int((left & ~right).sum()), "only_right": int((right & ~left).sum())}
    return {"seed": seed, "n_cells": len(left)} | counts | _p_or_reason(lambda: mcnemar(left, right).p)


def _p_or_reason(test: Callable[[], float]) -> Row:
    try:
        return {"p": test(), "reason": ""}
    except UndefinedMetricError as undefined:
        return {"p": None, "reason": str(undefined)}


def _right(result: Result, seed: int) -> NDArray[np.bool_]:
    """Return which test cells of a seed's split the model has right."""
    correct = result.details["correct"]
    of_seed = correct["seeds"][str(seed)]
    n_test = int(unpacked(of_seed["test"], n_cells=correct["n_cells"]).sum())
    return unpacked(of_seed["right"], n_cells=n_test)

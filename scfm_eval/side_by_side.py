"""Which results stand side by side in a table, and which value of a column is the best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from scfm_eval.results import Result
from scfm_eval.wording import there


def side_by_side(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """Return results by task and dataset; where a dataset was measured in several ways, each way apart.

    Only results of the same cells, folds and seeds can be compared, so that ``NAME`` becomes ``NAME (1 of 2)`` and
    ``NAME (2 of 2)`` where two runs of a report differ in these.
    """
    ways: dict[tuple[str, str], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        ways[result.task, result.dataset.name][result.pairing].append(result)
    return {
        (task, dataset if len(apart) == 1 else f"{dataset} ({place} of {len(apart)})"): same
        for (task, dataset), apart in ways.items()
        for place, same in enumerate(apart.values(), start=1)
    }


def goes_up(results: Iterable[Result], score: str) -> bool:
    """Return whether more of a score is better."""
    return all(result.scores[score].higher_is_better for result in results if score in result.scores)


def best_value(results: Iterable[Result], score: str) -> float | None:
    """Return the best value of a score among models and baselines; ``None`` where fewer than two have one."""
    taking_part = [result for result in results if result.model.role != "control" and score in result.scores]
    values = [result.scores[score].value for result in taking_part]
    known = [value for value in values if there(value)]
    return (max if goes_up(taking_part, score) else min)(known) if len(known) > 1 else None


def is_best(result: Result, score: str, *, best: float | None) -> bool:
    """Return whether a result, other than a control's, has the best value of a column."""
    return best is not None and result.model.role != "control" and result.scores[score].value == best

"""Which results of a report are drawn: of the largest datasets, the best models and what they are held against."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from scfm_eval.charts.figure import NAMED
from scfm_eval.report import Report
from scfm_eval.results import Result, role_place
from scfm_eval.wording import counted, listed, there

MOST_DATASETS, MOST_MODELS = 4, 12
"""Most datasets and models of a detailed figure."""
_BESIDE = 0.4


@dataclass(frozen=True)
class Drawn:
    """The results of one task on one dataset that are drawn, and how many there are in all.

    Parameters
    ----------
    dataset
        Name of the dataset.
    results
        Results that are drawn: models first, baselines after them, controls last; of each the best first.
    n_results, n_datasets, n_drawn
        Number of results of this dataset, of datasets of the task, and of those among them that are drawn.
    """

    dataset: str
    results: Sequence[Result]
    n_results: int
    n_datasets: int
    n_drawn: int

    @property
    def models(self) -> list[str]:
        """Names of the models, in the same order."""
        return [result.model.name for result in self.results]

    def left_out(self) -> str:
        """Return a sentence about what is not drawn, ``""`` where everything is."""
        cut = []
        if len(self.results) < self.n_results:
            cut.append(f"the best {len(self.results)} of {self.n_results} models")
        if self.n_drawn < self.n_datasets:
            cut.append(f"{self.n_drawn} of {counted(self.n_datasets, 'dataset')}")
        return f"Only {' and '.join(cut)} are drawn" if cut else ""


def drawn_results(
    report: Report, task: str, *, detail: str = "", most_datasets: int = MOST_DATASETS, most_models: int = MOST_MODELS
) -> list[Drawn]:
    """Return what is drawn of a task, the datasets with most results first.

    Parameters
    ----------
    report
        The report.
    task
        The task.
    detail
        Only results that have this entry of ``details``; ``""`` for all.
    most_datasets, most_models
        Most of each.
    """
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in report.results:
        if result.task == task and (not detail or result.details.get(detail)):
            groups[result.dataset.name].append(result)
    names = sorted(groups, key=lambda name: (-len(groups[name]), name))
    chosen = names[:most_datasets]
    return [
        Drawn(name, best_first(groups[name], most=most_models), len(groups[name]), len(names), len(chosen))
        for name in chosen
    ]


def best_first(results: Sequence[Result], *, most: int) -> list[Result]:
    """Return at most ``most`` results: models, then baselines, then controls, each from the best headline score on.

    Where there are too many, two fifths of the places are kept for the best of baselines and controls, so that a
    model is still seen beside what it has to beat.
    """
    ordered = in_order(results, next((result.first_headline for result in results), ""))
    others = [result for result in ordered if result.model.role != "model"]
    models = [result for result in ordered if result.model.role == "model"]
    n_others = min(len(others), max(int(most * _BESIDE), most - len(models)))
    kept = {id(result) for result in (*others[:n_others], *models[: most - n_others])}
    chosen = [result for result in ordered if id(result) in kept]
    return sorted(chosen, key=lambda result: role_place(result.model.role))


def in_order(results: Sequence[Result], score: str) -> list[Result]:
    """Return the results from the best to the worst value of a score; those without one come last."""
    return sorted(results, key=lambda result: (-_goodness(result, score), result.model.name))


def known(result: Result, score: str) -> float | None:
    """Return the value of a score, ``None`` where it is undefined or there is no such score."""
    record = result.scores.get(score)
    value = None if record is None else record.value
    return value if there(value) else None


def without(names: Sequence[str], what: str) -> str:
    """Return a half-sentence about models that have no value and are not drawn, ``""`` where all have one."""
    return f"{counted(len(names), 'model')} without {what} not drawn: {listed(names, most=NAMED)}" if names else ""


def _goodness(result: Result, score: str) -> float:
    value = known(result, score)
    if value is None:
        return -math.inf
    return value if result.scores[score].higher_is_better else -value

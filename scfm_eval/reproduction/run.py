"""Measuring here what was published elsewhere: which datasets and models are at hand, and why others are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate, lacking_keys
from scfm_eval.models.card import card
from scfm_eval.published import Publication
from scfm_eval.results import Result
from scfm_eval.store import Store
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.clustering import Clustering
from scfm_eval.tasks.finetuning import FineTunedAnnotation
from scfm_eval.tasks.integration import BatchIntegration
from scfm_eval.tasks.reconstruction import LayerwiseReconstruction
from scfm_eval.tasks.task import ScoredTask

TASKS: dict[str, ScoredTask] = {
    task.name: task
    for task in (Annotation(), FineTunedAnnotation(), BatchIntegration(), Clustering(), LayerwiseReconstruction())
}
"""The tasks that published numbers are set beside."""


@dataclass
class Bench:
    """What is measured with, and what came of it.

    Parameters
    ----------
    models
        Classes by name.
    absent
        Why a model is not among them, by name.
    weights
        Local weights by name of the model.
    given
        Datasets that were given for published ones, by their own name.
    resident, store
        What holds the loaded model, and where its answers are kept.
    seeds
        Repeats.
    offline
        Never touch the network.
    tell
        Is told, in words, what is measured next.
    """

    models: Mapping[str, type]
    absent: Mapping[str, str]
    weights: Mapping[str, Path]
    given: Mapping[str, Dataset]
    resident: Resident
    store: Store
    seeds: Sequence[int] = (0,)
    offline: bool = False
    tell: Callable[[str], None] = print
    results: list[Result] = field(default_factory=list)
    _datasets: dict[str, str] = field(default_factory=dict)
    _refusals: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def why_not(self, task: str, dataset: str, model: str) -> list[str]:
        """Return the reasons for which there is no result of this task, dataset and model."""
        reasons = [self._datasets.get(dataset, ""), "" if model in self.models else self._why_no_model(model)]
        return [why for why in reasons if why] or [self._refusals.get((task, dataset, model), "it was not measured")]

    def measure(self, publication: Publication) -> None:
        """Measure every model on the nearest dataset at hand for each published one, for the tasks of its tables."""
        for published, stand_ins in publication.datasets.items():
            tasks = dict.fromkeys(table.task for table in publication.tables if published in table.datasets)
            cells = self._first_at_hand([stand_in.name for stand_in in stand_ins])
            if cells is not None:
                for name in self.models:
                    for task in tasks:
                        self._measure(TASKS[task], name, cells)

    def _first_at_hand(self, names: Sequence[str]) -> Cells | None:
        if not self.models:
            return None
        for place, name in enumerate(names):
            try:
                dataset = self.given[name] if name in self.given else find_dataset(name)
                cells = Cells(dataset, dataset.load(offline=self.offline))
            except InvalidInputError as error:
                if name in self.given:
                    raise
                self._datasets[name] = f"{name} is not at hand: {error.found}"
                continue
            self._datasets |= {other: f"{name} is nearer than {other}" for other in names[place + 1 :]}
            return cells
        return None

    def _measure(self, task: ScoredTask, name: str, cells: Cells) -> None:
        place, model = (task.name, cells.dataset.name, name), self.models[name]
        if any((r.task, r.dataset.name, r.model.name) == place for r in self.results) or place in self._refusals:
            return
        refusal = (
            lacking(task, cells.dataset) or task.refuses(model) or lacking_keys(card(model, name=name), cells.dataset)
        )
        if refusal:
            self._refusals[place] = f"{name} cannot take part in {task.name} on {cells.dataset.name}: {refusal}"
            return
        self.tell(f"{task.name} of {name} on {cells.dataset.name}")
        try:
            made = evaluate(
                task,
                model,
                cells,
                name=name,
                weights=self.weights.get(name),
                seeds=self.seeds,
                store=self.store,
                resident=self.resident,
            )
        except InvalidInputError as error:
            self._refusals[place] = f"{name} on {cells.dataset.name}: {error.found}"
        else:
            self.results.append(made)

    def _why_no_model(self, name: str) -> str:
        return self.absent.get(
            name, f"there is no model {name}: give a class or stored embeddings of that name with --model"
        )


def lacking(task: ScoredTask, dataset: Dataset) -> str:
    """Return which keys a task needs and the dataset does not have, in words; empty when none is missing."""
    missing = [key for key in task.keys if key not in dataset.keys]
    return f"{dataset.name} has no {' and no '.join(missing)} key" if missing else ""

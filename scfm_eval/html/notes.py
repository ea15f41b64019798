"""What has to be known before a result is believed: leaks, notes, interrupted runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from scfm_eval.findings import told
from scfm_eval.report import Report


@dataclass(frozen=True)
class Note:
    """One note.

    Parameters
    ----------
    text
        What is to be known.
    where
        Which results it is about.
    """

    text: str
    where: str


def leaks(report: Report) -> list[Note]:
    """Return one note for each model and dataset that it saw in pretraining."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for result in report.results:
        if result.model.saw_dataset_in_pretraining:
            seen[result.model.name, result.dataset.name].add(result.task)
    return [Note(f"{model} saw {dataset} in pretraining", _listed(tasks)) for (model, dataset), tasks in seen.items()]


def found(report: Report) -> list[Note]:
    """Return what guards tell, and which of them were switched off."""
    return [Note(one.text, one.where or "the whole run") for one in told(report)]


def notes(report: Report) -> list[Note]:
    """Return each note once, with the tasks, datasets and models that it is about."""
    about: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for result in report.results:
        for text in result.notes:
            about[text].append((result.task, result.dataset.name, result.model.name))
    return [
        Note(text, f"{_listed(tasks)} on {_listed(datasets)}: {_listed(models)}")
        for text, places in about.items()
        for tasks, datasets, models in [map(set, zip(*places, strict=True))]
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))

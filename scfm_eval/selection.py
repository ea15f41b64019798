"""Which models, datasets and weights the command line asks for, and which claims that makes.

Imports the standard library and pytest only; everything heavy is imported when a claim needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.mark.expression import Expression

from scfm_eval.options import DEFAULT_DATASETS, SOURCES

if TYPE_CHECKING:
    from scfm_eval.cells import Cells
    from scfm_eval.datasets.dataset import Dataset
    from scfm_eval.models.card import Card
    from scfm_eval.tasks.task import Task


@dataclass
class Run:
    """What this run is about; made once per process from the command line.

    Parameters
    ----------
    config
        The configuration of pytest.
    """

    config: pytest.Config
    refusals: dict[str, list[str]] = field(default_factory=dict)
    asks_models: bool = False
    claims: dict[Path, set[str]] = field(default_factory=dict)
    _cells: dict[int, Cells] = field(default_factory=dict)

    @cached_property
    def weights(self) -> dict[str, Path]:
        """Local weights folder by model name."""
        pairs = [pair.partition("=") for pair in self.config.getoption("--weights")]
        wrong = [name for name, _, path in pairs if not path]
        if wrong:
            raise pytest.UsageError(f"--weights {wrong[0]}: give NAME=PATH, e.g. --weights geneformer=models/V2")
        return {name: Path(path) for name, _, path in pairs}

    @cached_property
    def options(self) -> dict[str, dict[str, str]]:
        """Options of constructors, as text, by model name."""
        made: dict[str, dict[str, str]] = {}
        for text in self.config.getoption("--option"):
            found = re.fullmatch(r"(.+?)\.(\w+)=(.*)", text)
            if found is None:
                raise pytest.UsageError(f"--option {text}: give NAME.OPTION=VALUE, e.g. --option scgpt.pooling=mean")
            made.setdefault(found[1], {})[found[2]] = found[3]
        return made

    @cached_property
    def datasets(self) -> list[Dataset]:
        """Declarations of the datasets."""
        from scfm_eval.discovery import find_dataset

        found = [find_dataset(spec) for spec in self.config.getoption("--dataset") or DEFAULT_DATASETS]
        _refuse_twins([dataset.name for dataset in found], kind="dataset")
        return found

    def cells(self, index: int) -> Cells:
        """Return the loaded dataset, read once per process."""
        from scfm_eval.cells import Cells

        if index not in self._cells:
            dataset = self.datasets[index]
            option = self.config.getoption
            loaded = dataset.load(offline=option("--offline"))
            self._cells[index] = Cells(dataset, loaded, orthologs=option("--orthologs"))
        return self._cells[index]

    @cached_property
    def installed(self) -> list[str]:
        """Names of installed models, baselines and controls."""
        from scfm_eval.discovery import model_names

        return model_names()

    @cached_property
    def asked(self) -> dict[str, type]:
        """The models that were asked for by name, through ``--model`` or ``-k``."""
        from scfm_eval.discovery import find_model
        from scfm_eval.models.card import card

        classes = [find_model(spec) for spec in self.config.getoption("--model")]
        _refuse_twins([card(model).name for model in classes], kind="model")
        named = {card(model).name: model for model in classes}
        for name in set(named) & set(self.installed):
            if named[name] is not find_model(name):
                raise pytest.UsageError(
                    f"--model: {name} is the name of an installed model; give your class another `name`"
                )
        found = named | {
            name: find_model(name) for name in self.installed if name not in named and self._in_keywords(name)
        }
        return {name: self.chosen(model) for name, model in found.items()}

    def chosen(self, model: type) -> type:
        """Return a class, or each member of an ensemble, with the options that the command line gives it."""
        from scfm_eval.models.card import card
        from scfm_eval.models.ensemble import ensemble
        from scfm_eval.models.options import with_options
        from scfm_eval.models.protocols import members_of

        members = members_of(model)
        if members != (model,):
            return ensemble([self.chosen(member) for member in members])
        return with_options(model, self.options.get(card(model).name, {}))

    @cached_property
    def named(self) -> set[str]:
        """Names of all models that the command line may speak of: installed, asked for, or member of an ensemble."""
        from scfm_eval.models.card import card
        from scfm_eval.models.protocols import members_of

        members = {card(member).name for model in self.asked.values() for member in members_of(model)}
        return {*self.installed, *self.asked, *members}

    def _in_keywords(self, name: str) -> bool:
        """Whether ``-k`` names this model and, for some test, selects it because of that name."""
        expression = self.config.getoption("keyword")
        words = set(re.findall(r"[\w.+-]+", expression or ""))
        if name not in words:
            return False
        others = sorted(words - {*self.installed, "and", "or", "not"})
        compiled = Expression.compile(expression)

        def selects(true: set[str]) -> bool:
            matcher: Any = lambda word, **_: word in true  # noqa: E731
            return compiled.evaluate(matcher)

        subsets = chain.from_iterable(combinations(others, n) for n in range(len(others) + 1))
        return any(selects({name, *subset}) and not selects(set(subset)) for subset in subsets)

    @cached_property
    def models(self) -> dict[str, type]:
        """The models that claims are asked of."""
        if self.config.getoption("--model"):
            return self.asked
        return self.asked | self._at_hand()

    def _at_hand(self) -> dict[str, type]:
        from scfm_eval.discovery import find_model

        classes = {name: self.chosen(find_model(name)) for name in self.installed}
        return {name: model for name, model in classes.items() if _comes_along(name, model, self.weights.get(name))}

    def card(self, name: str) -> Card:
        """Return the card of a model of this run, or of an installed one."""
        from scfm_eval.discovery import find_model
        from scfm_eval.models.card import card

        model = self.models.get(name) or find_model(name)
        return card(model, name=name)

    def task(self, module: ModuleType) -> Task | None:
        """Return the task of a module of claims, with what the command line says about it; ``None`` without one."""
        task: Any = getattr(module, "task", None)
        named = {name: self.config.getoption(f"--{name.replace('_', '-')}") for name in SOURCES}
        own = {name: source for name, source in named.items() if source and hasattr(task, name)}
        chosen: Task | None = replace(task, **own) if own else task
        return chosen

    def pairs(self, task: Task, rivals: Iterable[str], *, pretrained_only: bool) -> list[Any]:
        """Return one pytest parameter for each model and dataset of which the task can be asked."""
        rivals = set(rivals)
        return [
            self._parameter(task, name, dataset, index)
            for name in self.models
            if self._is_claimed(name, task, rivals) and (not pretrained_only or self.card(name).role == "model")
            for index, dataset in self.fitting(task, rivals)
        ]

    def fitting(self, task: Task, rivals: Iterable[str]) -> list[tuple[int, Dataset]]:
        """Return the datasets that have every key that the task and the rivals of the claim need, with their places.

        Where no dataset is named, a task is asked of the first one that has its keys: the others stand in for what that
        one lacks. A claim whose rivals need more than that one has (Harmony needs batches) is then no test.
        """
        # cells that were joined for a transfer are for no other task
        have = [
            (index, dataset)
            for index, dataset in enumerate(self.datasets)
            if set(task.keys) <= set(dataset.keys) and ("domain" in task.keys or "domain" not in dataset.keys)
        ]
        chosen = have if self.config.getoption("--dataset") else have[:1]
        needed = {key for rival in rivals for key in self.card(rival).needs}
        return [(index, dataset) for index, dataset in chosen if needed <= set(dataset.keys)]

    def _is_claimed(self, name: str, task: Task, rivals: set[str]) -> bool:
        from scfm_eval.models.protocols import missing_methods

        # nothing is compared with itself, and baselines with each other, or out of place, only on request
        if name in rivals:
            return False
        model, is_baseline = self.models[name], self.card(name).role == "baseline"
        if is_baseline and name not in self.asked and (missing_methods(model, task.capability) or task.refuses(model)):
            return False
        among_baselines = is_baseline and any(self.card(r).role == "baseline" for r in rivals)
        return name in self.asked or not among_baselines

    def _parameter(self, task: Task, name: str, dataset: Dataset, index: int) -> Any:
        from scfm_eval.evaluate import lacking_keys

        refusal = task.refuses(self.models[name]) or lacking_keys(self.card(name), dataset)
        marks: list[pytest.MarkDecorator] = [pytest.mark.xdist_group(name)]
        if refusal:
            self.refusals.setdefault(name, []).append(f"{task.name} on {dataset.name}: {refusal}")
            marks.append(pytest.mark.skip(reason=f"{name} cannot take part in {task.name}: {refusal}"))
        return pytest.param(name, index, marks=marks, id=f"{name}-{dataset.name}")


RUN = pytest.StashKey[Run]()


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a refusal of what the user gave into pytest's own usage error: one message, exit code 4."""
    from scfm_eval.errors import InvalidInputError

    try:
        yield
    except InvalidInputError as error:
        raise pytest.UsageError(str(error)) from error


def _refuse_twins(names: list[str], *, kind: str) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise pytest.UsageError(f"--{kind}: {twins[0]} is given twice; results are told apart by name, so rename one")


def _comes_along(name: str, model: type, weights: Path | None) -> bool:
    from scfm_eval.models.card import card
    from scfm_eval.models.protocols import Pretrained, missing_methods

    about = card(model, name=name)
    if about.role != "model":
        return about.in_default_run
    return weights is not None or (not missing_methods(model, Pretrained) and model.available())  # type: ignore[attr-defined]

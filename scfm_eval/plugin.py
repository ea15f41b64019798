"""The pytest plugin: options, which claims are asked of which model on which dataset, expected failures.

Imports the standard library and pytest only; everything heavy is imported when a claim needs it.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.mark.expression import Expression

from scfm_eval.quiet import Quiet
from scfm_eval.reporting import CLAIM_PROPERTY, COLLECTOR, COMPARISONS_PROPERTY

if TYPE_CHECKING:
    from scfm_eval.cells import Cells
    from scfm_eval.datasets.dataset import Dataset
    from scfm_eval.models.protocols import Card
    from scfm_eval.tasks.task import Task

DEFAULT_DATASETS = ("pbmc68k_reduced", "synthetic_batches", "synthetic_perturbations", "synthetic_transfer")
"""What runs when no dataset is named: all come with the package, and each task takes the first that has its keys."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("scfm_eval", "single-cell foundation models")
    group.addoption(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="installed name, FILE.py:Class, or stored embeddings (emb.h5ad:X_mine, .npz, .npy, .parquet); repeatable",
    )
    group.addoption(
        "--dataset",
        action="append",
        default=[],
        metavar="DATASET",
        help=f"installed name, FILE.py:OBJECT, or my.h5ad:label=cell_type,batch=donor; repeatable; "
        f"SOURCE->TARGET joins two for transfer; default {', '.join(DEFAULT_DATASETS)}",
    )
    group.addoption(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="local weights folder of a model; repeatable",
    )
    group.addoption("--report", default="reports/latest.json", metavar="PATH", help="where the JSON report is written")
    group.addoption("--reference", default=None, metavar="PATH", help="report that scores must not fall behind")
    group.addoption("--device", default="cpu", help="cpu, cuda or cuda:N")
    group.addoption(
        "--precision", default="float32", choices=("float32", "bfloat16", "float16"), help="precision of model weights"
    )
    group.addoption("--seeds", type=_positive, default=1, metavar="N", help="repeats of splits and trained baselines")
    group.addoption(
        "--ontology",
        default="",
        metavar="PATH",
        help="an .obo file instead of the packaged Cell Ontology, for the ontology task",
    )
    group.addoption("--offline", action="store_true", help="never download")


_NONE_SELECTED = (
    "no claim was selected: the datasets lack the keys that the selected claims need (see `scfm-eval list`), "
    "or the claims are heavy and -m leaves them out"
)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of repeats: give 1 or more")
    return int(text)


def _refuse_twins(names: list[str], *, kind: str) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise pytest.UsageError(f"--{kind}: {twins[0]} is given twice; results are told apart by name, so rename one")


def _check_writable(place: Path, *, what: str) -> None:
    """Refuse a file that could not be written at the end of a long run."""
    folder = place.absolute().parent
    if place.exists() and not place.is_file():
        raise pytest.UsageError(f"{what} {place} is no ordinary file; give the path of a file in a writable folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise pytest.UsageError(
            f"{what} {place} cannot be written: {error}; give a path in a writable folder"
        ) from error


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
            self._cells[index] = Cells(dataset, dataset.load(offline=self.config.getoption("--offline")))
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
        from scfm_eval.models.protocols import card

        classes = [find_model(spec) for spec in self.config.getoption("--model")]
        _refuse_twins([card(model).name for model in classes], kind="model")
        named = {card(model).name: model for model in classes}
        for name in set(named) & set(self.installed):
            if named[name] is not find_model(name):
                raise pytest.UsageError(
                    f"--model: {name} is the name of an installed model; give your class another `name`"
                )
        return named | {
            name: find_model(name) for name in self.installed if name not in named and self._in_keywords(name)
        }

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

        classes = {name: find_model(name) for name in self.installed}
        return {name: model for name, model in classes.items() if _comes_along(name, model, self.weights.get(name))}

    def card(self, name: str) -> Card:
        """Return the card of a model of this run, or of an installed one."""
        from scfm_eval.discovery import find_model
        from scfm_eval.models.protocols import card

        model = self.models.get(name) or find_model(name)
        return card(model, name=name)

    def task(self, module: ModuleType) -> Task | None:
        """Return the task of a module of claims, with what the command line says about it; ``None`` without one."""
        task: Any = getattr(module, "task", None)
        ontology = self.config.getoption("--ontology")
        chosen: Task | None = replace(task, ontology=ontology) if ontology and hasattr(task, "ontology") else task
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
QUIET = pytest.StashKey[Quiet]()
"""Where a worker of a distributed run asks for the machine to itself."""


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run, and let a stop by the scheduler still write the report."""
    config.stash[RUN] = Run(config)
    worker = getattr(config, "workerinput", None)
    if worker is not None and Quiet.possible:
        config.stash[QUIET] = Quiet(worker["testrunuid"])
    if worker is None:
        try:
            for name in ("SIGTERM", "SIGHUP"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), _interrupt)
        except ValueError:
            # not the main thread: somebody embeds pytest and handles signals there
            return


def _interrupt(signum: int, _: object) -> None:
    raise KeyboardInterrupt(f"signal {signum}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse bad input before anything is collected or loaded, in one process and with workers alike."""
    if hasattr(session.config, "workerinput"):
        return
    run = session.config.stash[RUN]
    from scfm_eval.device import check_device
    from scfm_eval.ontology import load_ontology
    from scfm_eval.report import read_report
    from scfm_eval.store import Store

    option = session.config.getoption
    _check_writable(Path(option("--report")), what="--report")
    _check_writable(Store().folder / "any", what="SCFM_EVAL_CACHE")
    with _usage_errors():
        check_device(option("--device"))
        if option("--reference") is not None:
            read_report(option("--reference"))
        if option("--ontology"):
            load_ontology(option("--ontology"))
        unknown = set(run.weights) - set(run.installed) - set(run.asked)
        if unknown:
            raise pytest.UsageError(f"--weights {min(unknown)}=…: no model of that name; see `scfm-eval list`")
        gone = [f"{name}={path}" for name, path in run.weights.items() if not path.exists()]
        if gone:
            raise pytest.UsageError(f"--weights {gone[0]}: no such file or folder; give a path that is there")
        for index in range(len(session.config.getoption("--dataset"))):
            run.cells(index)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a run red that skipped all that it was asked about a model."""
    collector = session.config.pluginmanager.get_plugin(COLLECTOR)
    if collector is None or not collector.verdicts or collector.interrupted:
        return
    idle = set(session.config.stash[RUN].asked) - collector.models_tried()
    if idle:
        print(f"\nERROR: {min(idle)} was asked for, but no claim about it could run", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is under test."""
    datasets = config.getoption("--dataset") or DEFAULT_DATASETS
    models = config.getoption("--model") or ["those at hand"]
    return [
        f"scfm_eval: models {', '.join(models)}; datasets {', '.join(datasets)}; "
        f"{config.getoption('--device')}, {config.getoption('--precision')}, {config.getoption('--seeds')} seed(s)"
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask each claim of a module with a ``task`` of every model and dataset that it concerns."""
    run = metafunc.config.stash[RUN]
    task = run.task(metafunc.module)
    if task is None or "cells" not in metafunc.fixturenames:
        return
    run.claims.setdefault(Path(metafunc.module.__file__ or ""), set()).add(metafunc.function.__name__)
    rivals = set(metafunc.fixturenames) & set(run.installed)
    with _usage_errors():
        if "model" in metafunc.fixturenames:
            run.asks_models = True
            pairs = run.pairs(task, rivals, pretrained_only="untrained" in metafunc.fixturenames)
            metafunc.parametrize(("model", "cells"), pairs, indirect=True, scope="session")
        else:
            fitting = run.fitting(task, rivals)
            indices, names = [index for index, _ in fitting], [dataset.name for _, dataset in fitting]
            metafunc.parametrize("cells", indices, ids=names, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop claims without a dataset, mark expected failures, refuse a run that would skip all it was asked for."""
    gone = [item for item in items if _has_no_parameters(item)]
    compared = [item for item in items if "_reference_report" in getattr(item, "fixturenames", ())]
    if config.getoption("--reference") and not compared:
        warnings.warn(pytest.PytestWarning("--reference: no test_has_not_regressed is selected"), stacklevel=1)
    if config.getoption("--reference") is None:
        gone += compared
    if gone:
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=gone)
    for item in items:
        _mark(item, config)
    _warn_of_stale_expectations(config.stash[RUN].claims)
    if not hasattr(config, "workerinput") and not config.getoption("collectonly"):
        _check_asked(config.stash[RUN], items)


def _check_asked(run: Run, items: list[pytest.Item]) -> None:
    if not run.asks_models:
        return
    runnable = {item.callspec.params["model"] for item in items if _is_runnable(item)}  # type: ignore[attr-defined]
    idle = sorted(set(run.asked) - runnable)
    if idle:
        reasons = "\n".join(f"  {reason}" for reason in dict.fromkeys(run.refusals.get(idle[0], [_NONE_SELECTED])))
        raise pytest.UsageError(f"{idle[0]} was asked for, but no claim about it can run:\n{reasons}")


def _is_runnable(item: pytest.Item) -> bool:
    return "model" in _parameters(item) and item.get_closest_marker("skip") is None


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return getattr(getattr(item, "callspec", None), "params", {})


def _has_no_parameters(item: pytest.Item) -> bool:
    values = _parameters(item)
    return any(name in values and not isinstance(values[name], (str, int)) for name in ("model", "cells"))


def _mark(item: pytest.Item, config: pytest.Config) -> None:
    """Say which model and dataset the claim is about, and whether it is known to fail for them."""
    parameters = _parameters(item)
    if "cells" not in parameters or not item.module.task.headline:  # type: ignore[attr-defined]
        return
    model, dataset = parameters.get("model"), config.stash[RUN].datasets[parameters["cells"]].name
    item.user_properties.append((CLAIM_PROPERTY, [model, dataset]))
    known = _expected_failures(item.path.parent / "expected_failures.toml").get(str(model), {})
    claim = f"{item.path.stem}::{getattr(item, 'originalname', item.name)}"
    reason = known.get(f"{claim}[{dataset}]", known.get(claim))
    if reason is not None:
        # set-up errors and undecided comparisons are never what was expected
        item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))


def _warn_of_stale_expectations(claims: dict[Path, set[str]]) -> None:
    for module, tests in claims.items():
        path = module.parent / "expected_failures.toml"
        for model, expected in _expected_failures(path).items():
            for claim in expected:
                file, _, test = claim.partition("[")[0].partition("::")
                if file == module.stem and test not in tests:
                    warnings.warn(
                        pytest.PytestWarning(f"{path.name}: {model} expects {claim}, which is no claim"), stacklevel=1
                    )


def _expected_failures(path: Path) -> dict[str, dict[str, str]]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _comes_along(name: str, model: type, weights: Path | None) -> bool:
    from scfm_eval.models.protocols import Pretrained, card, missing_methods

    about = card(model, name=name)
    if about.role != "model":
        return about.in_default_run
    return weights is not None or (not missing_methods(model, Pretrained) and model.available())  # type: ignore[attr-defined]


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn a refusal of what the user gave into pytest's own usage error: one message, exit code 4."""
    from scfm_eval.errors import InvalidInputError

    try:
        yield
    except InvalidInputError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say a refusal, or that a claim cannot be decided, in its own words and without a traceback."""
    from scfm_eval.errors import InvalidInputError
    from scfm_eval.score import UndecidedError

    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance((InvalidInputError, UndecidedError)):
        report.longrepr = f"{call.excinfo.typename}: {call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a worker's test begin when no test of another worker is timing something."""
    quiet = item.config.stash.get(QUIET, None)
    with quiet.together() if quiet else nullcontext():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Keep every comparison that a claim makes, held or not, and skip a claim about what a model cannot have."""
    from scfm_eval import score

    with score.recording() as made:
        try:
            return (yield)
        except score.NotApplicableError as error:
            pytest.skip(str(error))
        finally:
            if made:
                item.user_properties.append(
                    (COMPARISONS_PROPERTY, [vars(found) | {"text": str(found)} for found in made])
                )


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain a failed comparison of scores in one line."""
    from scfm_eval.score import Score

    if not isinstance(left, Score) or op not in (">", ">=", "<", "<="):
        return None
    return [str(left.compare(right, op))]  # type: ignore[arg-type]

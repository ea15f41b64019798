"""The pytest plugin: options, which claims are asked of which model on which dataset, expected failures.

Imports the standard library and pytest only; everything heavy is imported when a claim needs it.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Generator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from scfm_eval import guards
from scfm_eval.options import DEFAULT_DATASETS, pytest_addoption
from scfm_eval.quiet import Quiet
from scfm_eval.reporting import CLAIM_PROPERTY, COLLECTOR, COMPARISONS_PROPERTY
from scfm_eval.resuming import Resuming
from scfm_eval.selection import RUN, Run, usage_errors

__all__ = ["pytest_addoption"]

_NONE_SELECTED = (
    "no claim was selected: the datasets lack the keys that the selected claims need (see `scfm-eval list`), "
    "or the claims are heavy and -m leaves them out"
)


QUIET = pytest.StashKey[Quiet]()
"""Where a worker of a distributed run asks for the machine to itself."""
N_COMPARED = pytest.StashKey[int]()
"""How many claims of the run compare with the reference."""
_SWITCHED_OFF = pytest.StashKey[ExitStack]()


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


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run, and let a stop by the scheduler still write the report."""
    config.stash[RUN] = Run(config)
    config.stash[_SWITCHED_OFF] = ExitStack()
    with usage_errors():
        config.stash[_SWITCHED_OFF].enter_context(guards.without(config.getoption("--without-guard")))
    config.pluginmanager.register(Resuming(config), "scfm_eval_resuming")
    worker = getattr(config, "workerinput", None)
    if worker is not None and Quiet.possible and config.option.basetemp:
        # beside the workers' own folders, which pytest removes after three more runs
        config.stash[QUIET] = Quiet(Path(config.option.basetemp).parent / "quiet")
    if worker is None:
        try:
            for name in ("SIGTERM", "SIGHUP"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), _interrupt)
        except ValueError:
            # not the main thread: somebody embeds pytest and handles signals there
            return


def pytest_unconfigure(config: pytest.Config) -> None:
    """Switch the guards on again."""
    config.stash[_SWITCHED_OFF].close()


def _interrupt(signum: int, _: object) -> None:
    raise KeyboardInterrupt(f"signal {signum}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse bad input before anything is collected or loaded, in one process and with workers alike."""
    if hasattr(session.config, "workerinput"):
        return
    run = session.config.stash[RUN]
    from scfm_eval.consent import accept_licences
    from scfm_eval.datasets.download import cache_folder
    from scfm_eval.datasets.orthologs import read_orthologs
    from scfm_eval.device import check_device
    from scfm_eval.ontology import load_ontology
    from scfm_eval.report import read_report

    option = session.config.getoption
    _check_writable(Path(option("--report")), what="--report")
    if option("--html") is not None:
        _check_writable(Path(option("--html")), what="--html")
    with usage_errors():
        cache_folder()
        accept_licences(option("--accept-licence"))
        check_device(option("--device"))
        if option("--reference") is not None:
            read_report(option("--reference"))
        if option("--ontology"):
            load_ontology(option("--ontology"))
        _check_gene_level(session.config)
        if option("--orthologs"):
            read_orthologs(option("--orthologs"))
        _check_weights(run)
        for index in range(len(session.config.getoption("--dataset"))):
            run.cells(index)


def _check_gene_level(config: pytest.Config) -> None:
    from scfm_eval.datasets.gene_sets import load_gene_sets
    from scfm_eval.datasets.networks import load_network

    offline = config.getoption("--offline")
    if config.getoption("--gene-sets"):
        load_gene_sets(config.getoption("--gene-sets"), offline=offline)
    if config.getoption("--network"):
        load_network(config.getoption("--network"), offline=offline)


def _check_weights(run: Run) -> None:
    unknown = set(run.weights) - run.named
    if unknown:
        raise pytest.UsageError(f"--weights {min(unknown)}=…: no model of that name; see `scfm-eval list`")
    optioned = set(run.options) - run.named
    if optioned:
        raise pytest.UsageError(f"--option {min(optioned)}.…: no model of that name; see `scfm-eval list`")
    gone = [f"{name}={path}" for name, path in run.weights.items() if not path.exists()]
    if gone:
        raise pytest.UsageError(f"--weights {gone[0]}: no such file or folder; give a path that is there")


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
    with usage_errors():
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
    config.stash[N_COMPARED] = sum(_is_runnable(item) for item in compared)
    if gone:
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=gone)
    if hasattr(config, "workerinput"):
        items[:] = _in_turns(items)
    for item in items:
        _mark(item, config)
    _warn_of_stale_expectations(config.stash[RUN].claims)
    if not hasattr(config, "workerinput") and not config.getoption("collectonly"):
        _check_asked(config.stash[RUN], items)


def _in_turns(items: list[pytest.Item]) -> list[pytest.Item]:
    """Turn the order of every second model's claims round: workers would wait for each other at each baseline."""
    models = list(dict.fromkeys(_parameters(item).get("model") for item in items))
    of_model = {model: [item for item in items if _parameters(item).get("model") == model] for model in models}
    return [item for place, model in enumerate(models) for item in of_model[model][:: -1 if place % 2 else 1]]


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
    parameters, task = _parameters(item), getattr(item.module, "task", None)  # type: ignore[attr-defined]
    if "cells" not in parameters or task is None or not task.headline:
        return
    model, dataset = parameters.get("model"), config.stash[RUN].datasets[parameters["cells"]].name
    item.user_properties.append((CLAIM_PROPERTY, [model, dataset]))
    known = _expected_failures(item.path.parent / "expected_failures.toml").get(str(model), {})
    claim = f"{item.path.stem}::{getattr(item, 'originalname', item.name)}"
    reason = known.get(f"{claim}[{dataset}]", known.get(claim))
    if reason is not None:
        how = reason if isinstance(reason, dict) else {"reason": reason, "strict": True}
        # set-up errors and undecided comparisons are never what was expected
        item.add_marker(pytest.mark.xfail(**how, raises=AssertionError))


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


def _expected_failures(path: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


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

    with score.recording() as made, score.one_of(item.config.stash.get(N_COMPARED, 1)):
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

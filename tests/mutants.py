"""Mutation testing: one place of the code is changed at a time, and some test has to fail.

``python -P tests/mutants.py [FILE ...]`` reads ``[tool.mutmut]`` of pyproject.toml; ``--help`` names the options.
mutmut makes the changes. Unlike `mutmut run`, decorated functions are changed too, which is what metrics are, and the
tests are imported once: every change is tried in a forked process, by those tests only that reach the changed function.
Needs Linux. What is not noticed is printed, and the exit status is 1 where that is more than a tenth; SURVIVORS.md in
tests/metrics says why the rest cannot be noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import gc
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import libcst as cst
import pytest
from hypothesis import Phase, settings
from mutmut.configuration import config
from mutmut.mutation.file_mutation import combine_mutations_to_source, create_mutations
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.format_utils import get_mutant_name, mangled_name_from_mutant_name
from statsmodels.stats.proportion import proportion_confint

MEMORY_TO_SPARE = 3 * 2**30
TESTS_TAKE = 2.0
"""CPU seconds of unchanged tests that one change is tried with."""
LEAST_SHARE = 0.9
NEEDED = ("scfm_eval", "fixtures", "tests", "conftest.py", "pyproject.toml")
NOTICED = ("killed", "timeout")
UNNOTICED = ("survived", "not reached")


@dataclass(frozen=True)
class Mutant:
    """One change of one function."""

    name: str
    file: str
    change: str


class Undecorated(cst.CSTTransformer):
    """Writes ``@f`` above a function as ``name = f(name)`` below it, since mutmut leaves decorated functions alone."""

    def leave_FunctionDef(self, original_node, updated_node):  # noqa: ARG002, N802
        if not updated_node.decorators:
            return updated_node
        value = cst.Name(updated_node.name.value)
        for decorator in reversed(updated_node.decorators):
            value = cst.Call(decorator.decorator, [cst.Arg(value)])
        assigned = cst.Assign([cst.AssignTarget(cst.Name(updated_node.name.value))], value)
        return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), cst.SimpleStatementLine([assigned])])


class Trial:
    """A pytest plugin that, instead of running the tests, tries every mutant with those that reach it."""

    def __init__(self, mutants: Sequence[Mutant]) -> None:
        self.mutants = mutants
        self.outcome: dict[Mutant, str] = {}
        self.seconds: dict[str, float] = {}
        self.reached: dict[str, set[str]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        start = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - start

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> None:
        """End the process at the first failure: to format it would take longer than all else."""
        if call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
            self._found.write_text(json.dumps({"failed": item.nodeid}))
            os._exit(1)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        gc.freeze()
        with tempfile.TemporaryDirectory() as folder:
            self._found = Path(folder) / "found.json"
            self._look(session.items)
            self._try_all({item.nodeid: item for item in session.items})
        return True

    def _look(self, items: Sequence[pytest.Item]) -> None:
        """Run all tests as they are, to know what each of them reaches and takes."""
        pid = os.fork()
        if pid == 0:
            with _leaving():
                self._record(items)
        os.waitpid(pid, 0)
        looked = json.loads(self._found.read_text())
        if "failed" in looked:
            pytest.exit(f"{looked['failed']} fails without any change", returncode=2)
        self.reached = {function: set(names) for function, names in looked["reached"].items()}
        self.seconds = looked["seconds"]
        print(f"{len(items)} tests pass in {sum(self.seconds.values()):.0f} s", flush=True)

    def _record(self, items: Sequence[pytest.Item]) -> None:
        set_mutant_under_test("stats")
        reached = defaultdict(list)
        for item, following in zip(items, [*items[1:], None], strict=True):
            state()._stats.clear()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            for function in state()._stats:
                reached[function].append(item.nodeid)
        self._found.write_text(json.dumps({"reached": reached, "seconds": self.seconds}))

    def _try_all(self, items: dict[str, pytest.Item]) -> None:
        start = time.monotonic()
        for done, mutant in enumerate(self.mutants):
            if done % 100 == 0:
                print(f"{time.monotonic() - start:6.0f} s: {done} of {len(self.mutants)}", flush=True)
            outcome = self._tried(mutant, [items[test] for test in self._tests_of(mutant)])
            self.outcome[mutant] = outcome
            if outcome in UNNOTICED:
                print(f"\n{mutant.name}: {outcome}\n{mutant.change}", flush=True)

    def _tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach it, those named after its file first, up to TESTS_TAKE seconds of them."""
        reaching = self.reached.get(mangled_name_from_mutant_name(mutant.name), set())
        ordered = sorted(
            reaching, key=lambda test: (f"test_{Path(mutant.file).stem}" not in test, self.seconds[test], test)
        )
        taken = accumulate(self.seconds[test] for test in ordered)
        return [test for test, until in zip(ordered, taken, strict=True) if until < TESTS_TAKE]

    def _tried(self, mutant: Mutant, items: Sequence[pytest.Item]) -> str:
        if not items:
            return "not reached"
        expected = sum(self.seconds[item.nodeid] for item in items)
        limit = math.ceil(config().timeout_constant + config().timeout_multiplier * expected)
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            signal.alarm(20 * limit)
            with _leaving():
                set_mutant_under_test(mutant.name)
                for item, following in zip(items, [*items[1:], None], strict=True):
                    item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU, signal.SIGALRM):
            return "timeout"
        return "survived" if status == 0 else "killed"


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """In a forked process: say nothing, take no more memory than is allowed, and end here whatever happens."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY_TO_SPARE, in_use + MEMORY_TO_SPARE))
    try:
        yield
    except BaseException:
        os._exit(1)
    os._exit(0)


def mutated(file: str, *, sample: int | None, seed: int) -> tuple[int, list[Mutant]]:
    """Rewrite ``file`` so that it holds its changes, or a sample of them; return how many there could be, and those."""
    path = Path(file)
    code = cst.parse_module(path.read_text()).visit(Undecorated()).code
    module, changes, *ignored = create_mutations(file, code)
    possible = [change for change in changes if isinstance(change.contained_by_top_level_function, cst.FunctionDef)]
    n = len(possible) if sample is None else min(sample, len(possible))
    chosen = sorted(random.Random(seed).sample(range(len(possible)), n))
    made = combine_mutations_to_source(module, [possible[i] for i in chosen], *ignored)
    path.write_text(made.code)
    lines = made.code.splitlines()

    def source(function: str) -> list[str]:
        span = made.line_span_by_function_name[function]
        return [line.replace(function, function.partition("__mutmut_")[0]) for line in lines[span.start - 1 : span.end]]

    def change(function: str) -> str:
        before = source(f"{function.partition('__mutmut_')[0]}__mutmut_orig")
        compared = difflib.unified_diff(before, source(function), lineterm="", n=0)
        return "\n".join(line for line in compared if not line.startswith(("@@", "---", "+++")))

    return len(possible), [Mutant(get_mutant_name(path, name), file, change(name)) for name in made.mutant_names]


def table(outcome: dict[Mutant, str], *, possible: dict[str, int]) -> tuple[str, float]:
    """Return the outcomes by file as Markdown, and the share noticed of all; files weigh by what is possible."""
    rows = defaultdict(Counter)
    for mutant, found in outcome.items():
        rows[mutant.file][found] += 1
    columns = ["file", "possible", "tried", *NOTICED, *UNNOTICED, "share noticed", "95 % interval"]
    lines = [f"| {' | '.join(columns)} |", f"{'|---' * len(columns)}|"]
    whole = sum(possible[file] for file in rows)
    together, variance, total = 0.0, 0.0, Counter()
    for file, counts in rows.items():
        tried, noticed = sum(counts.values()), sum(counts[name] for name in NOTICED)
        weight, share = possible[file] / whole, noticed / tried
        together += weight * share
        # one more of either kind, since none of few is not never
        near = (noticed + 1) / (tried + 2)
        variance += weight**2 * near * (1 - near) / tried * (1 - tried / possible[file])
        total += counts
        low, high = proportion_confint(noticed, tried, method="wilson") if tried < possible[file] else (share, share)
        lines.append(_row(file, possible[file], counts, share, low, high))
    away = 1.96 * math.sqrt(variance)
    lines.append(_row("all", whole, total, together, together - away, together + away))
    return "\n".join(lines), together


def _row(file: str, possible: int, counts: Counter[str], share: float, low: float, high: float) -> str:
    each = " | ".join(str(counts[name]) for name in NOTICED + UNNOTICED)
    return f"| {file} | {possible} | {sum(counts.values())} | {each} | {share:.1%} | {low:.1%} to {high:.1%} |"


def options() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="files to change; those of [tool.mutmut] unless named")
    parser.add_argument("--sample", type=int, help="at most so many changes of each file, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--json", type=Path, help="where to write every change and what became of it")
    return parser.parse_args()


def main() -> int:
    """Copy the tree, change the files in the copy, try, and print what was not noticed and the table."""
    asked = options()
    written = asked.json.resolve() if asked.json else None
    files = asked.files or sorted({str(file) for pattern in config().only_mutate for file in Path().glob(pattern)})
    settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
    )
    settings.load_profile("mutants")
    with tempfile.TemporaryDirectory() as folder:
        for needed in map(Path, NEEDED):
            copy = shutil.copytree if needed.is_dir() else shutil.copy
            copy(needed, Path(folder) / needed)
        os.chdir(folder)
        sys.path.insert(0, folder)
        made = {file: mutated(file, sample=asked.sample, seed=asked.seed) for file in files}
        trial = Trial([mutant for _, mutants in made.values() for mutant in mutants])
        chosen = [*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection]
        code = pytest.main(["-q", "-s", "-p", "no:cacheprovider", *chosen], plugins=[trial])
    if len(trial.outcome) < len(trial.mutants):
        return int(code) or 1
    rows, share = table(trial.outcome, possible={file: n for file, (n, _) in made.items()})
    print(f"\n{rows}")
    if written:
        found = [asdict(mutant) | {"outcome": outcome} for mutant, outcome in trial.outcome.items()]
        written.write_text(json.dumps(found, indent=1))
    return int(share < LEAST_SHARE)


if __name__ == "__main__":
    sys.exit(main())

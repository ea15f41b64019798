"""One test of a distributed run can have the machine to itself."""

from __future__ import annotations

import multiprocessing
import time
from itertools import pairwise

import pytest

from scfm_eval.quiet import Quiet

pytestmark = pytest.mark.skipif(not Quiet.possible, reason="no POSIX file locks here")


def take_part(folder, said, n_tests, alone):
    quiet = Quiet(folder)
    for number in range(n_tests):
        with quiet.together():
            if number in alone:
                with quiet.alone():
                    said.put(("alone", time.monotonic()))
                    time.sleep(0.05)
                    said.put(("over", time.monotonic()))
            else:
                said.put(("begin", time.monotonic()))
                time.sleep(0.02)
                said.put(("end", time.monotonic()))


def test_no_test_runs_beside_one_that_is_alone(tmp_path):
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    workers = [
        context.Process(target=take_part, args=(tmp_path / "quiet", said, 8, alone))
        for alone in ({2, 3}, {0, 5}, {3, 7})
    ]
    for worker in workers:
        worker.start()
    events = sorted((said.get(timeout=60) for _ in range(2 * 8 * 3)), key=lambda event: event[1])
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    names = [name for name, _ in events]
    assert names.count("alone") == 6
    assert all(after == "over" for before, after in pairwise(names) if before == "alone")
    running = 0
    most = 0
    for name in names:
        assert not (name == "alone" and running)
        running += {"begin": 1, "end": -1}.get(name, 0)
        most = max(most, running)
    assert most > 1, "tests that are not alone run side by side"

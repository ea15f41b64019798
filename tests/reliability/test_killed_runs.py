"""Runs that are killed without warning, at any moment and in the middle of anything, go on and report the same."""

from __future__ import annotations

import os
import shutil
import signal
import time

import psutil
import pytest

from scfm_eval.discovery import find_dataset
from scfm_eval.report import read_report
from tests.reliability.kills import Place, kill_and_resume
from tests.reliability.same_report import differences
from tests.reliability.suites import Suite

pytestmark = pytest.mark.heavy

LIMIT = 600
"""Seconds that anything may take here."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    made = Suite.made(tmp_path_factory.mktemp("killed") / "suite")
    return made, made.uninterrupted()


@pytest.fixture
def fresh(suite):
    """Give the suite, with nothing left of earlier runs, and the report of an uninterrupted one."""
    made, whole = suite
    made.clean()
    return made, whole


def wait_for(condition):
    """Wait until something is so."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def states(unfinished):
    """States of trainings that are under way, each with the time when it was written."""
    return {(state, state.stat().st_mtime_ns) for state in unfinished.glob("*/training.pt")}


def kill(process):
    """Kill a process with all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(("what", "n"), [*(("ledger", n) for n in (1, 2, 4)), *(("store", n) for n in (1, 2, 3))])
def test_in_the_middle_of_a_write(fresh, what, n):
    made, whole = fresh
    made.kill_at(what, n)
    assert made.run()[0] == -signal.SIGKILL
    code, said = made.run("--resume")
    assert code == 1, said
    assert differences(whole, made.report) == []


def test_again_and_again(fresh):
    made, whole = fresh
    embedded = []
    for _ in range(4):
        made.kill_at("ledger", 2)
        assert made.run("--resume")[0] == -signal.SIGKILL
        embedded.append(made.n_embedded())
    assert made.run("--resume")[0] == 1
    assert differences(whole, made.report) == []
    assert made.report.resumed == 4
    assert made.n_embedded() == embedded[0]


@pytest.mark.parametrize("dist", ["load", "loadgroup"])
def test_a_worker(fresh, dist):
    made, _ = fresh
    distributed = ("-n", "2", "--dist", dist)
    whole = made.uninterrupted(*distributed)
    made.kill_at("embed", 1)
    code, said = made.run(*distributed)
    assert code == 1
    assert "crashed" in said
    # xdist itself tries a test of a group again
    assert ("error" in {verdict.outcome for verdict in made.report.verdicts}) == (dist == "load")
    code, said = made.run("--resume", *distributed)
    assert code == 1, said
    assert differences(whole, made.report) == []


def test_the_controller_of_workers(fresh):
    made, _ = fresh
    distributed = ("-n", "2", "--dist", "loadgroup")
    whole = made.uninterrupted(*distributed)
    (made.folder / "wait").touch()
    started = made.start(*distributed)
    wait_for(lambda: made.ledger.exists() and b"good-toy" in made.ledger.read_bytes().partition(b"\n")[2])
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    workers = psutil.process_iter(["cwd", "cmdline"])
    assert [one for one in workers if one.info["cwd"] == str(made.folder)], "a worker is still there, in a model"
    (made.folder / "wait").unlink()
    code, said = made.run("--resume", *distributed)
    assert code == 1, said
    started.communicate()
    assert differences(whole, made.report) == []


def test_two_at_once_and_then_the_first_is_killed(fresh):
    made, whole = fresh
    (made.folder / "wait").touch()
    first = made.start()
    wait_for(lambda: made.ledger.exists() and made.ledger.read_bytes().count(b"\n") == 3)
    before = made.ledger.read_bytes()
    for arguments in ((), ("--resume",), ("-n", "2", "--dist", "loadgroup")):
        code, said = made.run(*arguments)
        assert code == pytest.ExitCode.USAGE_ERROR, said
        assert "another run that is writing it" in said
    assert made.ledger.read_bytes() == before
    kill(first)
    (made.folder / "wait").unlink()
    assert made.run("--resume")[0] == 1
    assert differences(whole, made.report) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_a_scheduler(fresh, number):
    made, whole = fresh
    (made.folder / "wait").touch()
    started = made.start()
    wait_for(lambda: made.ledger.exists() and made.ledger.read_bytes().count(b"\n") == 3)
    started.send_signal(number)
    started.communicate()
    assert made.report.interrupted
    (made.folder / "wait").unlink()
    assert made.run("--resume")[0] == 1
    assert differences(whole, made.report) == []
    assert made.report.resumed == 1


def test_nothing_to_go_on_from_is_said_and_no_error(fresh):
    made, whole = fresh
    code, said = made.run("--resume")
    assert code == 1
    assert "begins anew" in said
    assert differences(whole, made.report) == []
    assert made.report.resumed == 0


def test_a_finished_run_is_only_told_again(fresh):
    made, whole = fresh
    made.run()
    shutil.rmtree(made.folder / "cache")
    n_before = made.n_embedded()
    assert made.run("--resume")[0] == 1
    assert made.n_embedded() == n_before
    assert differences(whole, made.report) == []


def test_other_numbers_the_second_time_are_told_and_the_first_are_kept(fresh):
    made, whole = fresh
    made.kill_at("ledger", 4)
    assert made.run()[0] == -signal.SIGKILL
    shutil.rmtree(made.folder / "cache")
    (made.folder / "seed").write_text("1")
    code, said = made.run("--resume")
    assert code == 1
    assert "computed twice in this run: accuracy is" in said
    found = {result.model.name: result for result in made.report.results}
    before = {result.model.name: result for result in whole.results}
    assert found["blind"].scores == before["blind"].scores
    assert [note for note in found["blind"].notes if "computed twice" in note]
    assert not [note for note in found["good"].notes if "computed twice" in note]


def test_another_run_is_refused_and_nothing_is_lost(fresh):
    made, _ = fresh
    made.run()
    before = made.ledger.read_bytes()
    claims = made.folder / "benchmarks" / "test_toy.py"
    text = claims.read_text()
    claims.write_text(text + "\n")
    code, said = made.run("--resume", "--seeds", "2")
    claims.write_text(text)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--seeds is 2 and was 1" in said
    assert "file benchmarks/test_toy.py is" in said
    assert made.ledger.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_full_disk_costs_the_ledger_and_not_the_run(fresh):
    made, whole = fresh
    made.ledger.symlink_to("/dev/full")
    code, said = made.run()
    assert code == 1
    assert said.count("cannot be written: [Errno 28]") == 1
    assert differences(whole, made.report) == []


def test_in_the_middle_of_a_fine_tuning(tmp_path):
    cells = find_dataset("pbmc68k_reduced").load(offline=True)
    largest = cells.obs["label"].value_counts().index[:3]
    cells[cells.obs["label"].isin(largest)][:150].copy().write_h5ad(tmp_path / "few.h5ad")
    claims = "benchmarks/test_annotation_finetuned.py::test_knows_more_than_chance"
    asked = [claims, "--dataset", f"{tmp_path / 'few.h5ad'}:label=label", "--model", "geneformer-mini"]
    alone, killed = Place(tmp_path / "alone"), Place(tmp_path / "killed")
    assert alone.run(asked)
    unfinished = killed.folder / "cache" / "store" / "unfinished"
    for _ in range(3):
        before = states(unfinished)
        started = killed.start(asked)
        wait_for(lambda before=before: states(unfinished) - before)
        kill(started)
    assert killed.run(asked)
    assert not states(unfinished)
    assert differences(read_report(alone.report), read_report(killed.report)) == []


def test_at_thirty_random_moments(tmp_path):
    asked = ["benchmarks/test_genes.py", "benchmarks/test_batch_integration.py"]
    asked += ["-k", "geneformer-mini and not scvi and not harmony"]
    found = kill_and_resume(asked, folder=tmp_path, kills=30, seed=0)
    assert found.kills == 30
    assert found.differing == []

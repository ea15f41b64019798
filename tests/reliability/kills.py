"""Kills runs of the benchmarks at random moments, resumes them, and compares the report with an uninterrupted one.

``python -m tests.reliability.kills --seed 0 --kills 30 benchmarks -n 2 --dist loadgroup`` does so with the embedded
default and prints what came of it; all after the options goes to pytest.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from scfm_eval.report import read_report
from tests.reliability.same_report import differences

ROOT = Path(__file__).parents[2]


@dataclass
class Killed:
    """What came of it.

    Parameters
    ----------
    seconds
        Of the uninterrupted run.
    kills, moments
        How many, and how many seconds after its start each process was killed.
    reports
        Runs that were resumed until they ended.
    resumed
        How often each of them was.
    differing
        Where a report of theirs differs from the uninterrupted one.
    seconds_killed
        Of all runs that were killed, and of those that ended them.
    """

    seconds: float = 0.0
    kills: int = 0
    moments: list[float] = field(default_factory=list)
    reports: int = 0
    resumed: list[int] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    seconds_killed: float = 0.0


@dataclass(frozen=True)
class Place:
    """A folder with a report, a ledger and a store of its own."""

    folder: Path

    @property
    def report(self):
        """Path of the report."""
        return self.folder / "out.json"

    @property
    def log(self):
        """Path of what all its runs said."""
        return self.folder / "log.txt"

    def start(self, arguments):
        """Start pytest there, to go on where it was killed."""
        command = [sys.executable, "-m", "pytest", *arguments, "--report", str(self.report), "-p", "no:cacheprovider"]
        self.folder.mkdir(exist_ok=True)
        own = {"SCFM_EVAL_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--resume"], cwd=ROOT, env=os.environ | own, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, arguments, *, kill_after=None):
        """Run pytest there; returns whether it ended by itself before the kill of the whole process group."""
        started = self.start(arguments)
        try:
            started.wait(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            return False
        assert started.returncode in (0, 1), self.log.read_text()[-4000:]
        return True


def kill_and_resume(arguments, *, folder, kills, seed):
    """Kill runs until ``kills`` are reached, each at a moment in the first half of what an uninterrupted one takes."""
    found, rng = Killed(), np.random.default_rng(seed)
    begun = time.monotonic()
    alone = Place(folder / "alone")
    alone.run(arguments)
    found.seconds = time.monotonic() - begun
    while found.kills < kills:
        place = Place(folder / f"killed{found.reports}")
        begun = time.monotonic()
        _until_it_ends(place, arguments, found, kills=kills, rng=rng)
        found.seconds_killed += time.monotonic() - begun
        report = read_report(place.report)
        found.reports += 1
        found.resumed.append(report.resumed)
        found.differing += differences(read_report(alone.report), report)
    return found


def _until_it_ends(place, arguments, found, *, kills, rng):
    while found.kills < kills:
        moment = round(float(rng.uniform(0, found.seconds / 2)), 2)
        if place.run(arguments, kill_after=moment):
            return
        found.kills += 1
        found.moments.append(moment)
        print(f"kill {found.kills} after {moment} s", file=sys.stderr, flush=True)
    place.run(arguments)


def main():
    """Do so from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=30)
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        found = kill_and_resume(arguments, folder=Path(folder), kills=options.kills, seed=options.seed)
    print(json.dumps(asdict(found), indent=1))
    return 1 if found.differing else 0


if __name__ == "__main__":
    sys.exit(main())

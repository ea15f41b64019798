"""A small suite in a folder of its own, whose processes can be killed in the middle of a write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scfm_eval.report import read_report
from tests.toys import CLAIMS, toy_cells

ROOT = Path(__file__).parents[2]

FAULTS = """
import os
import pathlib
import signal

from scfm_eval import ledger, store


def due(what):
    place = pathlib.Path(f"kill_{what}")
    if not place.exists():
        return False
    left = int(place.read_text()) - 1
    place.write_text(str(left)) if left else place.unlink()
    return not left


def die():
    os.kill(os.getpid(), signal.SIGKILL)


whole_append, whole_save = ledger.Ledger.append, store._save


def append(self, record):
    if due("ledger"):
        line = ledger._line(record)
        with self.path.open("ab") as file:
            file.write(line[: len(line) // 2])
        die()
    whole_append(self, record)


def save(path, array):
    if due("store"):
        path.write_bytes(bytes(array.nbytes // 2))
        die()
    return whole_save(path, array)


ledger.Ledger.append, store._save = append, save
"""

MODELS = """
import time
from pathlib import Path

import numpy as np

import conftest

class Good:
    def embed(self, cells):
        with open("embeds.txt", "a") as file:
            file.write("embed\\n")
        if conftest.due("embed"):
            conftest.die()
        return np.log1p(cells.X.toarray())

class Blind:
    def embed(self, cells):
        while Path("wait").exists():
            time.sleep(0.05)
        seed = Path("seed")
        rng = np.random.default_rng(int(seed.read_text()) if seed.exists() else 0)
        return rng.normal(size=(cells.n_obs, 3))
"""


@dataclass(frozen=True)
class Suite:
    """Claims, models, cells, and a store, in one folder."""

    folder: Path

    @classmethod
    def made(cls, folder):
        """Make it."""
        (folder / "benchmarks").mkdir(parents=True)
        (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text() + FAULTS)
        (folder / "benchmarks" / "test_toy.py").write_text(CLAIMS.replace("NAME", "toy"))
        (folder / "models.py").write_text(MODELS)
        toy_cells().write_h5ad(folder / "toy.h5ad")
        return cls(folder)

    @property
    def ledger(self):
        """Path of the ledger."""
        return self.folder / "out.ledger.jsonl"

    @property
    def report(self):
        """The report that was written."""
        return read_report(self.folder / "out.json")

    def start(self, *arguments):
        """Start pytest in it."""
        own = {"SCFM_EVAL_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(ROOT)}
        models = ["--model", "models.py:Good", "--model", "models.py:Blind"]
        asked = ["benchmarks", *models, "--dataset", "toy.h5ad:label=cell_type", "--report", "out.json"]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *asked, "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env=os.environ | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments):
        """Run pytest in it; returns its exit code and what it said."""
        started = self.start(*arguments)
        said, _ = started.communicate(timeout=600)
        return started.returncode, said

    def uninterrupted(self, *arguments):
        """Run it in one go, and return the report; the folder is then as it was made."""
        code, said = self.run(*arguments)
        assert code in (0, 1), said
        found = self.report
        self.clean()
        return found

    def clean(self):
        """Take away what runs have left."""
        for file in ("out.json", "out.ledger.jsonl", "embeds.txt", "seed", "wait"):
            (self.folder / file).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def kill_at(self, what, n):
        """Have the next process that does ``what`` for the n-th time be killed then, by the kernel, without warning."""
        (self.folder / f"kill_{what}").write_text(str(n))

    def n_embedded(self):
        """How often a model was asked."""
        return len((self.folder / "embeds.txt").read_text().split())

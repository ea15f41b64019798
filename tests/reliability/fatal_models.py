"""Models that go wrong in every way that a process can."""

# ruff: noqa: ARG002

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np


class Good:
    """Works."""

    def __init__(self, *, seed: int = 0) -> None:
        self.n_parameters, self.seed = 7, seed

    def embed(self, cells):
        return np.log1p(cells.X.toarray())


class Raises(Good):
    def embed(self, cells):
        raise KeyError("no such layer\n" + "wall " * 500)


class Asserts(Good):
    def embed(self, cells):
        raise AssertionError("shapes differ")


class Unloadable(Good):
    def __init__(self):
        raise RuntimeError("the weights are torn")


class Wordless(Good):
    def embed(self, cells):
        raise RecursionError


class Strange(Good):
    class Torn(Exception):  # noqa: N818
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def embed(self, cells):
        raise Strange.Torn("one", "two")


class Nans(Good):
    def embed(self, cells):
        return np.full((cells.n_obs, 3), np.nan)


class Short(Good):
    def embed(self, cells):
        return np.ones((3, 2))


class Nothing(Good):
    def embed(self, cells):
        return None


class Unsendable(Good):
    def embed(self, cells):
        return lambda: None


class Changes(Good):
    def embed(self, cells):
        cells.X.data[:] = 1
        return cells.X.toarray()


class NoMemory(Good):
    def embed(self, cells):
        raise MemoryError(f"not even for {cells.n_obs} cells")


class Exits(Good):
    def embed(self, cells):
        raise SystemExit(3)


class LeavesAtOnce(Good):
    def embed(self, cells):
        os._exit(4)


class Killed(Good):
    def embed(self, cells):
        os.kill(os.getpid(), signal.SIGKILL)


class KilledWhileLoading(Good):
    def __init__(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Good):
    def embed(self, cells):
        ctypes.string_at(0)


class Aborts(Good):
    def embed(self, cells):
        os.abort()


class DiesBesideAChild(Good):
    """Its own child lives on and holds everything open."""

    def embed(self, cells):
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
            os._exit(0)
        Path(os.environ["SCFM_TEST_PIDS"]).write_text(str(pid))
        os.kill(os.getpid(), signal.SIGTERM)


class ClosesEverything(Good):
    def embed(self, cells):
        os.closerange(3, 100)
        time.sleep(1000)


class Hangs(Good):
    def embed(self, cells):
        time.sleep(1000)


class HangsHard(Good):
    """Lets no other thread of its process run, and ignores polite signals."""

    def embed(self, cells):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "SCFM_TEST_PIDS" in os.environ:
            Path(os.environ["SCFM_TEST_PIDS"]).write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(1000)


class HangsWhileLoading(Good):
    def __init__(self):
        time.sleep(1000)


class Seeded(Good):
    """Depends on seeds and threads."""

    def embed(self, cells):
        import torch

        torch.manual_seed(self.seed)
        weights = torch.randn(cells.n_vars, 8, dtype=torch.float32)
        with torch.inference_mode():
            found = torch.from_numpy(cells.X.toarray()) @ weights
        return np.hstack([found.numpy(), np.full((cells.n_obs, 1), torch.get_num_threads(), dtype=np.float32)])

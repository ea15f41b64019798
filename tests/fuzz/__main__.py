"""Damage files and read them, in a process that is watched: ``python -m tests.fuzz --seconds 60 --reader npz``.

Without ``--reader`` the time is divided among all readers. One execution may take 10 s and the process 4 GiB; what
takes more, ends the process, or raises something else than ``InvalidInputError`` is a fault: the file is kept under
``--keep`` and the exit code is 1. ``--engine atheris`` lets libFuzzer (``pip install atheris``) choose the damage by
the branches of this package that it reaches; it ends at the first fault.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.readers import READERS
from tests.fuzz.watch import BYTES, SECONDS, WARM_UP, watch


def by_atheris(name: str, seconds: float, keep: Path) -> int:
    """Run libFuzzer on one reader in a process of its own, and return its exit code."""
    keep.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds:.0f}", f"-timeout={SECONDS:.0f}", f"-rss_limit_mb={BYTES >> 20}"]
    with tempfile.TemporaryDirectory() as place:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.by_branches",
            name,
            place,
            *limits,
            f"-artifact_prefix={keep}/{name}-",
        ]
        return subprocess.run(command, check=False, timeout=seconds + WARM_UP).returncode


def main() -> int:
    """Run what the command line asks for, print a line for each reader, and return 1 where there is a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: 60)")
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="one or several (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_faults"), help="folder for files that are faults")
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    asked = parser.parse_args()
    names, code = asked.reader or list(READERS), 0
    for name in names:
        if asked.engine == "atheris":
            code = by_atheris(name, asked.seconds / len(names), asked.keep) or code
            continue
        told = watch(name, seconds=asked.seconds / len(names), seed=asked.seed * 1000, keep=asked.keep)
        print(
            f"{name:16} {told.executions:7} executions {told.refused:7} refused {len(told.faults):3} faults "
            f"slowest {told.slowest:6.2f} s  peak {told.peak / 2**20:6.0f} MiB",
            flush=True,
        )
        for fault, path in told.faults.items():
            print(f"    {fault} ({path})", flush=True)
        code = code or bool(told.faults)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())

"""What a run ran on: versions, machine, commit. Facts only, no user or host names."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = (
    "scfm-eval", "anndata", "harmonypy", "numpy", "pandas", "pytest", "scanpy", "scib-metrics", "scikit-learn", "scipy",
    "scvi-tools", "torch", "transformers", "xgboost", "xgboost-cpu",
)  # fmt: skip


def environment(root: Path, *, workers: int) -> dict[str, Any]:
    """Describe the machine and the software.

    Parameters
    ----------
    root
        The checkout whose commit is meant.
    workers
        Processes that shared the machine: timings of runs with different numbers are not comparable.
    """
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions(_PACKAGES),
        "machine": machine(),
        "workers": workers,
        "git": _git(root),
    }


def machine() -> dict[str, Any]:
    """Describe processor, memory and accelerator; ``kind`` names machines whose timings may be compared."""
    gpu = _gpu()
    cpu = _cpu()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    kind = f"{gpu or cpu} x{1 if gpu else cores}".lower().replace(" ", "-")
    return {"kind": kind, "cpu": cpu, "cores": cores, "memory_bytes": psutil.virtual_memory().total, "gpu": gpu}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each of the packages that is installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    # a run without torch models has not imported it, and is on the same machine all the same
    import torch

    if not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0))


def _git(root: Path) -> dict[str, Any]:
    commit = _git_says(root, "rev-parse", "HEAD")
    changes = _git_says(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git_says(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

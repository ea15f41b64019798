"""Declarations and scripts of models under another Python, for tests: this very Python plays the other one."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from scfm_eval.discovery import find_model
from tests.toys import toy_cells

GOOD = """
def embed(self, cells):
    return cells.cell_ids, cells.dense()[:, :3]
"""
MINIMAL = Path(__file__).parents[2] / "examples" / "outside" / "minimal"


def declared(folder, body, *, capabilities='["embed"]', python="", model="", path=sys.executable, name="mine"):
    """Write a script whose class ``Model`` has the methods in ``body``, and its declaration, whose path is returned."""
    methods = textwrap.indent(textwrap.dedent(body), "    ")
    (folder / f"{name}.py").write_text(
        "import ctypes, os, signal, subprocess, sys, time\n"
        "import numpy as np\n\n\n"
        f"class Model:\n{methods}\n\n"
        "def load(weights, device, arguments):\n"
        "    model = Model()\n"
        "    model.weights, model.device, model.arguments = weights, device, arguments\n"
        "    return model\n"
    )
    file = folder / f"{name}.toml"
    file.write_text(
        f"capabilities = {capabilities}\n[model]\n{model}\n"
        f'[python]\npath = "{path}"\nscript = "{name}.py"\n{textwrap.dedent(python)}\n'
    )
    return file


def minimal(folder):
    """Copy the example and name this Python in it."""
    (folder / "minimal.py").write_text((MINIMAL / "minimal.py").read_text())
    file = folder / "minimal.toml"
    file.write_text((MINIMAL / "minimal.toml").read_text().replace("venv/bin/python", sys.executable))
    return file


def model_of(file, **arguments):
    """Return the loaded model of a declaration."""
    return find_model(str(file))(**arguments)


def few_cells():
    """Return a view of 12 cells as a model is given one."""
    made = toy_cells(n_cells=12)
    made.obs = made.obs[["lane"]].rename(columns={"lane": "batch"})
    return made

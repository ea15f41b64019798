"""Runs of a task with a small model, for guards that let a run go on."""

from __future__ import annotations

from functools import cache

import numpy as np

from scfm_eval.cells import Cells
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset
from scfm_eval.evaluate import evaluate
from scfm_eval.store import Store
from scfm_eval.tasks.annotation import Annotation

MADE = ("pbmc68k_reduced", "synthetic_batches", "synthetic_perturbations", "synthetic_transfer", "synthetic_network")


@cache
def cells_of(name):
    """Return the cells of an installed dataset, loaded once."""
    dataset = find_dataset(name)
    return Cells(dataset, dataset.load(offline=True))


class Logged:
    """Log counts as an embedding, and an adapter that reads human symbols."""

    name = "logged"
    gene_ids = "symbol"
    organisms = ("Homo sapiens",)

    def embed(self, cells):
        """Return log counts of the genes of the view."""
        return np.log1p(cells.X.toarray()).astype(np.float32)


def judged(cells, folder, *, task=None, model=Logged):
    """Return the result of a task on cells."""
    resident = Resident(device="cpu", precision="float32", offline=True)
    return evaluate(task or Annotation(n_folds=3), model, cells, store=Store(folder), resident=resident)

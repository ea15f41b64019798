"""Out-of-fold predictions: every cell is predicted by a probe that was fitted without the cell's fold."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.splits import Split
from scfm_eval.fits import unseen
from scfm_eval.tasks.labelled import Labelled
from scfm_eval.tasks.probes import Probe
from scfm_eval.tasks.task import Answers


def out_of_fold(
    answers: Answers, known: Labelled, *, probes: Mapping[str, Probe], split: Split, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Fit every probe without one fold after the other; so does what learns from the dataset itself.

    Parameters
    ----------
    answers
        Answers of the model whose embedding is read.
    known
        The labelled cells.
    probes
        Probes by name.
    split
        Folds of the labelled cells.
    seed
        Seed of the embedding and of the probes.

    Returns
    -------
    For each probe the probabilities ``(n_labelled, n_classes)`` of the sorted labels; 0 for a label that no training
    cell has.
    """
    jobs = []
    for fold in range(split.n_folds):
        train = split.fold != fold
        cells = known.rows(answers, seed=seed, train=train)
        jobs += [(name, cells[train], cells[~train].labelled(None)) for name in probes]
    # BLAS and XGBoost stay on one thread each: two levels of threads on a few cores stall each other
    with threadpool_limits(1):
        fitted = Parallel(n_jobs=os.cpu_count(), prefer="threads")(
            delayed(probes[name])(train_cells, test_cells, seed=seed) for name, train_cells, test_cells in jobs
        )
    labels = np.unique(known.labels)
    found = {name: np.zeros((len(known.labels), len(labels))) for name in probes}
    for (name, *_), (classes, said) in zip(jobs, fitted, strict=True):
        found[name][np.ix_(known.among(said.ids), np.searchsorted(labels, classes))] = unseen(said)
    return found

"""Simulated reruns of a classifier: what the gate is tried on.

A model has each cell right with a probability that is its quality, and else names another type at random. A rerun of
the unchanged model draws the answers of a share of the cells anew, with the same quality. A worse model loses, on top,
the cells that it takes to lower the expected macro F1 by the drop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scfm_eval.metrics.classification import macro_f1
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, measure


@dataclass(frozen=True)
class Cells:
    """True types of the test cells, codes ``(n_cells,)``, and the resamples that every run shares."""

    truth: np.ndarray
    weights: np.ndarray
    n_types: int

    @classmethod
    def drawn(cls, *, n_cells, n_types=10, n_resamples=1000, seed=0):
        """Draw types of unequal size: the largest is three times as frequent as the smallest."""
        share = np.linspace(1, 3, n_types)
        truth = np.sort(np.random.default_rng(seed).choice(n_types, size=n_cells, p=share / share.sum()))
        weights = bootstrap_weights(
            units=np.arange(n_cells), strata=np.zeros(n_cells, dtype=int), n_resamples=n_resamples, seed=0
        )
        return cls(truth, weights, n_types)

    def answers(self, quality, rng):
        """Answer each cell: right with probability ``quality`` (a number, or one by seed and cell)."""
        right = rng.random(len(self.truth)) < quality
        other = (self.truth + rng.integers(1, self.n_types, size=len(self.truth))) % self.n_types
        return np.where(right, self.truth, other)

    def rerun(self, answers, rng, *, quality, share, drop=0.0):
        """Draw a share of the answers anew, and spoil what it takes to lose ``drop`` (mend if it is negative)."""
        again = np.where(rng.random(len(answers)) < share, self.answers(quality, rng), answers)
        spoilt = (again == self.truth) & (rng.random(len(answers)) < drop / quality)
        mended = (again != self.truth) & (rng.random(len(answers)) < -drop / (1 - quality))
        return np.where(mended, self.truth, np.where(spoilt, self.answers(0.0, rng), again))

    def result(self, by_seed, *, model="m"):
        """Score answers, one array a seed, as a task does."""
        classes = np.arange(self.n_types)
        made = [macro_f1.statistic(self.truth, answers, classes=classes) for answers in by_seed]
        return Result(
            task="simulated",
            parameters={},
            headline=["macro_f1"],
            seeds=list(range(len(by_seed))),
            pairing="simulated",
            dataset=DatasetRecord(name="toy", sha256="0", n_cells=len(self.truth), n_genes=1, n_unlabelled=0),
            model=ModelRecord(name=model, role="model", trained_here=False),
            readable=ReadableRecord(genes=1.0, counts=1.0, n_genes=1),
            scores={"macro_f1": measure(macro_f1, lambda: made, weights=self.weights)},
            seconds={},
            from_store=False,
        )

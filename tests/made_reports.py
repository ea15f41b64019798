"""Small reports made by hand: a few numbers in, a report out."""

from __future__ import annotations

import base64

import numpy as np

from scfm_eval.report import Report, Verdict
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord

STEADY = np.tile([-1.0, 1.0], 500)
"""Resamples around zero with a standard deviation of one, as those of a score that all runs share."""


def score(value, *, spread=None, **known):
    """Make a score; ``spread`` is what its resamples lie away from the value."""
    if spread is None or value is None:
        return ScoreRecord(value=value, **known)
    resamples = np.asarray(value + spread, dtype="<f4")
    packed = base64.b64encode(resamples.tobytes()).decode("ascii")
    ends = {"low": float(resamples.min()), "high": float(resamples.max())}
    return ScoreRecord(value=value, replicates=packed, **(ends | known))


def result(
    model="mine",
    *,
    task="toy",
    dataset="cells",
    sha="0",
    seeds=(0,),
    pairing=None,
    role="model",
    parameters=None,
    seconds=None,
    from_store=False,
    card=None,
    **scores,
):
    """Make a result; pairing follows from what is given, as in a run."""
    parameters = parameters or {}
    return Result(
        task=task,
        parameters=parameters,
        headline=list(scores)[:1],
        seeds=list(seeds),
        pairing=f"{task} {sha} {seeds} {parameters}" if pairing is None else pairing,
        dataset=DatasetRecord(name=dataset, sha256=sha, n_cells=100, n_genes=2, n_unlabelled=0),
        model=ModelRecord(name=model, role=role, trained_here=False, **(card or {})),
        readable=ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        scores=scores,
        seconds=seconds or {},
        from_store=from_store,
    )


def verdict(claim="is_better", outcome="passed", *, model="mine", dataset="cells", **known):
    """Make a verdict about one claim."""
    return Verdict(claim=f"benchmarks/test_toy.py::{claim}", model=model, dataset=dataset, outcome=outcome, **known)


def report(*results, verdicts=(), environment=None, **known):
    """Make a report."""
    made = {"created": "2026-01-01T00:00:00+00:00", "command": ["pytest"]} | known
    return Report(environment=environment or {}, results=list(results), verdicts=list(verdicts), **made)

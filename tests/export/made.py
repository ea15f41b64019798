"""Reports made by hand."""

from __future__ import annotations

from scfm_eval.report import ComparisonRecord, Report, Verdict
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord


def result(model="mine", *, task="annotation", dataset="cells", role="model", scores=None, sha256="0", **known):
    """Return a result with the given scores, all of them headline."""
    scores = {"macro_f1": ScoreRecord(value=0.5, low=0.4, high=0.6, chance=0.1)} if scores is None else scores
    return Result(
        task=task,
        parameters={},
        headline=list(scores),
        seeds=[0],
        pairing="p",
        dataset=DatasetRecord(name=dataset, sha256=sha256, n_cells=4, n_genes=2, n_unlabelled=0),
        model=ModelRecord(name=model, role=role, trained_here=False, revision="1"),
        readable=ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        scores=scores,
        seconds={"forward": 1.5},
        peak_memory_bytes={"host": 1000, "device": None},
        from_store=False,
        **known,
    )


def report(*results, verdicts=()):
    """Return a report of these results."""
    return Report(
        created="2026-01-01T00:00:00+00:00",
        command=["pytest"],
        environment={
            "python": "3.12.1",
            "packages": {"numpy": "2.0.0"},
            "machine": {"kind": "cpu-x2"},
            "git": {"commit": "abc", "dirty": False},
        },
        results=list(results),
        verdicts=list(verdicts),
    )


def verdict(outcome="failed", **known):
    """Return the verdict of one claim with one comparison."""
    about = {"claim": "benchmarks/test_annotation.py::test_wins", "model": "mine", "dataset": "cells"}
    made = ComparisonRecord(text="0.5 is not > 0.7", holds=False, difference=-0.2, low=-0.3, high=-0.1)
    return Verdict(**(about | {"outcome": outcome, "comparisons": [made]} | known))


UNDEFINED = ScoreRecord(value=None, reason="one batch only")
NASTY = r"a|b<script>&%$#_{}~^\x[*]`"
EMPTY = report()
ERRORS = report(verdicts=[verdict("error", reason="torn\nweights", comparisons=[])])

"""Small reports by hand, and one that is as large as reports get."""

from __future__ import annotations

import base64

import numpy as np

from scfm_eval.report import ComparisonRecord, Report, Verdict
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord

HOSTILE = "<script>alert(1)</script>"
CLOSING = "</script><img src=x onerror=alert(2)>"
TEMPLATE = "{{7*7}}"


def score(value, *, spread=0.0, reason="", **known):
    """Return a score whose resamples are the value with `spread` around it."""
    if value is None:
        return ScoreRecord(value=None, reason=reason or "one batch only", **known)
    drawn = value + spread * np.linspace(-1, 1, 41)
    packed = base64.b64encode(drawn.astype("<f4").tobytes()).decode("ascii")
    ends = {"low": value - spread, "high": value + spread}
    return ScoreRecord(value=value, per_seed=[value], replicates=packed, **({"chance": 0.1} | ends | known))


def result(model, role, value, *, task="annotation", dataset="cells", **known):
    own = {"saw_dataset_in_pretraining": known.pop("seen", None)}
    found = value if isinstance(value, ScoreRecord) else score(value, spread=0.01)
    given = {
        "parameters": {},
        "headline": ["macro_f1"],
        "seeds": [0],
        "pairing": f"{task} {dataset}",
        "dataset": DatasetRecord(name=dataset, sha256="0", n_cells=400, n_genes=2, n_unlabelled=0, licence="CC0"),
        "model": ModelRecord(name=model, role=role, trained_here=False, citation="Nobody 2026", **own),
        "readable": ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        "scores": {"macro_f1": found, "log_loss": score(None)},
        "seconds": {"forward": 1.5},
        "peak_memory_bytes": {"host": 2**30, "device": None},
        "from_store": False,
    }
    return Result(task=task, **(given | known))


def verdict(outcome, *, model="mine", dataset="cells", reason="", made=()):
    claim = "benchmarks/test_annotation.py::test_is_better_than_hvg"
    return Verdict(claim=claim, model=model, dataset=dataset, outcome=outcome, reason=reason, comparisons=list(made))


def comparison(difference, low, high):
    return ComparisonRecord(text="mine > hvg", holds=low > 0, difference=difference, low=low, high=high)


def report(*results, verdicts=(), **known):
    given = {
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["pytest", "benchmarks"],
        "environment": {"machine": {"kind": "small", "gpu": None}, "git": {"commit": "abc123", "dirty": True}},
    }
    return Report(results=list(results), verdicts=list(verdicts), **(given | known))


def small():
    """One model between two baselines, with controls."""
    return report(
        result("mine", "model", 0.6, notes=["few cells"], seen=True),
        result("hvg", "baseline", 0.5),
        result("pca", "baseline", 0.8),
        result("oracle", "control", 1.0),
        result("random", "control", 0.1),
        verdicts=[
            verdict("passed", made=[comparison(0.1, 0.05, 0.15)]),
            verdict("expected failure", reason="known to lose"),
            verdict("error", reason="pca has no value"),
        ],
    )


def hostile():
    """Names that try to become code."""
    return report(
        result(HOSTILE, "model", 0.6, dataset=CLOSING, notes=[HOSTILE], seen=True),
        result(TEMPLATE, "baseline", 0.5, dataset=CLOSING),
        result("hvg", "baseline", score(None, reason=CLOSING), dataset=CLOSING),
        verdicts=[
            verdict("error", model=HOSTILE, dataset=CLOSING, reason=CLOSING),
            verdict("failed", model=TEMPLATE, dataset=CLOSING, reason=HOSTILE),
        ],
        environment={HOSTILE: CLOSING},
        command=[HOSTILE, CLOSING],
    )


def large(*, n_models=200, n_datasets=40, n_scores=8):
    """As large as reports get: every model on every dataset, with all scores of annotation, and a claim each."""
    rng = np.random.default_rng(0)
    results, verdicts = [], []
    for d in range(n_datasets):
        for m in range(n_models):
            role = "control" if m < 2 else "baseline" if m < 8 else "model"
            values = rng.uniform(0.2, 0.9, n_scores)
            scores = {
                f"score_{i}" if i else "macro_f1": ScoreRecord(value=v, low=v - 0.02, high=v + 0.02, chance=0.1)
                for i, v in enumerate(values)
            }
            known = {"scores": scores, "dataset": f"dataset {d:02d}"}
            results.append(result(f"model {m:03d}", role, 0.5, **known))
            verdicts.append(verdict("passed", model=f"model {m:03d}", dataset=f"dataset {d:02d}"))
    return report(*results, verdicts=verdicts)

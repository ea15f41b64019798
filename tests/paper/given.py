"""Reports made by hand."""

import base64

import numpy as np

from scfm_eval.report import ComparisonRecord, Report, Verdict
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord

HOSTILE = (
    '#import "x"',
    "$x$",
    "a|b",
    "<script>alert(1)</script>",
    "*bold*",
    "_it_ __strong__",
    "`code`",
    "[a](javascript:x)",
    "https://evil.example and www.evil.example",
    "- point",
    "1. one",
    "1) one",
    "# head",
    "---",
    "{{ 7 * 7 }} {% raw %}",
    "\\textbf{x} ~~gone~~ &amp; &#35;",
    "</td></table>",
    '" onerror="alert(1)',
    "]]>",
    "@label // not a comment /* nor this */",
    "细胞 é",
)


def packed(values) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")


def score(value, *, spread=0.02, up=True, **known) -> ScoreRecord:
    """A score whose replicates go evenly from `spread` below the value to `spread` above it."""
    if value is None:
        return ScoreRecord(value=None, **{"reason": "no class has cells", "higher_is_better": up} | known)
    replicates = np.linspace(value - spread, value + spread, 200)
    ends = {"low": float(np.quantile(replicates, 0.025)), "high": float(np.quantile(replicates, 0.975))}
    ends |= {"chance": 0.1, "replicates": packed(replicates), "higher_is_better": up, "per_seed": [value]}
    return ScoreRecord(**{"value": value, "source": "10.1000/f1"} | ends | known)


def result(
    model="mine", value=0.5, *, role="model", task="annotation", dataset="cells", pairing="p", scores=None, **known
) -> Result:
    scores = scores or {"macro_f1": score(value)}
    return Result(
        **{
            "task": task,
            "parameters": {"n_folds": 5},
            "headline": list(scores),
            "seeds": [0],
            "pairing": pairing,
            "dataset": DatasetRecord(
                name=dataset,
                sha256="ab" * 32,
                n_cells=1200,
                n_genes=50,
                n_unlabelled=0,
                n_labels=2,
                organism="Homo sapiens",
                licence="CC0",
                citation="10.1000/cells",
            ),
            "model": ModelRecord(name=model, role=role, revision="1", trained_here=False, citation="10.1000/model"),
            "readable": ReadableRecord(genes=1.0, counts=1.0, n_genes=50),
            "scores": scores,
            "seconds": {"score": 1.5},
            "peak_memory_bytes": {"host": 2**30, "device": None},
            "from_store": False,
        }
        | known
    )


def verdict(outcome="passed", *, claim="benchmarks/test_annotation.py::test_knows_more_than_pca", **known) -> Verdict:
    made = ComparisonRecord(text="said", holds=True, difference=0.1, low=0.05, high=0.15)
    return Verdict(
        **{"claim": claim, "model": "mine", "dataset": "cells", "outcome": outcome, "comparisons": [made]} | known
    )


def report(results=(), verdicts=(), **known) -> Report:
    environment = {"python": "3.12.0", "packages": {"numpy": "2.0"}, "machine": {"kind": "x2", "cores": 2}}
    return Report(
        **{
            "created": "2026-01-02T03:04:05+00:00",
            "command": ["pytest", "benchmarks", "-k", "mine or yours"],
            "environment": environment | {"git": {"commit": "c0ffee", "dirty": False}},
            "results": list(results),
            "verdicts": list(verdicts),
        }
        | known
    )


CLASSES = {
    "classes": ["B", "T"],
    "confusion_matrix": [[6, 2], [1, 11]],
    "per_class": {
        "B": {"precision": 6 / 7, "recall": 0.75, "f1": 0.8, "support": 8},
        "T": {"precision": 11 / 13, "recall": 11 / 12, "f1": 0.88, "support": 12},
    },
}


def full() -> Report:
    """Two models, two baselines and a control on two tasks, with every kind of outcome."""
    names = [("mine", "model"), ("yours", "model"), ("pca", "baseline"), ("hvg", "baseline"), ("random", "control")]
    values = {"mine": 0.8, "yours": 0.6, "pca": 0.7, "hvg": 0.795, "random": 0.95}
    annotation = [result(name, values[name], role=role, details=CLASSES) for name, role in names]
    rough = [
        result(
            name,
            task="landscape",
            role=role,
            scores={"rogi": score(1 - values[name], up=False, chance=0.9)},
            notes=["a note"],
        )
        for name, role in names
    ]
    outcomes = ("passed", "failed", "error", "skipped", "expected failure", "unexpected pass")
    verdicts = [verdict(outcome, reason=f"because {outcome}") for outcome in outcomes]
    return report([*annotation, *rough], verdicts)

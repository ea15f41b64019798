"""Small reports made by hand, and what their figures hold."""

from __future__ import annotations

import vl_convert

from scfm_eval.charts import figures
from scfm_eval.report import Report
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord


def score(value, **known):
    near = {} if value is None else {"low": value - 0.05, "high": value + 0.05}
    return ScoreRecord(value=value, **{"chance": 0.1, **near, **known})


def result(
    model="mine",
    value=0.5,
    *,
    role="model",
    task="annotation",
    dataset="cells",
    details=None,
    scores=None,
    headline=("macro_f1",),
    seconds=None,
    memory=None,
    **card,
):
    return Result(
        task=task,
        parameters={},
        headline=list(headline),
        seeds=[0],
        pairing="p",
        dataset=DatasetRecord(name=dataset, sha256="0", n_cells=4, n_genes=2, n_unlabelled=0),
        model=ModelRecord(name=model, role=role, trained_here=False, **card),
        readable=ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        scores={"macro_f1": score(value)} if scores is None else scores,
        details=details or {},
        seconds={} if seconds is None else seconds,
        peak_memory_bytes={} if memory is None else memory,
        from_store=False,
    )


def report(*results):
    return Report(created="", command=[], environment={}, results=list(results), verdicts=[])


def figure(name, *results):
    """Return the one figure of these results whose name is ``name``, after it was drawn."""
    (found,) = [one for one in figures(report(*results)) if one.name == name]
    drawn(found)
    return found


def rows(found):
    """Return the data of a figure."""
    return found.chart.to_dict()["data"]["values"]


def drawn(found):
    """Return the SVG of a figure as the page draws it."""
    return vl_convert.vegalite_to_svg(found.chart.to_dict(), allowed_base_urls=[])

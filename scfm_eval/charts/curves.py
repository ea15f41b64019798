"""Curves by layer of a model, and by number of labelled cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from scfm_eval.charts.choices import Choice, choosing, first_drawn, stacked
from scfm_eval.charts.drawn_results import Drawn, drawn_results, without
from scfm_eval.charts.figure import GROUPS, Figure, model_channels, sentences, slug, words
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.wording import counted, number, there

_HEIGHT = 280
_BY_LAYER: Mapping[str, str] = {
    "r2": "R² of expression that a probe reads from each layer",
    "native_pearson": "correlation of expression with the model's own answer from each layer",
    "label_macro_f1": "macro F1 of a label probe on each layer",
}


def by_layer(report: Report, task: str) -> Iterator[Figure]:
    """Give curves over the layers of each model: what a probe reads, the model's own answer, and labels."""
    for group in drawn_results(report, task, detail="layers", most_models=len(GROUPS)):
        for field, what in _BY_LAYER.items():
            rows = [row for result in group.results for row in _layers(result, field)]
            if rows:
                yield Figure(
                    name=slug(task, field, group.dataset),
                    task=task,
                    title=f"{words(task)} on {group.dataset}: {what}",
                    alt=sentences(
                        f"{what[0].upper()}{what[1:]}",
                        *_best_layers(rows),
                        _missing(group, rows, field),
                        group.left_out(),
                    ),
                    chart=_lines(rows, _drawn(group, rows)),
                )


def few_shot(report: Report, task: str) -> Iterator[Figure]:
    """Give mean and standard deviation over draws by number of labelled cells; a dropdown chooses the score."""
    for group in drawn_results(report, task, detail="curve", most_models=len(GROUPS)):
        rows = [row for result in group.results for row in _shots(result)]
        scores = list(dict.fromkeys(row["score"] for row in rows))
        if not rows:
            continue
        choice = Choice("score", scores)
        yield Figure(
            name=slug(task, "curve", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: score by labelled cells of each type, mean ± standard deviation",
            alt=sentences(
                *_ends([row for row in rows if row["score"] == scores[0]], scores[0]),
                _missing(group, rows, "a curve"),
                group.left_out(),
            ),
            chart=_growth(rows, _drawn(group, rows), choice),
            choices=choosing(choice),
            drawn=first_drawn(choice),
        )


def _layers(result: Result, field: str) -> list[dict[str, Any]]:
    return [
        {"model": result.model.name, "layer": row["layer"], "depth": row["depth"], "value": row[field]}
        for row in result.details["layers"]
        if there(row.get(field))
    ]


def _drawn(group: Drawn, rows: Sequence[dict[str, Any]]) -> list[str]:
    with_rows = {row["model"] for row in rows}
    return [model for model in group.models if model in with_rows]


def _missing(group: Drawn, rows: Sequence[dict[str, Any]], what: str) -> str:
    return without([model for model in group.models if model not in _drawn(group, rows)], what)


def _best_layers(rows: Sequence[dict[str, Any]]) -> list[str]:
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["model"] not in best or row["value"] > best[row["model"]]["value"]:
            best[row["model"]] = row
    return [
        f"The highest of {model} is at layer {row['layer']} with {number(row['value'])}" for model, row in best.items()
    ]


def _lines(rows: Sequence[dict[str, Any]], models: Sequence[str]) -> Any:
    base = alt.Chart().encode(
        x=alt.X("depth:Q", title="depth, from input (0) to output (1)"),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        **model_channels(models),
    )
    facts = ["model:N", "layer:Q", "value:Q"]
    return stacked(
        [base.mark_line(), base.mark_point(filled=True, size=50).encode(tooltip=facts)], rows, height=_HEIGHT
    )


def _shots(result: Result) -> list[dict[str, Any]]:
    rows = []
    for score, by_shots in result.details["curve"].items():
        for n_shots, draws in by_shots.items():
            values = np.array([value for value in draws if there(value)], dtype=float)
            if values.size:
                mean, spread = float(values.mean()), float(values.std())
                row = {"cells": int(n_shots), "mean": mean, "low": mean - spread, "high": mean + spread}
                rows.append(
                    {"model": result.model.name, "role": result.model.role, "score": score, "draws": values.size} | row
                )
    return rows


def _ends(rows: Sequence[dict[str, Any]], score: str) -> Iterator[str]:
    fewest, most = (pick(row["cells"] for row in rows) for pick in (min, max))
    for n_cells in dict.fromkeys((fewest, most)):
        scored = [row for row in rows if row["cells"] == n_cells]
        compared = [row for row in scored if row["role"] != "control"] or scored
        best = max(compared, key=lambda row: row["mean"])
        highest = f"{best['model']} has the highest {score}, {number(best['mean'])}"
        yield f"With {counted(n_cells, 'cell')} of each type, {highest}"


def _growth(rows: Sequence[dict[str, Any]], models: Sequence[str], choice: Choice) -> Any:
    base = alt.Chart().encode(
        x=alt.X(
            "cells:Q",
            title="labelled cells of each type",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(values=sorted({row["cells"] for row in rows})),
        ),
        **model_channels(models),
    )
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False))
    facts = ["model:N", "cells:Q", "mean:Q", "low:Q", "high:Q", "draws:Q"]
    layers = [
        base.mark_rule(opacity=0.6).encode(y=alt.Y("low:Q", title=None, scale=alt.Scale(zero=False)), y2="high"),
        base.mark_line().encode(y=y),
        base.mark_point(filled=True, size=50).encode(y=y, tooltip=facts),
    ]
    return stacked(layers, rows, choice, height=_HEIGHT)

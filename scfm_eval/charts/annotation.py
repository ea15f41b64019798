"""What is confused with what, and how well each label is found: of every task that calls labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scfm_eval.charts.choices import Choice, choosing, panelled, panels_drawn, stacked
from scfm_eval.charts.drawn_results import Drawn, drawn_results
from scfm_eval.charts.figure import SEQUENCE, Figure, sentences, slug, words
from scfm_eval.charts.heatmap import MOST_TYPES, WHERE_IT_FITS, flat, panel, side, squares, unfolded
from scfm_eval.charts.type_order import type_order
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.wording import counted, number

_BRIGHT, _ROW = 0.6, 22


def confusion(report: Report, task: str) -> Iterator[Figure]:
    """Give a confusion matrix for each dataset, rows sum to 1; a dropdown chooses the model."""
    for group in drawn_results(report, task, detail="confusion_matrix"):
        counts = {result.model.name: _counts(result) for result in group.results}
        shares = {model: found.div(found.sum(axis=1).replace(0, np.nan), axis=0) for model, found in counts.items()}
        types, cut = _largest(counts)
        first = shares[group.models[0]].reindex(index=types, columns=types)
        types, how = type_order(report, dataset=group.dataset, types=types, likeness=first.to_numpy())
        rows = [
            flat(model, {"share": _placed(shares[model], types), "cells": _placed(counts[model], types)})
            for model in group.models
        ]
        choice = Choice("model", group.models)
        chart, still = _matrix(rows, types, choice)
        yield Figure(
            name=slug(task, "confusion", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: what is called what, each true label's cells as 1",
            alt=sentences(
                f"Confusion matrices of {counted(len(rows), 'model')} over {counted(len(types), 'label')}, {how}",
                _worst_confusion(group.models[0], _placed(shares[group.models[0]], types)),
                cut,
                group.left_out(),
            ),
            chart=chart,
            still=still,
            choices=choosing(choice),
            drawn=panels_drawn(choice),
        )


def per_class(report: Report, task: str) -> Iterator[Figure]:
    """Give the F1 of each label by model for each dataset, labels with most cells on top."""
    for group in drawn_results(report, task, detail="per_class"):
        rows = [row for result in group.results for row in _label_rows(result)]
        labels = _by_support(rows)
        drawn = [row for row in rows if row["label"] in labels]
        cut = f"Only the {MOST_TYPES} labels with most cells are drawn" if len(drawn) < len(rows) else ""
        yield Figure(
            name=slug(task, "per class", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: F1 of each label, number of cells in brackets",
            alt=sentences(*_said(drawn, labels), cut, group.left_out()),
            chart=_grid(drawn, group, labels),
        )


def _counts(result: Result) -> pd.DataFrame:
    classes = [str(name) for name in result.details["classes"]]
    return pd.DataFrame(result.details["confusion_matrix"], index=classes, columns=classes, dtype=float)


def _placed(matrix: pd.DataFrame, types: list[str]) -> pd.DataFrame:
    return matrix.reindex(index=types, columns=types)


def _largest(counts: Mapping[str, pd.DataFrame]) -> tuple[list[str], str]:
    """Return the labels with most cells, and a sentence about those that are left out."""
    cells = pd.concat([found.sum(axis=1) for found in counts.values()], axis=1).max(axis=1)
    kept = cells.sort_values(ascending=False, kind="stable").index[:MOST_TYPES]
    cut = f"Only the {MOST_TYPES} of {len(cells)} labels with most cells are drawn" if len(kept) < len(cells) else ""
    return [name for name in cells.index if name in kept], cut


def _worst_confusion(model: str, shares: pd.DataFrame) -> str:
    found = shares.to_numpy(dtype=float)
    right = np.diag(found)[~np.isnan(np.diag(found))]
    others = np.nan_to_num(found * (1 - np.eye(len(found))))
    if not right.size:
        return f"{model} was asked about no cell"
    said = f"{model} calls {right.mean():.0%} of a label's cells right on average"
    row, column = divmod(int(others.argmax()), len(others))
    true, called = shares.index[row], shares.columns[column]
    most = f"; most often confused: {others.max():.0%} of {true} are called {called}" if others.max() > 0 else ""
    empty = int(np.isnan(found).all(axis=1).sum())
    return said + most + (f"; {counted(empty, 'label')} without cells not drawn" if empty else "")


def _matrix(rows: Sequence[dict[str, Any]], types: Sequence[str], choice: Choice) -> tuple[Any, Any]:
    """Return the matrices behind a dropdown, and some beside each other."""
    tooltip = [
        alt.Tooltip("row_type:N", title="true"),
        alt.Tooltip("column_type:N", title="called"),
        alt.Tooltip("share:Q"),
        alt.Tooltip("cells:Q"),
    ]
    layers = squares(types, "share", rows="true label", columns="called", tooltip=tooltip)
    charts = (
        stacked(layers, rows, choice, height=side(len(types))),
        panelled(layers, rows, choice, **panel(len(types))),
    )
    chart, still = (unfolded(one, types, values=["share", "cells"]) for one in charts)
    return chart, still


def _label_rows(result: Result) -> list[dict[str, Any]]:
    return [
        {"model": result.model.name, "role": result.model.role, "label": str(label)}
        | {name: (found or {}).get(name) for name in ("f1", "precision", "recall", "support")}
        for label, found in result.details["per_class"].items()
    ]


def _by_support(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the name of each label with its number of cells, most cells first."""
    cells: dict[str, int] = {}
    for row in rows:
        cells[row["label"]] = max(cells.get(row["label"], 0), row["support"] or 0)
    order = sorted(cells, key=lambda label: -cells[label])[:MOST_TYPES]
    return {label: f"{label} ({cells[label]})" for label in order}


def _said(rows: Sequence[dict[str, Any]], labels: Mapping[str, str]) -> list[str]:
    found = pd.DataFrame(rows, columns=["model", "role", "label", "f1"]).astype({"f1": float})
    compared = found[found["role"] != "control"]
    means = compared.groupby("label", sort=False)["f1"].mean().dropna()
    missing = int(found["f1"].isna().sum())
    of = f"F1 of {counted(len(labels), 'label')} for {counted(found['model'].nunique(), 'model')}"
    said = [f"{of}: models first, then baselines, then controls"]
    if len(means):
        said.append(
            f"Hardest is {means.idxmin()} with {number(means.min())} on average over models and baselines, "
            f"easiest {means.idxmax()} with {number(means.max())}"
        )
    return [*said, f"{counted(missing, 'value')} undefined and not drawn" if missing else ""]


def _grid(rows: Sequence[dict[str, Any]], group: Drawn, labels: Mapping[str, str]) -> Any:
    base = (
        alt.Chart()
        .transform_filter("isValid(datum.f1)")
        .encode(
            x=alt.X("model:N", sort=group.models, title=None, axis=alt.Axis(labelAngle=-45)),
            y=alt.Y("label_and_cells:N", sort=list(labels.values()), title=None),
        )
    )
    facts = ["model:N", "label:N", "f1:Q", "precision:Q", "recall:Q", "support:Q"]
    shade = alt.Color("f1:Q", title="F1", scale=alt.Scale(scheme=SEQUENCE, domain=[0, 1]))
    ink = alt.condition(f"datum.f1 > {_BRIGHT}", alt.value("black"), alt.value("white"))
    layers = [
        base.mark_rect().encode(color=shade, tooltip=facts),
        base.mark_text(opacity=WHERE_IT_FITS).encode(text=alt.Text("f1:Q", format=".2f"), color=ink),
    ]
    named = [row | {"label_and_cells": labels[row["label"]]} for row in rows]
    return stacked(layers, named, height=alt.Step(_ROW))

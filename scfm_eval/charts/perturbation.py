"""Predicted against true changes of expression under perturbations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from scfm_eval.charts.choices import Choice, choosing, panelled, panels_drawn, stacked
from scfm_eval.charts.drawn_results import drawn_results
from scfm_eval.charts.figure import NAMED, Figure, group_scale, sentences, shape_scale, slug, words
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.wording import counted, listed, number, there

_HEIGHT, _PANEL = 340, 260
_LISTS = ("kind", "condition", "gene", "true", "predicted")
_Answers = dict[tuple[str, str, str], tuple[float, float]]


def deltas(report: Report, task: str) -> Iterator[Figure]:
    """Give a scatter of predicted against true changes for each dataset; a dropdown chooses the model."""
    for group in drawn_results(report, task, detail="deltas"):
        rows = [
            {"model": result.model.name} | {name: result.details["deltas"][name] for name in _LISTS}
            for result in group.results
        ]
        kinds = sorted({kind for row in rows for kind in row["kind"]})
        if not kinds:
            continue
        layers, choice = _scatter(kinds), Choice("model", group.models)
        yield Figure(
            name=slug(task, "deltas", group.dataset),
            task=task,
            title=f"{words(task)} on {group.dataset}: predicted against true changes of expression",
            alt=sentences(
                f"Changes of log expression of {counted(len(rows[0]['gene']), 'pair')} of a perturbation and a gene "
                "that truly changes much, predicted (up) against true (right); on the dashed line, both are equal",
                *_said(group.results[:NAMED]),
                group.left_out(),
            ),
            chart=stacked(layers, rows, choice, height=_HEIGHT).transform_flatten(list(_LISTS)),
            still=panelled(layers, rows, choice, width=_PANEL, height=_PANEL).transform_flatten(list(_LISTS)),
            choices=choosing(choice),
            drawn=panels_drawn(choice),
        )


def _answers(result: Result) -> _Answers:
    """Return the true and the predicted change of each pair that the model answered."""
    found = result.details["deltas"]
    rows = zip(*(found[name] for name in _LISTS), strict=True)
    return {
        (kind, condition, gene): (true, predicted)
        for kind, condition, gene, true, predicted in rows
        if there(true) and there(predicted)
    }


def _said(results: Sequence[Result]) -> Iterator[str]:
    """Give how well signs and sizes agree, on the same pairs for all, and how many pairs have no answer."""
    answers = {result.model.name: _answers(result) for result in results}
    answering = {model: found for model, found in answers.items() if found}
    if answering:
        shared = sorted(set.intersection(*map(set, answering.values())))
        yield _compared({model: [found[pair] for pair in shared] for model, found in answering.items()})
    asked = {result.model.name: len(result.details["deltas"]["gene"]) for result in results}
    missing = {model: n_pairs - len(answers[model]) for model, n_pairs in asked.items()}
    unanswered = [f"{n} of {asked[model]} of {model}" for model, n in missing.items() if n]
    if unanswered:
        yield f"Pairs without an answer are not drawn: {listed(unanswered)}"


def _compared(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return the shares of right signs and the errors of models on the same pairs."""
    n_pairs = len(next(iter(pairs.values())))
    who = f"{listed(pairs)} {'all ' if len(pairs) > 1 else ''}answered"
    if not n_pairs:
        return f"There is no pair that {who}"
    found = (f"{model} in {_agreeing(np.array(own))}" for model, own in pairs.items())
    return f"On the {counted(n_pairs, 'pair')} that {who}, the sign is right for {listed(found)}"


def _agreeing(pairs: NDArray[np.float64]) -> str:
    true, predicted = pairs.T
    same = float((np.sign(true) == np.sign(predicted)).mean())
    return f"{same:.0%} (mean absolute error {number(float(np.abs(true - predicted).mean()))})"


def _scatter(kinds: Sequence[str]) -> list[Any]:
    facts = ["condition:N", "gene:N", "kind:N", "true:Q", "predicted:Q"]
    points = (
        alt.Chart()
        .mark_point(filled=True, size=35, opacity=0.7)
        .encode(
            x=alt.X("true:Q", title="true change"),
            y=alt.Y("predicted:Q", title="predicted change"),
            color=alt.Color("kind:N", title="held out", scale=group_scale(kinds)),
            shape=alt.Shape("kind:N", title="held out", scale=shape_scale(kinds)),
            tooltip=facts,
        )
    )
    equal = alt.Chart().mark_line(strokeDash=[4, 4], color="#999999").encode(x="true:Q", y="true:Q")
    return [equal, points]

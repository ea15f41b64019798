"""What a classifier does class by class: precision, recall and F1, and what the worst classes are taken for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scfm_eval.paper.document import Block, Heading, Paragraph, entries, table
from scfm_eval.paper.wording import NOTHING, count, number
from scfm_eval.results import Result
from scfm_eval.wording import counted, listed

_MEASURES = ("precision", "recall", "f1")
_WORST = 3


def per_class(same: Sequence[Result], *, dataset: str, level: int) -> list[Block]:
    """Return F1 of each class and model, and of each model all of it with its worst classes; nothing without classes.

    Parameters
    ----------
    same
        Results of one task and dataset.
    dataset
        Its name.
    level
        Level of the heading.
    """
    having = [result for result in same if _of_classes(result) and result.model.role != "control"]
    if not having:
        return []
    blocks: list[Block] = [
        Heading(f"By class, {dataset}", level=level),
        Paragraph("Class by class, the first seed counts. Support is the number of cells whose label is the class."),
        _compared(having, dataset=dataset),
    ]
    for result in having:
        if result.model.role == "model":
            blocks += _of_model(result, dataset=dataset)
    return blocks


def _of_classes(result: Result) -> dict[str, dict[str, Any]]:
    found = result.details.get("per_class")
    found = found if isinstance(found, dict) else {}
    return {name: measures for name, measures in found.items() if isinstance(measures, dict)}


def _compared(having: Sequence[Result], *, dataset: str) -> Block:
    classes = list(dict.fromkeys(name for result in having for name in _of_classes(result)))
    rows = [
        [
            name,
            count(next((_of_classes(r)[name].get("support") for r in having if name in _of_classes(r)), None)),
            *(number(_of_classes(r)[name].get("f1")) if name in _of_classes(r) else NOTHING for r in having),
        ]
        for name in classes
    ]
    heads = ["class", "support", *(result.model.name for result in having)]
    return table(f"{having[0].task} on {dataset}: F1 of each class.", heads, rows)


def _of_model(result: Result, *, dataset: str) -> list[Block]:
    classes = _of_classes(result)
    rows = [
        [name, *(number(measures.get(measure)) for measure in _MEASURES), count(measures.get("support"))]
        for name, measures in classes.items()
    ]
    caption = f"{result.model.name}, {result.task} on {dataset}: precision, recall, F1 and support of each class."
    known = {name: measures["f1"] for name, measures in classes.items() if _is_number(measures.get("f1"))}
    worst = sorted(known, key=lambda name: (known[name], name))[:_WORST]
    return [
        table(caption, ["class", "precision", "recall", "F1", "support"], rows),
        Paragraph(f"The lowest F1 of {result.model.name}:"),
        entries([f"{name}: F1 {number(known[name])}; {_confusions(result, name)}" for name in worst] or ["none known"]),
    ]


def _confusions(result: Result, name: str) -> str:
    """Return what the cells of a class were called, the most frequent wrong names first."""
    row = _row(result, name)
    if row is None:
        return "no confusion matrix"
    n, own = sum(row.values()), row.get(name, 0)
    if not n:
        return "no cells"
    wrong = sorted(((called, other) for other, called in row.items() if other != name and called), reverse=True)
    said = [f"{called:,} called {other}" for called, other in wrong[:_WORST]]
    rest = sum(called for called, _ in wrong[_WORST:])
    said += [f"{rest:,} called otherwise"] if rest else []
    return f"of {counted(n, 'cell')}, {own:,} right" + (f", {listed(said)}" if said else "")


def _row(result: Result, name: str) -> dict[str, int] | None:
    classes, matrix = result.details.get("classes"), result.details.get("confusion_matrix")
    if not isinstance(classes, list) or not isinstance(matrix, list) or name not in classes:
        return None
    place = classes.index(name)
    row = matrix[place] if place < len(matrix) else None
    if not isinstance(row, list) or not all(isinstance(cells, int) for cells in row):
        return None
    return dict(zip(map(str, classes), row, strict=False))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

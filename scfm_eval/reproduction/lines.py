"""One line for each published number: the value, ours, the difference, and in words what is not the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from scfm_eval.published import Publication, Row, StandIn, Table
from scfm_eval.results import Result

OTHER_MODEL = "not the published model"
"""What is said of a model for which there is no published number."""

WhyNot = Callable[[str, str, str], list[str]]
"""Gives the reasons for which there is no result of a task, a dataset and a model of this suite, in words."""


@dataclass(frozen=True)
class Line:
    """A published number beside ours.

    Parameters
    ----------
    dataset, annotation, model, metric
        What it is of, in the words of the publication; the annotation is empty where none is named.
    layer
        Layer of the model, as the publication counts them.
    published
        The published number; ``None`` for a model that was not in the publication.
    spread
        What was published behind ±; ``None`` where nothing was.
    ours, low, high
        Our value and its 95 % interval; ``None`` where there is none.
    dataset_here, model_here
        What ours was measured with; empty where nothing was.
    differs
        How these differ from the published dataset and model.
    why
        Why ours is missing; empty where it is not.
    """

    dataset: str
    annotation: str
    model: str
    metric: str
    layer: int | None
    published: float | None
    spread: float | None = None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    dataset_here: str = ""
    model_here: str = ""
    differs: tuple[str, ...] = ()
    why: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the published number; ``None`` where one of them is missing."""
        return None if self.ours is None or self.published is None else self.ours - self.published


def lines(publication: Publication, table: Table, results: Sequence[Result], *, why_not: WhyNot) -> list[Line]:
    """Return a line for every number of the table, and after these the same of other models.

    A number has several lines where several datasets or models of this suite that stand for its own were measured.

    Parameters
    ----------
    publication
        What the table is of; says what stands for its datasets and models.
    table
        The published numbers.
    results
        What was measured here.
    why_not
        Says why a result is missing.
    """
    of_task = [result for result in results if result.task == table.task]
    published = [
        line
        for row in table.rows
        for number in _numbers(row)
        for line in _lines(publication, table, of_task, number, row, why_not)
    ]
    return published + list(_others(publication, table, of_task))


def _numbers(row: Row) -> list[Line]:
    return [
        Line(row.dataset, row.annotation or "", row.model, metric, row.layer, value, row.spread.get(metric))
        for metric, value in row.values.items()
    ]


def _lines(
    publication: Publication, table: Table, results: Sequence[Result], number: Line, row: Row, why_not: WhyNot
) -> list[Line]:
    datasets, models = publication.datasets[row.dataset], publication.models[row.model]
    missing = _missing(table, number, datasets=datasets)
    if missing:
        return [replace(number, why=missing)]
    pairs = [(dataset, model) for dataset in datasets for model in models]
    found = [
        _filled(number, table, result, dataset=dataset, model=model)
        for dataset, model in pairs
        for result in results
        if (result.dataset.name, result.model.name) == (dataset.name, model.name)
    ]
    reasons = dict.fromkeys(why for dataset, model in pairs for why in why_not(table.task, dataset.name, model.name))
    if not found:
        return [replace(number, why="; ".join(reasons))]
    nearest = datasets[0].name
    if nearest in {line.dataset_here for line in found}:
        return found
    instead = (
        f"{nearest} is nearer to {row.dataset}, but: {'; '.join(why_not(table.task, nearest, found[0].model_here))}"
    )
    return [replace(line, differs=(*line.differs, instead)) for line in found]


def _known(result: Result) -> list[str]:
    """Return what is noted of a result, and whether its cells were seen in pretraining."""
    return result.notes + [finding.found for finding in result.findings if finding.guard == "pretraining"]


def _missing(table: Table, number: Line, *, datasets: Sequence[StandIn]) -> str:
    if number.metric not in table.scores:
        return f"the task {table.task} has no {number.metric} of this kind"
    if not datasets:
        return f"no dataset of this suite stands for it: give a file with --dataset '{number.dataset}=SPEC'"
    return ""


def _others(publication: Publication, table: Table, results: Sequence[Result]) -> Iterator[Line]:
    """Yield lines of models for which there is no published number, on datasets for which there are some."""
    standing = {model.name for row in table.rows for model in publication.models[row.model]}
    asked = dict.fromkeys(
        replace(number, model=OTHER_MODEL, published=None, spread=None)
        for row in table.rows
        for number in _numbers(row)
        if number.metric in table.scores
    )
    for result in results:
        for number in asked:
            for dataset in publication.datasets[number.dataset]:
                if result.dataset.name == dataset.name and result.model.name not in standing:
                    filled = _filled(number, table, result, dataset=dataset)
                    # it may have fewer layers than the published one
                    if filled.layer is None or filled.ours is not None:
                        yield filled


def _filled(number: Line, table: Table, result: Result, *, dataset: StandIn, model: StandIn | None = None) -> Line:
    stand_ins = {number.dataset: dataset} | ({} if model is None else {number.model: model})
    known = replace(
        number,
        dataset_here=result.dataset.name,
        model_here=result.model.name,
        differs=(*(f"{of} – {here.name}: {here.differs}" for of, here in stand_ins.items()), *_known(result)),
    )
    score = table.scores[number.metric]
    if number.layer is not None:
        return _of_layer(known, result, score=score, layer=number.layer)
    prefix = "" if number.annotation in ("", "cell type") else f"{number.annotation.replace(' ', '_')}_"
    record = result.scores.get(prefix + score)
    if record is None:
        return replace(known, why=f"our result of {result.model.name} on {result.dataset.name} has no {prefix}{score}")
    return replace(known, ours=record.value, low=record.low, high=record.high, why=record.reason)


def _of_layer(known: Line, result: Result, *, score: str, layer: int) -> Line:
    """Fill a line from our table of layers, where the input embedding is layer 0 and the blocks follow."""
    rows = result.details.get("layers") or []
    if layer + 1 >= len(rows):
        return replace(known, why=f"our {result.model.name} has {max(len(rows) - 1, 0)} blocks")
    value = rows[layer + 1].get(score)
    return replace(known, ours=value, why="" if value is not None else f"{score} of this layer is undefined")

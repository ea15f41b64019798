"""The section with the results: for each task a table, its figures and its classes; then what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from scfm_eval.charts import Figure, figures
from scfm_eval.paper.classes import per_class
from scfm_eval.paper.document import Block, Cell, Heading, Paragraph, Picture, table
from scfm_eval.paper.sources import Source
from scfm_eval.paper.wording import NOTHING, measured, number, span
from scfm_eval.report import Report
from scfm_eval.results import Result, by_role
from scfm_eval.side_by_side import best_value, goes_up, is_best, side_by_side
from scfm_eval.wording import NO_ANSWER


def results(sources: Sequence[Source]) -> list[Block]:
    """Return the results of each report apart, since runs of different cells, seeds or machines are never mixed."""
    blocks: list[Block] = [Heading("Results")]
    for place, source in enumerate(sources, start=1):
        if len(sources) > 1:
            blocks.append(Heading(f"Report {source.name}", level=2))
        blocks += _of_report(source.report, level=2 if len(sources) == 1 else 3, prefix=f"report{place}-")
    return blocks


def _of_report(report: Report, *, level: int, prefix: str) -> list[Block]:
    if not report.results:
        return [Paragraph("No result was measured.")]
    drawn: dict[str, list[Picture]] = defaultdict(list)
    for figure in figures(report):
        drawn[figure.task].append(_picture(figure.printed(), prefix))
    together = sorted(side_by_side(sorted(report.results, key=by_role)).items())
    blocks: list[Block] = []
    for task in sorted({result.task for result in report.results}):
        here = [(dataset, same) for (name, dataset), same in together if name == task]
        blocks.append(Heading(task, level=level))
        blocks += [_scores(task, dataset, same) for dataset, same in here]
        blocks += drawn.pop(task, [])
        for dataset, same in here:
            blocks += per_class(same, dataset=dataset, level=level + 1)
    over = [picture for pictures in drawn.values() for picture in pictures]
    return [*blocks, Heading("Over all tasks", level=level), *over] if over else blocks


def _picture(figure: Figure, prefix: str) -> Picture:
    return Picture(figure, prefix + figure.name)


def _scores(task: str, dataset: str, same: Sequence[Result]) -> Block:
    names = list(dict.fromkeys(name for result in same for name in result.headline))
    best = {name: best_value(same, name) for name in names}
    rows: list[list[str | Cell]] = [
        [_named(result), *(_cell(result, name, best[name]) for name in names)] for result in same
    ]
    chances = [span(result.scores[name].chance for result in same if name in result.scores) for name in names]
    rows.append(["chance", *chances])
    arrows = [f"{name} {'↑' if goes_up(same, name) else '↓'}" for name in names]
    caption = (
        f"{task} on {dataset}: headline scores with 95 % intervals; ↑ higher is better, ↓ lower is better. Bold is "
        "the best value of models and baselines, surely so or not. Chance is what knows nothing of the cells; "
        "where models differ, its span."
    )
    return table(caption, ["", *arrows], rows)


def _named(result: Result) -> str:
    return result.model.name if result.model.role == "model" else f"{result.model.name} ({result.model.role})"


def _cell(result: Result, name: str, best: float | None) -> Cell:
    record = result.scores.get(name)
    if result.failure:
        return Cell(NO_ANSWER)
    if record is None:
        return Cell(NOTHING)
    return Cell(measured(record), bold=is_best(result, name, best=best))


def costs(sources: Sequence[Source]) -> list[Block]:
    """Return seconds by phase and peak memory of every result."""
    blocks: list[Block] = [Heading("Costs")]
    for source in sources:
        own = sorted(source.report.results, key=lambda result: (result.task, result.dataset.name, *by_role(result)))
        if not own:
            blocks.append(Paragraph(f"{source.name} has no result, and no cost."))
            continue
        phases = list(dict.fromkeys(phase for result in own for phase in result.seconds))
        places = list(dict.fromkeys(place for result in own for place in result.peak_memory_bytes))
        heads = ["task", "dataset", "model", *phases, *(f"{place} MiB" for place in places), "stored"]
        caption = (
            f"Seconds by phase, and peak memory, in {source.name}. Arrays are made once for all tasks: their "
            "phases are those of the making, and stored says whether an earlier run made them. Peak memory is the most "
            "that the process held meanwhile, with what earlier models left in it: it depends on the order of the run."
        )
        blocks.append(table(caption, heads, [_cost(result, phases, places) for result in own], keys=3))
    return blocks


def _cost(result: Result, phases: Sequence[str], places: Sequence[str]) -> list[str]:
    seconds = [number(result.seconds[phase]) if phase in result.seconds else NOTHING for phase in phases]
    memory = [_mebibytes(result.peak_memory_bytes.get(place)) for place in places]
    stored = "yes" if result.from_store else "no"
    return [result.task, result.dataset.name, result.model.name, *seconds, *memory, stored]


def _mebibytes(amount: Any) -> str:
    return f"{amount / 2**20:,.0f}" if isinstance(amount, int) else NOTHING

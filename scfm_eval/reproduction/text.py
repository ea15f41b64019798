"""Published numbers and ours as text: a table, what differs, what is missing and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import groupby

from rich.console import Console
from rich.table import Table as TextTable

from scfm_eval.published import Place, Protocol, Publication, Source, Table
from scfm_eval.reproduction.lines import Line
from scfm_eval.results import Result
from scfm_eval.wording import counted

_HEADS = ("dataset", "annotation", "model", "metric", "published", "ours", "difference", "measured here")
_NUMERIC = ("published", "ours", "difference")
_WIDTH_OF_COLUMN = 40


def overview(published: Iterable[Publication]) -> str:
    """Return one line for each table of published numbers: its name, what it is, and where it is from."""
    made = TextTable("name", "numbers", "what", "source", box=None)
    for publication in published:
        for table in publication.tables:
            n = sum(len(row.values) for row in table.rows)
            made.add_row(table.name, str(n), table.title, cited(publication.source))
    return _printed(made, width=200)


def cited(source: Source) -> str:
    """Return the citation and the DOI, or why there is none."""
    return f"{source.citation}, {source.doi or source.doi_reason}"


def render(publication: Publication, compared: Sequence[tuple[Table, list[Line]]], *, results: Sequence[Result]) -> str:
    """Return everything that there is to say about the published numbers and ours.

    Parameters
    ----------
    publication
        What the tables are of.
    compared
        Each table with its lines.
    results
        What was measured here.
    """
    head = [publication.title, f"  source: {cited(publication.source)}", f"  quoted by: {publication.quoted_by}"]
    notes = _listed("known about these numbers", publication.notes)
    parts = [_part(table, lines) for table, lines in compared]
    used = {(table.task, line.dataset_here, line.model_here) for table, lines in compared for line in lines}
    here = [_about(result) for result in results if (result.task, result.dataset.name, result.model.name) in used]
    ours = _listed("measured here", dict.fromkeys(here))
    return "\n".join([*head, *notes, "", *parts, *ours, _summary([lines for _, lines in compared])])


def _part(table: Table, lines: list[Line]) -> str:
    differences = dict.fromkeys(
        [*table.differs, *(said for line in lines if line.ours is not None for said in line.differs)]
    )
    said = [
        f"{table.title} ({_placed(table.place)}; by {table.by})",
        _printed(_grid(lines), width=_WIDTH_OF_COLUMN * len(_HEADS)).rstrip(),
        *([] if table.target else [f"  no target: {table.target_reason}"]),
        *_listed("protocol as published", _stated(table.protocol)),
        *_listed(f"what differs here (task {table.task})", differences),
        *_listed("order, from high to low", _orders(lines)),
        *_listed("not at hand", _missing(lines)),
    ]
    return "\n".join(said) + "\n"


def _grid(lines: Iterable[Line]) -> TextTable:
    grid = TextTable(box=None)
    for head in _HEADS:
        grid.add_column(head, justify="right" if head in _NUMERIC else "left", no_wrap=True)
    for line in lines:
        layer = "" if line.layer is None else f", layer {line.layer}"
        value = _number(line.ours)
        if line.ours is not None and line.low is not None and line.high is not None:
            value += f" [{line.low:.3f}, {line.high:.3f}]"
        here = f"{line.model_here} on {line.dataset_here}" if line.model_here else ""
        grid.add_row(
            line.dataset,
            line.annotation,
            line.model + layer,
            line.metric,
            _published(line),
            value,
            "–" if line.difference is None else f"{line.difference:+.3f}",
            here,
        )
    return grid


def _orders(lines: Iterable[Line]) -> list[str]:
    """Return how the publication and this suite rank the same models, for each dataset and metric."""
    both = [line for line in lines if line.difference is not None and line.layer is None]

    def place(line: Line) -> tuple[str, str, str, str]:
        return line.dataset, line.annotation, line.metric, line.dataset_here

    said = []
    for key, group in groupby(sorted(both, key=place), key=place):
        alike = list(group)
        if len({line.model for line in alike}) > 1:
            published = sorted(alike, key=lambda line: -(line.published or 0.0))
            ours = sorted(alike, key=lambda line: -(line.ours or 0.0))
            where = ", ".join(filter(None, (key[0], key[1], key[2])))
            said.append(
                f"{where}: published {' > '.join(line.model for line in published)}; "
                f"ours on {key[3]} {' > '.join(line.model_here for line in ours)}"
            )
    return said


def _missing(lines: Iterable[Line]) -> list[str]:
    """Return each reason for which a number of ours is missing, with the models and datasets that it is about."""
    about: dict[str, list[str]] = {}
    for line in lines:
        if line.ours is None:
            about.setdefault(line.why, []).append(f"{line.model_here or line.model} on {line.dataset}")
    return [f"{why} ({counted(len(whom), 'number')}: {', '.join(dict.fromkeys(whom))})" for why, whom in about.items()]


def _stated(protocol: Protocol) -> list[str]:
    entries = {key.replace("_", " "): value for key, value in protocol.model_dump(exclude={"reason"}).items()}
    unknown = [key for key, value in entries.items() if value is None]
    not_stated = [f"not stated: {', '.join(unknown)} ({protocol.reason})"] if unknown else []
    return [f"{key}: {value}" for key, value in entries.items() if value is not None] + not_stated


def _placed(place: Place) -> str:
    page = f"page {place.page}" if place.page is not None else ""
    return ", ".join(filter(None, (place.table, page, place.reason)))


def _about(result: Result) -> str:
    data = result.dataset
    sizes = (f"{data.n_cells:,} cells", *(f"{n} {what}" for what, n in _counted(result)))
    return f"{data.name}: {', '.join(sizes)}; task {result.task}, seeds {', '.join(map(str, result.seeds))}"


def _counted(result: Result) -> list[tuple[str, int]]:
    data = result.dataset
    counts = {"labels": data.n_labels, "batches": data.n_batches, "donors": data.n_donors}
    return [(what, n) for what, n in counts.items() if n is not None]


def _summary(compared: Sequence[Sequence[Line]]) -> str:
    """Return how many published numbers have one of ours beside them; one that has several counts once."""
    flat = [(number, line) for number, lines in enumerate(compared) for line in lines]
    published = {_key(number, line) for number, line in flat if line.published is not None}
    beside = {_key(number, line) for number, line in flat if line.difference is not None}
    others = {line.model_here for _, line in flat if line.published is None and line.ours is not None}
    more = f" Other models, for which nothing was published: {', '.join(sorted(others))}." if others else ""
    if not beside:
        return f"None of the {len(published)} published numbers has one of ours beside it.{more}\n"
    return (
        f"{len(beside)} of {len(published)} published numbers have one of ours beside them, each under another "
        f"protocol (see what differs): a small difference does not mean that a number was reproduced.{more}\n"
    )


def _key(table: int, line: Line) -> tuple[object, ...]:
    return table, line.dataset, line.annotation, line.model, line.metric, line.layer


def _published(line: Line) -> str:
    if line.published is None:
        return "–"
    return f"{line.published:g}" + ("" if line.spread is None else f" ± {line.spread:g}")


def _listed(head: str, entries: Iterable[str]) -> list[str]:
    listed = [f"  - {entry}" for entry in entries]
    return [f"  {head}:", *listed] if listed else []


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _printed(made: TextTable, *, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width, color_system=None, markup=False).print(made)
    return "\n".join(text.rstrip() for text in out.getvalue().splitlines()) + "\n"

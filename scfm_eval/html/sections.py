"""What a report holds as tables of the page: scores, claims, pairs, costs, models, datasets, packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from markupsafe import Markup

from scfm_eval.about_models import exceptions, licences, options
from scfm_eval.differences import flat
from scfm_eval.html.tables import Column, Table, number
from scfm_eval.report import Report, Verdict
from scfm_eval.wording import there

_OUTCOME = Markup('<span class="outcome {name}">{said}</span>')


def scores(frame: pd.DataFrame, *, task: str) -> Table:
    """Return all scores of one task; ``frame`` is that of :meth:`~scfm_eval.report.Report.to_frame`."""
    columns = [
        *(Column(head, "choice") for head in ("score", "model", "role", "dataset")),
        Column("value", "number", empty="undefined"),
        *(Column(head, "number") for head in ("low", "high", "chance", "best")),
        Column("better", "choice"),
        Column("seeds", "number"),
        Column("why undefined", optional=True),
    ]
    rows = [
        [
            *(row.score, row.model, row.role, row.dataset),
            *map(number, (row.value, row.low, row.high, row.chance, row.best)),
            # without a value nothing is better, and a model that failed does not know what would be
            ("higher" if row.higher_is_better else "lower") if there(row.value) else None,
            str(row.n_seeds),
            row.reason or None,
        ]
        for row in _rows(frame[frame["task"] == task])
    ]
    return Table(f"scores-{task}", f"all scores of {task}, with 95 % intervals", columns, rows)


def claims(report: Report) -> Table:
    """Return what became of each claim, with the difference that decided it."""
    columns = [
        *(Column(head, "choice") for head in ("model", "dataset", "benchmark", "claim", "outcome")),
        *(Column(head, "number") for head in ("difference", "low", "high")),
        Column("what was found"),
    ]
    rows = [_claim(verdict) for verdict in report.verdicts]
    return Table("claims", "claims about models, with the difference that decided each", columns, rows)


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    # pandas-stubs types each field as any scalar there is
    yield from frame.itertuples()


def _claim(verdict: Verdict) -> list[Any]:
    made = verdict.comparisons
    shown = next((one for one in made if not one.holds), made[0] if made else None)
    numbers = [None] * 3 if shown is None else [number(v) for v in (shown.difference, shown.low, shown.high)]
    return [
        verdict.model,
        verdict.dataset,
        verdict.benchmark,
        verdict.name,
        _OUTCOME.format(name=verdict.outcome.replace(" ", "-"), said=verdict.outcome),
        *numbers,
        "; ".join(_findings(verdict)) or None,
    ]


def _findings(verdict: Verdict) -> Iterator[str]:
    if verdict.reason and (not verdict.comparisons or verdict.outcome not in ("passed", "failed")):
        yield verdict.reason
    for made in verdict.comparisons:
        yield made.text


def pairs(report: Report, *, task: str) -> Table | None:
    """Return the tests of pairs of models of a task, first split; ``None`` where there are none."""
    tests = [test for test in report.paired_tests if test.task == task]
    if not tests:
        return None
    columns = [
        *(Column(head, "choice") for head in ("left", "right", "dataset")),
        *(Column(head, "number") for head in ("test cells", "only left right", "only right right")),
        Column("McNemar q, first split", "number", empty="undefined"),
        Column("Wilcoxon q over seeds", "number", empty="undefined"),
        Column("why undefined", optional=True),
    ]
    rows = []
    for test in tests:
        split = test.splits[0] if test.splits else None
        counts = [None] * 3 if split is None else [str(split.n_cells), str(split.only_left), str(split.only_right)]
        tested = [number(split.q if split else None), number(test.seeds.q)]
        why = "; ".join(filter(None, [split.reason if split else "", test.seeds.reason])) or None
        rows.append([test.left, test.right, test.dataset, *counts, *tested, why])
    return Table(f"pairs-{task}", f"tests of pairs of models of {task}, corrected over all pairs", columns, rows)


def costs(report: Report) -> Table:
    """Return seconds by phase, and peak memory in MiB by device."""
    columns = [
        *(Column(head, "choice") for head in ("task", "dataset", "model", "role", "what", "phase or device")),
        Column("amount", "number", empty="not measured"),
        Column("unit", "choice"),
        Column("made before", "choice"),
    ]
    rows = [
        [
            *(row.task, row.dataset, row.model, row.role),
            "time" if row.what == "seconds" else "peak memory",
            row.part,
            number(row.amount if row.what == "seconds" else row.amount / 2**20),
            "s" if row.what == "seconds" else "MiB",
            "yes" if row.from_store else "no",
        ]
        for row in _rows(report.costs_frame())
    ]
    held = "memory is the most that the process held, with what earlier models left in it"
    return Table("costs", f"time and memory by task, dataset and model; {held}", columns, rows)


def models(report: Report) -> Table:
    """Return what was scored: licences, citation, size, revision, and what its card says of what it computes."""
    columns = [
        Column("model", "choice"),
        Column("role", "choice"),
        Column("parameters of the network", "number"),
        Column("share of tensors loaded", "number"),
        *(Column(head) for head in ("revision", "licence", "citation", "sha256 of weights")),
        Column("not with its defaults", optional=True),
        Column("not as the published code", optional=True),
        Column("checks not passed", optional=True),
    ]
    known = {(result.model.name, options(result.model)): result.model for result in report.results}
    rows = [
        [
            *(one.name, one.role, _count(one.n_parameters), number(one.loaded_share)),
            *(text or None for text in (one.revision, licences(one), one.citation, one.weights_sha256)),
            *(text or None for text in (options(one), one.definition, exceptions(one))),
        ]
        for _, one in sorted(known.items())
    ]
    return Table("models", "models, baselines and controls, with licence and citation", columns, rows)


def datasets(report: Report) -> Table:
    """Return on what was scored: sizes, licence, citation, hash."""
    counts = ("n_cells", "n_genes", "n_labels", "n_batches", "n_donors", "n_unlabelled")
    texts = ("organism", "licence", "citation", "sha256")
    columns = [
        Column("dataset", "choice"),
        *(Column(name.removeprefix("n_"), "number") for name in counts),
        *(Column(name) for name in texts),
    ]
    known = {result.dataset.name: result.dataset for result in report.results}
    rows = [
        [
            name,
            *(_count(getattr(one, count)) for count in counts),
            *(getattr(one, text) or None for text in texts),
        ]
        for name, one in sorted(known.items())
    ]
    return Table("datasets", "datasets, with licence and citation", columns, rows)


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def environment(report: Report) -> Table:
    """Return what the run ran on and with, one row per entry."""
    found = flat(report.environment, joint=" ")
    rows = [[name, None if value is None else str(value)] for name, value in found.items()]
    return Table("environment", "environment and packages", [Column("what"), Column("found")], rows)

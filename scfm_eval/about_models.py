"""What has to be known of the models of a report beside their scores, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scfm_eval.models.card import Card
from scfm_eval.results import ModelRecord, OrthologRecord, Result, by_role
from scfm_eval.wording import listed


@dataclass(frozen=True)
class Failure:
    """A model that gave no answer.

    Parameters
    ----------
    text
        Which one, and why, as plain text: it is not escaped.
    where
        Of which tasks, on which datasets.
    """

    text: str
    where: str


def failures(results: Iterable[Result]) -> list[Failure]:
    """Return each reason once for which a model gave no answer."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for result in results:
        if result.failure:
            places[result.failure].append((result.task, result.dataset.name))
    return [
        Failure(text, f"{listed(sorted({task for task, _ in found}))} on {listed(sorted({data for _, data in found}))}")
        for text, found in places.items()
    ]


def licences(model: ModelRecord | Card) -> str:
    """Return the licence of the code, and that of the weights where it is another; empty where neither is stated."""
    own = [model.licence, f"of the weights: {model.weights_licence}" if model.weights_licence else ""]
    return "; ".join(filter(None, own))


def options(model: ModelRecord) -> str:
    """Return the options that are not the defaults of the class, with their values; empty where all are."""
    return ", ".join(f"{name} = {value}" for name, value in model.options.items())


def exceptions(model: ModelRecord) -> str:
    """Return the checks that it does not pass, each with the reason; empty where it passes all."""
    return "; ".join(f"{check.replace('_', ' ')}: {reason}" for check, reason in model.exceptions.items())


def stated(results: Iterable[Result]) -> list[str]:
    """Return one line for each thing that a model's card says against taking its name for the whole truth.

    They are the licence of its weights, options that are not the defaults, where it departs from the published code,
    checks that it does not pass, and genes that were read as those of another organism.
    """
    return list(
        dict.fromkeys(
            f"{result.model.name}: {said}" for result in sorted(results, key=by_role) for said in _said(result)
        )
    )


def _said(result: Result) -> Iterator[str]:
    own = result.model
    if own.weights_licence:
        yield f"licence of its weights: {own.weights_licence}"
    if own.options:
        yield f"not with its defaults: {options(own)}"
    if own.definition:
        yield own.definition
    if own.exceptions:
        yield f"checks that it does not pass: {exceptions(own)}"
    if result.readable.orthologs is not None:
        yield mapped(result.readable.orthologs, dataset=result.dataset.name)


def mapped(told: OrthologRecord, *, dataset: str) -> str:
    """Return how the genes of a dataset were read as those of another organism, and how many of them."""
    parts = [
        f"{part.n_genes} {what} ({part.genes:.1%} of the genes, {part.counts:.1%} of the counts)"
        for what, part in (
            ("mapped one-to-one", told.mapped),
            ("kept", told.kept),
            ("dropped without an ortholog", told.dropped),
            ("dropped as ambiguous", told.ambiguous),
        )
        if part.n_genes or part is told.mapped
    ]
    how = f"{told.organism} genes of {dataset} were read as {told.read_as} genes"
    return f"{how} by the ortholog table {told.table} (sha256 {told.table_sha256[:12]}): {', '.join(parts)}"

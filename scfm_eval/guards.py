"""Named checks against numbers that look right and are wrong; each is switched off by its name, and only so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

from scfm_eval.errors import InvalidInputError


@dataclass(frozen=True)
class Guard:
    """One check.

    Parameters
    ----------
    name
        Name in messages, reports and ``--without-guard``.
    against
        The fault that it finds.
    then
        What becomes of the fault: refused, or told in the report.
    always
        Why it cannot be switched off; empty where it can.
    """

    name: str
    against: str
    then: str
    always: str = ""


@dataclass(frozen=True)
class Finding:
    """A fault that does not end a run, as the report tells it.

    Parameters
    ----------
    guard
        Name of the check that found it.
    asked, found, remedy
        As in :class:`~scfm_eval.errors.InvalidInputError`.
    """

    guard: str
    asked: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.guard}: {self.found} ({self.remedy})"


class GuardError(InvalidInputError):
    """A fault that a named check refuses."""


GUARDS = {
    guard.name: guard
    for guard in (
        Guard("counts", "a matrix of log, scaled, normalised or imputed values in place of raw counts", "refused"),
        Guard("gene_ids", "gene ids of another kind than declared, or one id for several genes", "refused"),
        Guard("gene_coverage", "a model that can read less than a tenth of the counts", "refused"),
        Guard("organism", "cells of an organism that the model does not read", "refused"),
        Guard("order", "rows of other cells: embeddings, splits, stored arrays", "refused; told if not to be seen"),
        Guard("tensors", "a tensor of the checkpoint that is missing, left over or of another shape", "refused"),
        Guard("pretrained", "a classification head, or another vocabulary, in a 'pretrained' checkpoint", "refused"),
        Guard("collapsed", "an embedding that is constant, or nearly so", "refused if constant, else told"),
        Guard("row_number", "an embedding in which a column only counts the rows", "told"),
        Guard("test_cells", "a fit that saw the cells that it is scored on", "refused; told where a task allows it"),
        Guard("donors", "cells of one donor on both sides of a split", "refused if split by donor, else told"),
        Guard("duplicates", "copies or near copies of cells on both sides of a split", "refused above 1 %, else told"),
        Guard("label_origin", "labels that were derived from the expression that is scored", "told"),
        Guard("confounded", "batches and labels that cannot be told apart", "refused if one follows, else told"),
        Guard("class_size", "a label with too few cells to be scored", "refused with one cell, else told"),
        Guard("pretraining", "a dataset that the model saw in pretraining", "told"),
        Guard("power", "a score that cannot tell the oracle from noise on a dataset", "told"),
        Guard("chance", "a score that is no better than chance", "told"),
        Guard(
            "same_cells",
            "a comparison of scores of other cells, folds or seeds",
            "refused",
            always="only resamples of the same cells, folds and seeds say how sure a difference is",
        ),
        Guard(
            "undefined",
            "an average with a member that has no value",
            "undefined, with the reason",
            always="a mean of the other scores would be another score",
        ),
    )
}
"""All checks by name."""

# of the process and not of a context: what runs in threads is guarded alike
_off: list[frozenset[str]] = []
_heard: list[list[Finding]] = []


def require_known(names: Iterable[str]) -> None:
    """Raise ``InvalidInputError`` for a name that no guard has, or that of one that is always on."""
    names = list(names)
    unknown = [name for name in names if name not in GUARDS]
    if unknown:
        near = get_close_matches(unknown[0], GUARDS, n=1)
        raise InvalidInputError(
            asked=f"to switch off the guard {unknown[0]!r}",
            found="no guard of that name" + (f"; nearest: {near[0]}" if near else ""),
            remedy="choose one that `scfm-eval guards` lists",
        )
    for guard in (GUARDS[name] for name in names if GUARDS[name].always):
        raise InvalidInputError(
            asked=f"to switch off the guard {guard.name!r}",
            found=f"it is always on: {guard.always}",
            remedy="leave it on",
        )


@contextmanager
def without(names: Iterable[str]) -> Iterator[None]:
    """Switch guards off by name for what is inside; a report states them.

    Raises
    ------
    InvalidInputError
        No guard has one of these names, or one is always on.
    """
    names = frozenset(names)
    require_known(names)
    _off.append(names)
    try:
        yield
    finally:
        _off.remove(names)


def switched_off() -> list[str]:
    """Return the names of the guards that are switched off here, sorted."""
    return sorted(frozenset().union(*_off))


def is_on(name: str) -> bool:
    """Return whether a guard is not switched off here."""
    return not any(GUARDS[name].name in names for names in _off)


@contextmanager
def listening() -> Iterator[list[Finding]]:
    """Collect what guards tell inside; a fault that is found twice is told once."""
    _heard.append([])
    try:
        yield _heard[-1]
    finally:
        _heard.pop()


def refuse(name: str, *, asked: str, found: str, remedy: str) -> None:
    """Refuse a fault, unless its guard is switched off.

    Raises
    ------
    GuardError
        The guard is on.
    """
    if is_on(name):
        how = f"{remedy}; or go on without this check, which the report then states: --without-guard {name}"
        raise GuardError(asked=asked, found=found, remedy=how)


def tell(name: str, *, asked: str, found: str, remedy: str) -> None:
    """Tell whoever listens of a fault that does not end the run, unless its guard is switched off."""
    finding = Finding(name, asked, found, remedy)
    if _heard and is_on(name) and finding not in _heard[-1]:
        _heard[-1].append(finding)

"""What each fit was given: rows keep their ids, and whatever is made by a fit remembers the ids that the fit saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit, and what it was given.

    Parameters
    ----------
    name
        What was fitted, in words.
    saw
        Ids of the rows that it was given.
    of
        What these rows are.
    may
        Why it may have seen what is scored, so that this is told and not refused; empty where it may not.
    """

    name: str
    saw: NDArray[Any]
    of: str = "cells"
    may: str = ""


@dataclass(frozen=True, eq=False)
class Rows:
    """Values of some cells, and which cells these are: both are cut together, so that ids cannot part from values.

    Parameters
    ----------
    values
        One row each, ``(n, …)``.
    ids
        Which ones they are ``(n,)``: places among all cells of the dataset, or names.
    labels, donors
        What is known of each ``(n,)``; ``None`` where it is not.
    fits
        Every fit that the values rest on.
    of
        What the rows are.

    Raises
    ------
    InvalidInputError
        There are more or fewer ids, labels or donors than values.
    """

    values: NDArray[Any]
    ids: NDArray[Any]
    labels: NDArray[Any] | None = None
    donors: NDArray[Any] | None = None
    fits: tuple[Fit, ...] = ()
    of: str = "cells"

    def __post_init__(self) -> None:
        sizes = [len(part) for part in (self.values, self.ids, self.labels, self.donors) if part is not None]
        if len(set(sizes)) > 1:
            raise InvalidInputError(
                asked=f"values of {self.of} with their ids, labels and donors",
                found=f"{' and '.join(map(str, sizes))} of these",
                remedy="give one of each for every row, in one order",
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: NDArray[Any]) -> Rows:
        labels, donors = (None if known is None else known[part] for known in (self.labels, self.donors))
        return replace(self, values=self.values[part], ids=self.ids[part], labels=labels, donors=donors)

    @property
    def known_labels(self) -> NDArray[Any]:
        """Labels ``(n,)`` of rows that are learned from; raises ``InvalidInputError`` for rows without."""
        if self.labels is None:
            raise InvalidInputError(
                asked=f"the labels of {len(self)} {self.of}", found="none", remedy="learn from rows that have labels"
            )
        return self.labels

    def labelled(self, labels: NDArray[Any] | None) -> Rows:
        """Return the same rows under other labels ``(n,)``, or without: what is predicted from them must not leak."""
        return replace(self, labels=labels)

    def allowed(self, why: str) -> Rows:
        """Return the same rows, where what their values rest on so far may have seen what is scored later."""
        return replace(self, fits=tuple(replace(fit, may=why) for fit in self.fits))

    def resting_on(self, fits: Iterable[Fit]) -> Rows:
        """Return the same rows, whose values rest on more fits."""
        return replace(self, fits=together(self.fits, fits))


@dataclass(frozen=True, eq=False)
class Fitted(Generic[Made]):
    """What a fit made, and what it rests on.

    Parameters
    ----------
    made
        The result of the fit.
    fits
        The fit itself, and those that its inputs rest on.
    """

    made: Made
    fits: tuple[Fit, ...]

    def on(self, rows: Rows, say: Callable[[NDArray[Any]], NDArray[Any]]) -> Rows:
        """Return what ``say`` makes of the values of rows; it rests on this fit from now on."""
        return replace(rows, values=say(rows.values), fits=together(rows.fits, self.fits))


def fitted(name: str, rows: Rows, fit: Callable[[Rows], Made]) -> Fitted[Made]:
    """Fit on rows, and record that it was these.

    Parameters
    ----------
    name
        What is fitted, in words.
    rows
        All that ``fit`` is given.
    fit
        Makes of them whatever is learned.
    """
    return Fitted(fit(rows), together(rows.fits, [Fit(name, rows.ids, rows.of)]))


def together(*parts: Iterable[Fit]) -> tuple[Fit, ...]:
    """Return all fits, each once."""
    return tuple({(fit.name, fit.of, id(fit.saw)): fit for part in parts for fit in part}.values())


def unseen(scored: Rows, *, asked: str = "scores of what was predicted") -> NDArray[Any]:
    """Return the values of rows that are to be scored, none of which a fit that they rest on may have seen.

    Parameters
    ----------
    scored
        Predictions, with the ids of what they are of.
    asked
        What was asked for, in messages.

    Raises
    ------
    GuardError
        A fit that may not saw some of them (guard ``test_cells``); the first one is named.
    InvalidInputError
        A fit was given other things than what is scored, so that the two cannot be compared.
    """
    for fit in scored.fits:
        _require_same_kind(fit, scored, asked=asked)
        n_seen = int(np.isin(scored.ids, fit.saw).sum())
        if n_seen and fit.may:
            found = f"{fit.name} saw {scored.of} that are scored"
            guards.tell("test_cells", asked=asked, found=found, remedy=fit.may)
        elif n_seen:
            found = f"{fit.name} saw {n_seen} of the {len(scored)} {scored.of} that are scored"
            guards.refuse("test_cells", asked=asked, found=found, remedy=f"fit on training {scored.of} only")
    return scored.values


def _require_same_kind(fit: Fit, scored: Rows, *, asked: str) -> None:
    if fit.of != scored.of:
        raise InvalidInputError(
            asked=asked,
            found=f"{fit.name} saw {fit.of}, and {scored.of} are scored: their ids cannot be compared",
            remedy=f"say which {scored.of} the {fit.of} stand for",
        )

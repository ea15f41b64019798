"""A number that remembers where it comes from, and the one place that decides whether it beats another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.noise import rerun_noise
from scfm_eval.metrics.resampling import FEW_UNITS, interval
from scfm_eval.wording import signed, with_interval

_ROUNDING = 1e-9
"""What lies closer to zero than this is level: sums in another order differ by less."""

RUN_LEVEL = 0.05
"""Probability that any comparison with the reference is red in a run of an unchanged model."""

_SAME_CELLS = "score both with the same task, dataset and seeds (guard same_cells, which is always on)"

_made: ContextVar[list[Comparison] | None] = ContextVar("comparisons", default=None)
_n_with_reference: ContextVar[int] = ContextVar("comparisons with the reference", default=1)


class UndecidedError(Exception):
    """A comparison was used as a claim although it cannot be decided; never an expected failure."""


class NotApplicableError(Exception):
    """A claim is about a score that model or dataset cannot have; the claim is skipped, visibly."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """The outcome of comparing two scores; true exactly when the claim holds.

    Using an undecidable one as a truth raises :class:`UndecidedError`.

    Parameters
    ----------
    left, relation, right
        What was compared, in words.
    holds
        Whether the claim holds.
    difference, low, high
        Left minus right with its 95 % interval, from paired resamples; ``None`` where undecidable.
    reason
        Why the comparison could not be decided; empty where it could.
    noise
        What the difference was held against, in words; empty where the interval decides.
    """

    left: str
    relation: str
    right: str
    holds: bool
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    noise: str = ""

    def __bool__(self) -> bool:
        if self.reason:
            raise UndecidedError(str(self))
        return self.holds

    def __str__(self) -> str:
        claim = f"{self.left} is {'' if self.holds else 'not '}{self.relation} {self.right}"
        if self.reason:
            return f"{claim}: cannot be decided: {self.reason}"
        return f"{claim}: {self._amount()}{self.noise and '; '}{self.noise}"

    def _amount(self) -> str:
        assert self.difference is not None
        if self.difference == 0:
            return f"level [{signed(self.low)}, {signed(self.high)}]"
        away = "ahead" if self.relation.startswith((">", "at least")) == (self.difference > 0) else "short"
        # the interval is turned with the difference, so that it holds the amount that stands before it
        ends = (self.low, self.high) if self.difference > 0 else (_turned(self.high), _turned(self.low))
        said = f"{away} by {with_interval(abs(self.difference), low=ends[0], high=ends[1])}"
        return said if self.holds or away == "short" else f"{said}, but the interval does not exclude a loss"

    __repr__ = __str__


@contextmanager
def recording() -> Iterator[list[Comparison]]:
    """Collect every comparison made inside, whether it held or not."""
    made: list[Comparison] = []
    token = _made.set(made)
    try:
        yield made
    finally:
        _made.reset(token)


@contextmanager
def one_of(n: int) -> Iterator[None]:
    """State that a comparison with the reference made inside is one of ``n`` of its run, at least 1."""
    token = _n_with_reference.set(max(1, n))
    try:
        yield
    finally:
        _n_with_reference.reset(token)


class Score(float):
    """A float with its name, origin, interval and paired resamples; undefined is NaN with a reason.

    ``a > b`` means: the lower end of the 95 % interval of the paired difference is above zero. ``a >= b - 0.02``
    means: it is above minus the stated margin. ``<`` and ``<=`` mirror them. Scores that are undefined, or were not
    measured on the same cells, folds and seeds, cannot be compared. Against a plain number the score's own interval
    decides.

    Parameters
    ----------
    value
        The number; ``None`` is undefined.
    name, model, dataset
        Metric, model and dataset it belongs to.
    higher_is_better
        Direction.
    chance
        The value that knows nothing.
    replicates
        Values under resampling, ``(n_resamples,)``; empty where there is no interval.
    pairing
        Identifies cells, folds, seeds and resamples; only scores of equal pairing can be compared.
    reason
        Why the value is undefined.
    applies
        Whether model and dataset have what the score needs; comparing one that does not apply raises
        :class:`NotApplicableError`.
    per_seed
        The number by seed; empty where it is not known.
    n_units
        Cells, donors or rounds that the resamples draw; ``None`` is not known.
    """

    name: str
    model: str
    dataset: str
    higher_is_better: bool
    chance: float | None
    replicates: NDArray[np.float64]
    pairing: str
    reason: str
    applies: bool
    per_seed: NDArray[np.float64]
    n_units: int | None
    shift: float

    def __new__(
        cls,
        value: float | None,
        *,
        name: str,
        model: str,
        dataset: str,
        higher_is_better: bool = True,
        chance: float | None = None,
        replicates: NDArray[Any] | None = None,
        pairing: str = "",
        reason: str = "",
        applies: bool = True,
        per_seed: Sequence[float] | NDArray[Any] = (),
        n_units: int | None = None,
        shift: float = 0.0,
    ) -> Score:
        """Make the float and attach what is known of it."""
        self = super().__new__(cls, math.nan if value is None else value)
        self.name, self.model, self.dataset = name, model, dataset
        self.higher_is_better, self.chance = higher_is_better, chance
        self.pairing, self.reason, self.applies, self.shift = pairing, reason, applies, shift
        self.per_seed, self.n_units = np.asarray(per_seed, dtype=np.float64), n_units
        self.replicates = np.empty(0) if replicates is None else np.asarray(replicates, dtype=np.float64)
        return self

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval, or ``None`` where there are no resamples, or some have no value."""
        try:
            return interval(self.replicates, n_units=self.n_units) if self.replicates.size else None
        except UndefinedMetricError:
            return None

    def __str__(self) -> str:
        if math.isnan(self):
            return f"{self.model} {self.name} on {self.dataset} (undefined: {self.reason})"
        bounds = self.interval
        spread = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
        margin = f" (margin {self.shift:+g} included)" if self.shift else ""
        return f"{self.model} {self.name} = {float(self):.3f}{spread} on {self.dataset}{margin}"

    __repr__ = __str__

    def __sub__(self, margin: float) -> Score:
        return self._shifted(margin, sign=-1)

    def __add__(self, margin: float) -> Score:
        return self._shifted(margin, sign=1)

    __radd__ = __add__

    def _refuse(self, *_: object) -> Score:
        raise TypeError("arithmetic loses the interval: compare scores with > or >=, and add or subtract a margin only")

    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __rsub__ = __neg__ = __pow__ = __rpow__ = _refuse

    def _shifted(self, margin: float, *, sign: int) -> Score:
        if isinstance(margin, Score):
            raise TypeError("a margin is a plain number; compare two scores with > or >=")
        by = sign * margin
        return Score(
            float(self) + by,
            name=self.name,
            model=self.model,
            dataset=self.dataset,
            higher_is_better=self.higher_is_better,
            chance=self.chance,
            replicates=self.replicates + by,
            pairing=self.pairing,
            reason=self.reason,
            applies=self.applies,
            per_seed=self.per_seed + by,
            n_units=self.n_units,
            shift=self.shift + by,
        )

    def __gt__(self, other: float) -> Comparison:  # type: ignore[override, misc]
        return _record(self.compare(other, ">"))

    def __ge__(self, other: float) -> Comparison:  # type: ignore[override, misc]
        return _record(self.compare(other, ">="))

    def __lt__(self, other: float) -> Comparison:  # type: ignore[override, misc]
        return _record(self.compare(other, "<"))

    def __le__(self, other: float) -> Comparison:  # type: ignore[override, misc]
        return _record(self.compare(other, "<="))

    def has_not_regressed_from(self, reference: Score) -> Comparison:
        """Whether the score is not worse than the reference beyond what two runs of an unchanged model differ by.

        The loss is held against its noise (see :func:`~scfm_eval.metrics.noise.rerun_noise`) at the one-sided level
        ``RUN_LEVEL`` / *n*, where *n* is how many such comparisons the run makes (:func:`one_of`): so at most 5 % of
        unchanged runs have any of them red, however the comparisons hang together. No difference is never a loss.

        Raises
        ------
        NotApplicableError
            The reference has no value: there is nothing to fall behind.

        Returns
        -------
        The comparison; used as a truth it raises :class:`UndecidedError` where only this score has no value.
        """
        if math.isnan(reference):
            raise NotApplicableError(f"nothing to fall behind: {reference}")
        relation = "at least level with" if self.higher_is_better else "at most level with"
        if math.isnan(self):
            gone = f"it had a value, and has none now: {self.reason}"
            return _record(Comparison(str(self), relation, str(reference), holds=False, reason=gone))
        return _record(self.compare(reference, relation))

    def require_told(self, low: float, high: float) -> None:
        """Skip a claim that the score lies between two levels where so few units were drawn that this cannot be told.

        It cannot where there are fewer than 30 units, the 95 % interval does not lie between the levels, and that of
        99 % by Student's t, which is wider since so few resampled units vary too little, does not lie outside.

        Raises
        ------
        NotApplicableError
            That is so; the claim is then skipped.
        """
        bounds = self.interval
        if bounds is None or self.n_units is None or self.n_units >= FEW_UNITS:
            return
        noise = rerun_noise(self.replicates, by_seed=np.empty(0), n_units=self.n_units)
        spread = noise.sd * noise.limit(level=0.005)
        lies_within = low <= bounds[0] and bounds[1] <= high
        if not lies_within and low - spread <= float(self) <= high + spread:
            raise NotApplicableError(
                f"{self}: {self.n_units} units are too few to tell whether it lies between {low:.3f} and {high:.3f}"
            )

    def standing(self, other: Score) -> Literal[-1, 0, 1] | None:
        """Return how this score stands towards another, as :meth:`compare` decides it, but without its sentences.

        Returns
        -------
        1 where it is surely the better one and -1 where the worse one, by its direction; 0 where the 95 % interval of
        the paired difference holds zero; ``None`` where there is no such interval.
        """
        if not (self.applies and other.applies) or self._undecidable(other):
            return None
        try:
            side = _side(*interval(self.replicates - other.replicates, n_units=self.n_units))
        except UndefinedMetricError:
            return None
        return side if self.higher_is_better or not side else 1 if side < 0 else -1

    def compare(self, other: float | None, relation: str) -> Comparison:
        """Return what comes of ``self <relation> other``: an operator, or "at least" or "at most level with"."""
        for score in (self, other):
            if isinstance(score, Score) and not score.applies:
                raise NotApplicableError(str(score))
        if other is None:
            return Comparison(
                str(self), relation, "chance", holds=False, reason=f"{self.name} has no chance level here"
            )
        right = str(other) if isinstance(other, Score) else f"{other:.3f}"
        reason = self._undecidable(other)
        if reason:
            return Comparison(str(self), relation, right, holds=False, reason=reason)
        difference = float(self) - float(other)
        paired = self.replicates - (other.replicates if isinstance(other, Score) else other)
        try:
            low, high = interval(paired, n_units=self.n_units)
        except UndefinedMetricError as undefined:
            return Comparison(str(self), relation, right, holds=False, reason=str(undefined))
        if isinstance(other, Score) and relation.endswith("level with"):
            loss = difference if relation.startswith("at most") else -difference
            holds, noise = self._within_noise(other, paired, loss=loss)
            return Comparison(str(self), relation, right, holds, difference, low, high, noise=noise)
        side = _side(low, high)
        holds = {">": side > 0, ">=": low >= 0, "<": side < 0, "<=": high <= 0}[relation]
        return Comparison(str(self), relation, right, bool(holds), difference, low, high)

    def _within_noise(self, reference: Score, paired: NDArray[np.float64], *, loss: float) -> tuple[bool, str]:
        n, both = _n_with_reference.get(), len(self.per_seed) == len(reference.per_seed)
        noise = rerun_noise(
            paired, by_seed=self.per_seed - reference.per_seed if both else np.empty(0), n_units=self.n_units
        )
        limit = noise.limit(level=RUN_LEVEL / n)
        among = f"one of {n} comparisons, {RUN_LEVEL:.0%} false alarms in all"
        of = f"noise of {len(self.per_seed)} seeds" if both and len(self.per_seed) > 1 else "noise of one seed"
        said = f"{of} has a standard deviation of {noise.sd:.3g}, a loss of {limit:.2f} of them is red ({among})"
        return bool(loss <= max(_ROUNDING, limit * noise.sd)), said

    def _undecidable(self, other: float) -> str:
        for score in (self, other):
            if math.isnan(score):
                return f"{score} has no value" if isinstance(score, Score) else "the number is not a number"
        if isinstance(other, Score) and self.pairing != other.pairing:
            return f"the two were not measured on the same cells, folds and seeds: {_SAME_CELLS}"
        if isinstance(other, Score) and self.higher_is_better != other.higher_is_better:
            return "of one of the two higher is better, of the other lower"
        without = [score for score in (self, other) if isinstance(score, Score) and not score.replicates.size]
        if without:
            return f"{without[0]} has no interval"
        apart = isinstance(other, Score) and self.replicates.shape != other.replicates.shape
        return "the two have another number of resamples" if apart else ""


def _turned(end: float | None) -> float | None:
    return None if end is None else -end


def _side(low: float, high: float) -> Literal[-1, 0, 1]:
    """Return on which side of zero an interval lies; 0 where it holds zero, or comes within rounding of it."""
    return 1 if low > _ROUNDING else -1 if high < -_ROUNDING else 0


def _record(found: Comparison) -> Comparison:
    made = _made.get()
    if made is not None:
        made.append(found)
    return found

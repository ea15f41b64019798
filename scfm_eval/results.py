"""One result: a task, a dataset, a model, and the scores with all that is needed to believe them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from scfm_eval.guards import Finding
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic, UndefinedMetricError
from scfm_eval.metrics.resampling import interval, n_drawn, replicates, unit_sizes, widened
from scfm_eval.score import Score

ROLES = ("model", "baseline", "control")
"""Roles in the order in which tables show them."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), ser_json_inf_nan="null")


class ScoreRecord(_Strict):
    """One metric of one result; ``value`` is null exactly when ``reason`` says why."""

    value: float | None = Field(description="mean over seeds; null is undefined, never zero")
    reason: str = Field(default="", description="why the value is undefined")
    applies: bool = Field(
        default=True, description="false where model or dataset lack what the score needs: claims about it are skipped"
    )
    low: float | None = Field(default=None, description="lower end of the 95 % interval")
    high: float | None = Field(default=None, description="upper end of the 95 % interval")
    chance: float | None = Field(default=None, description="the value that knows nothing about the cells")
    best: float | None = Field(default=1.0, description="best possible value; null is unbounded")
    worst: float | None = Field(default=0.0, description="worst possible value; null is unbounded")
    higher_is_better: bool = True
    per_seed: list[float] = Field(default_factory=list)
    how: dict[str, Any] = Field(default_factory=dict, description="packages, versions and parameters")
    source: str = Field(default="", description="DOI or package of the definition")
    n_units: int | None = Field(default=None, description="cells, donors or rounds that resampling draws")
    replicates: str | None = Field(default=None, description="values under resampling, little-endian float32 in base64")

    @field_validator("value", "low", "high", "chance", "best", "worst")
    @classmethod
    def _finite_or_null(cls, number: float | None) -> float | None:
        return number if number is not None and math.isfinite(number) else None

    @field_validator("replicates")
    @classmethod
    def _readable(cls, packed: str | None) -> str | None:
        _decoded(packed)
        return packed

    @model_validator(mode="after")
    def _undefined_says_why(self) -> Self:
        if self.value is None and not self.reason:
            self.reason = "the report has no number, and no reason"
        return self


class DatasetRecord(_Strict):
    """Which cells were scored."""

    name: str
    sha256: str = Field(description="hash of counts, cell ids, gene ids and keys as the suite read them")
    n_cells: int
    n_genes: int
    n_unlabelled: int = Field(description="cells without a label; left out where labels are needed")
    n_labels: int | None = None
    n_batches: int | None = None
    n_donors: int | None = None
    organism: str = ""
    licence: str = ""
    citation: str = ""
    findings: list[Finding] = Field(default_factory=list, description="what guards tell of the cells and their keys")


class ModelRecord(_Strict):
    """Which model was scored."""

    name: str
    role: str
    revision: str = ""
    licence: str = ""
    weights_licence: str = Field(default="", description="licence of the weights where it is not that of the code")
    citation: str = ""
    definition: str = Field(default="", description="where the default is not what the published code computes")
    exceptions: dict[str, str] = Field(
        default_factory=dict, description="checks of the adapter contract that it does not pass, with the reason"
    )
    trained_here: bool = Field(description="whether the method learned from this dataset")
    weights_sha256: str | None = None
    n_parameters: int | None = Field(default=None, description="number of parameters of the network")
    loaded_share: float | None = Field(default=None, description="share of the checkpoint's tensors that were loaded")
    parameters: dict[str, Any] = Field(default_factory=dict, description="constructor arguments")
    options: dict[str, Any] = Field(
        default_factory=dict, description="those of the arguments that are not the defaults of the class"
    )
    adapter_sha256: str = ""
    saw_dataset_in_pretraining: bool | None = Field(default=None, description="null where it is not known")


class GenesRecord(_Strict):
    """Some genes of a dataset, and how much of it they are."""

    n_genes: int
    genes: float = Field(description="share of the genes, 0 to 1")
    counts: float = Field(description="share of the counts, 0 to 1")


class OrthologRecord(_Strict):
    """What became of genes that were read as their orthologs in another organism; each gene is in one part."""

    table: str = Field(description="packaged, or the name of the file")
    table_sha256: str
    organism: str = Field(description="whose genes the dataset has")
    read_as: str = Field(description="whose genes the model was given")
    mapped: GenesRecord = Field(description="read as their one ortholog")
    kept: GenesRecord = Field(description="read under their own id, which the model has")
    dropped: GenesRecord = Field(description="without an ortholog")
    ambiguous: GenesRecord = Field(description="with several orthologs, or sharing one; not read")


class ReadableRecord(_Strict):
    """What the model could read of the dataset's genes."""

    genes: float = Field(description="share of the genes, 0 to 1")
    counts: float = Field(description="share of the counts, 0 to 1")
    n_genes: int
    ambiguous: list[str] = Field(default_factory=list, description="genes whose name stands for several")
    merged: int = Field(default=0, description="genes whose counts were added to another one of the same id")
    orthologs: OrthologRecord | None = Field(default=None, description="null where genes were read as they are")


class Result(_Strict):
    """One (task, dataset, model); ``result["macro_f1"]`` is a :class:`~scfm_eval.score.Score`."""

    task: str
    parameters: dict[str, Any]
    headline: list[str]
    seeds: list[int]
    pairing: str = Field(description="identifies cells, folds, seeds and resamples; equal for comparable results")
    dataset: DatasetRecord
    model: ModelRecord
    readable: ReadableRecord
    scores: dict[str, ScoreRecord]
    details: dict[str, Any] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(description="by phase; of a stored array, those of its making")
    peak_memory_bytes: dict[str, int | None] = Field(default_factory=dict)
    from_store: bool = Field(description="whether every array came from the store")
    arrays: dict[str, str] = Field(
        default_factory=dict,
        description="store key of what the first seed used, by answer; after a comma that it learned from a part",
    )
    notes: list[str] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list, description="what guards tell of the answers and scores")
    failure: str = Field(default="", description="why the model gave no answer; every score is then undefined")

    @property
    def first_headline(self) -> str:
        """Name of the score that stands for the result wherever one has to; ``""`` where it has no headline."""
        return next(iter(self.headline), "")

    def __repr__(self) -> str:
        # a claim that fails prints it
        return f"<Result: {self.task} of {self.model.name} on {self.dataset.name}>"

    def __getitem__(self, name: str) -> Score:
        if name not in self.scores and not self.failure:
            raise KeyError(f"task {self.task!r} has no score {name!r}; it has {', '.join(self.scores)}")
        record = self.scores.get(name) or ScoreRecord(value=None, reason=self.failure)
        return Score(
            record.value,
            name=name,
            model=self.model.name,
            dataset=self.dataset.name,
            higher_is_better=record.higher_is_better,
            chance=record.chance,
            replicates=_decoded(record.replicates),
            pairing=self.pairing,
            reason=record.reason,
            applies=record.applies,
            per_seed=record.per_seed,
            n_units=record.n_units,
        )

    def for_report(self) -> Result:
        """Return a copy that keeps the resamples of the headline scores only, which a later run is compared with."""
        slim = {
            name: record if name in self.headline else record.model_copy(update={"replicates": None})
            for name, record in self.scores.items()
        }
        return self.model_copy(update={"scores": slim})


def role_place(role: str) -> int:
    """Return the place of a role in ``ROLES``; one that is not known comes last."""
    return ROLES.index(role) if role in ROLES else len(ROLES)


def by_role(result: Result) -> tuple[int, str]:
    """Return the place of a result in a table: models, then baselines, then controls, each by name."""
    return role_place(result.model.role), result.model.name


def measure(
    metric: Metric[Any],
    statistics: Callable[[], Sequence[Statistic]],
    *,
    weights: NDArray[Any],
    chance: Callable[[], float] | None = None,
) -> ScoreRecord:
    """Turn a metric into a record with interval and chance.

    Parameters
    ----------
    metric
        The metric, for its range and source.
    statistics
        Gives one :class:`Statistic` per seed; may raise :class:`UndefinedMetricError`, or
        :class:`InapplicableMetricError` for a score that claims need not speak of.
    weights
        Bootstrap weights ``(n_resamples, n_cells)``, the same for every seed and every model.
    chance
        Estimates the value without information, where the metric does not state it.
    """
    known: dict[str, Any] = {
        "best": _finite(metric.best),
        "worst": _finite(metric.worst),
        "higher_is_better": metric.higher_is_better,
        "source": metric.source,
    }
    try:
        per_seed = statistics()
        values = [statistic.value() for statistic in per_seed]
        resampled = np.mean([replicates(statistic, weights) for statistic in per_seed], axis=0)
        expected = metric.chance if metric.chance is not None else (chance() if chance else None)
    except UndefinedMetricError as undefined:
        applies = not isinstance(undefined, InapplicableMetricError)
        return ScoreRecord(value=None, reason=str(undefined), applies=applies, **known)
    estimated = {} if metric.chance is not None or expected is None else {"chance": "estimated with the first seed"}
    known["n_units"] = n_drawn(weights)
    resampled = widened(resampled, sizes=unit_sizes(weights))
    return _record(values, resampled, chance=expected, how=estimated | per_seed[0].how, known=known)


def combine(
    records: dict[str, ScoreRecord], *, weights: dict[str, float], source: str, how: dict[str, Any]
) -> ScoreRecord:
    """Return the weighted sum of scores with its own interval; undefined when any member is.

    Parameters
    ----------
    records
        All scores by name.
    weights
        Weight of each member.
    source, how
        Where the sum is defined, and how it was made.
    """
    missing = [name for name in weights if records[name].value is None]
    if missing:
        why = "; ".join(f"{name}: {records[name].reason}" for name in missing)
        return ScoreRecord(value=None, reason=f"a member is undefined ({why})", source=source, how=how)
    value = sum(weight * float(records[name].value or 0.0) for name, weight in weights.items())
    known: dict[str, Any] = {"best": 1.0, "worst": 0.0, "higher_is_better": True, "source": source}
    without = [name for name in weights if records[name].replicates is None]
    if without:
        return ScoreRecord(value=value, how=how | {"no interval": f"a member has none: {', '.join(without)}"}, **known)
    resampled = np.sum([weight * _decoded(records[name].replicates) for name, weight in weights.items()], axis=0)
    chances = [records[name].chance for name in weights]
    chance = (
        None if None in chances else sum(w * float(c or 0.0) for w, c in zip(weights.values(), chances, strict=True))
    )
    known["n_units"] = min((n for name in weights if (n := records[name].n_units) is not None), default=None)
    return _record(_summed_by_seed(records, weights, value), resampled, chance=chance, how=how, known=known)


def _summed_by_seed(records: dict[str, ScoreRecord], weights: dict[str, float], value: float) -> list[float]:
    """Return the weighted sum of each seed, or only that of the means where members have other numbers of seeds."""
    by_seed = [records[name].per_seed for name in weights]
    if not by_seed[0] or len({len(values) for values in by_seed}) > 1:
        return [value]
    return [float(total) for total in np.array(list(weights.values())) @ np.array(by_seed)]


def _record(
    values: list[float], resampled: NDArray[Any], *, chance: float | None, how: dict[str, Any], known: dict[str, Any]
) -> ScoreRecord:
    value = float(np.mean(values))
    # drawing with replacement doubles cells, which raises e.g. NMI and explained variance: that bias is taken out
    resampled = resampled - (np.nanmean(resampled) - value) if np.isfinite(resampled).any() else resampled
    record = ScoreRecord(value=value, chance=chance, per_seed=values, how=how, **known)
    try:
        low, high = np.clip(interval(resampled, n_units=known["n_units"]), *_range(known))
    except UndefinedMetricError as undefined:
        return record.model_copy(update={"how": how | {"no interval": str(undefined)}})
    packed = base64.b64encode(np.asarray(resampled, dtype="<f4").tobytes()).decode("ascii")
    return record.model_copy(update={"low": float(low), "high": float(high), "replicates": packed})


def _range(known: dict[str, Any]) -> tuple[float, float]:
    up = 1.0 if known["higher_is_better"] else -1.0
    ends = (
        -up * math.inf if known["worst"] is None else known["worst"],
        up * math.inf if known["best"] is None else known["best"],
    )
    return min(ends), max(ends)


def _decoded(packed: str | None) -> NDArray[np.float64]:
    raw = b"" if packed is None else base64.b64decode(packed, validate=True)
    return np.frombuffer(raw, dtype="<f4").astype(np.float64)


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None

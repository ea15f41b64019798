"""Numbers from publications: where each stands, how it was obtained, and what of this suite stands beside it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scfm_eval.bounds import read_text
from scfm_eval.errors import InvalidInputError

RANGES: dict[str, tuple[float, float]] = {
    "ARI": (-0.5, 1.0),
    "AMI": (-1.0, 1.0),
    "ASW": (-1.0, 1.0),
    "AvgBIO": (0.0, 1.0),
    "iLISI": (0.0, 1.0),
    "accuracy": (0.0, 1.0),
    "macro precision": (0.0, 1.0),
    "macro recall": (0.0, 1.0),
    "macro F1": (0.0, 1.0),
    "MSE": (0.0, float("inf")),
    "MAE": (0.0, float("inf")),
    "Pearson": (-1.0, 1.0),
}
"""Lowest and highest possible value of each metric that a published number may be of."""

_Text = Annotated[str, Field(min_length=1)]
_BESIDE, _ABOVE = "reports/published", Path(__file__).parent


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def _explained(self, reason: str, *fields: str) -> Self:
        """Return itself if a reason is given exactly where one of the fields is null."""
        missing = [field for field in fields if getattr(self, field) is None]
        if bool(missing) != bool(getattr(self, reason)):
            fault = f"{', '.join(missing)} is null" if missing else f"nothing is null, and {reason} is given"
            raise ValueError(f"{reason} has to say why a field is null, and only then: {fault}")
        return self


class Source(_Strict):
    """What the numbers were published in."""

    citation: _Text
    doi: _Text | None
    doi_reason: str = Field(description="why there is no DOI")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        return self._explained("doi_reason", "doi")


class Place(_Strict):
    """Where in the publication a table stands."""

    table: _Text | None = Field(description="table or section")
    page: int | None
    reason: str = Field(description="why table or page is not known")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        return self._explained("reason", "table", "page")


class Protocol(_Strict):
    """How the numbers were obtained, in words; null is not stated."""

    split: _Text | None
    classifier: _Text | None
    preprocessing: _Text | None
    neighbours: _Text | None
    trained_on: _Text | None = Field(description="what was trained on which cells")
    reason: str = Field(description="why something is not stated")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        return self._explained("reason", "split", "classifier", "preprocessing", "neighbours", "trained_on")


class StandIn(_Strict):
    """A dataset or model of this suite that stands beside a published one, and how it differs."""

    name: _Text
    differs: _Text


class Row(_Strict):
    """The numbers of one model on one dataset; ``annotation`` is null where the source names none."""

    dataset: _Text
    annotation: Literal["cell type", "phenotype", "age", "cancer type", "patient"] | None = None
    model: _Text
    layer: int | None = Field(default=None, ge=0)
    values: dict[str, float] = Field(min_length=1, description="by metric")
    spread: dict[str, float] = Field(default_factory=dict, description="what is quoted behind ±, by metric")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for metric, value in self.values.items():
            if metric not in RANGES:
                raise ValueError(f"{metric} is none of the metrics {', '.join(RANGES)}")
            low, high = RANGES[metric]
            if not low <= value <= high:
                raise ValueError(f"{metric} of {self.model} on {self.dataset} is {value}, outside of [{low}, {high}]")
        if not set(self.spread) <= set(self.values) or any(spread < 0 for spread in self.spread.values()):
            raise ValueError(f"the spread of {self.model} on {self.dataset} is negative, or of no value")
        return self


class Table(_Strict):
    """Numbers of one protocol, and how this suite comes nearest to it."""

    name: _Text = Field(description="what the protocol is called here")
    title: _Text
    place: Place
    by: _Text = Field(description="who measured it")
    protocol: Protocol
    target: bool = Field(description="whether a run of the same protocol should come out at these numbers")
    target_reason: str = Field(description="why not")
    task: Literal[
        "annotation", "annotation_finetuned", "batch_integration", "clustering", "layerwise_reconstruction"
    ] = Field(description="task of this suite")
    scores: dict[str, str] = Field(description="score of that task for each metric that it has")
    differs: list[_Text] = Field(min_length=1, description="how the task departs from the protocol")
    rows: list[Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.target == bool(self.target_reason):
            raise ValueError(f"{self.name}: target_reason has to say why it is no target, and only then")
        unknown = set(self.scores) - {metric for row in self.rows for metric in row.values}
        if unknown:
            raise ValueError(f"{self.name} gives a score for {', '.join(sorted(unknown))}, of which it has no number")
        places = [(row.dataset, row.annotation, row.model, row.layer) for row in self.rows]
        twins = [place for place in places if places.count(place) > 1]
        if twins:
            raise ValueError(f"{self.name} has two rows of {twins[0]}")
        return self

    @property
    def datasets(self) -> list[str]:
        """Published names of the datasets, in order."""
        return list(dict.fromkeys(row.dataset for row in self.rows))


class Publication(_Strict):
    """Tables of one publication, with what stands in this suite for its datasets and models."""

    schema_version: Literal[1]
    title: _Text
    source: Source
    quoted_by: _Text = Field(description="where the numbers were taken from")
    notes: list[_Text] = Field(description="what is known to be wrong with them")
    datasets: dict[str, list[StandIn]] = Field(description="by published name, the nearest first; none where empty")
    models: dict[str, list[StandIn]]
    tables: list[Table] = Field(min_length=1)

    @model_validator(mode="after")
    def _declared(self) -> Self:
        for kind in ("dataset", "model"):
            named = {getattr(row, kind) for table in self.tables for row in table.rows}
            if named != set(getattr(self, f"{kind}s")):
                odd = ", ".join(sorted(named ^ set(getattr(self, f"{kind}s"))))
                raise ValueError(f"{kind}s have to be those of the rows, with what stands for them: {odd}")
        return self

    def only(self, name: str) -> Publication:
        """Return the publication with the tables of one protocol, and the datasets and models that occur in these."""
        tables = [table for table in self.tables if table.name == name]
        rows = [row for table in tables for row in table.rows]
        kept = {
            "datasets": {row.dataset: self.datasets[row.dataset] for row in rows},
            "models": {row.model: self.models[row.model] for row in rows},
        }
        return self.model_copy(update={"tables": tables, **kept})


def read_publication(path: Path) -> Publication:
    """Read and check one file of published numbers.

    Raises
    ------
    InvalidInputError
        If it cannot be read, or does not have the form: a field is missing, unknown or null without a reason, or a
        value is outside of its metric's range.
    """
    try:
        return Publication.model_validate_json(read_text(path))
    except InvalidInputError:
        raise
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InvalidInputError(
            asked=f"published numbers from {path.name}", found=str(error), remedy="mend the file, or restore it"
        ) from error


def publications() -> list[Publication]:
    """Return all published numbers that come with the suite, read from its repository or from the installed package."""
    installed = _ABOVE / _BESIDE
    folder = installed if installed.is_dir() else _ABOVE.parent / _BESIDE
    return [read_publication(path) for path in sorted(folder.glob("*.json"))]


def names(published: Iterable[Publication]) -> list[str]:
    """Return the names of all protocols, sorted."""
    return sorted({table.name for publication in published for table in publication.tables})


def find_publication(name: str) -> Publication:
    """Return the publication of one protocol, with its tables only.

    Raises
    ------
    InvalidInputError
        If there is none of that name; the names are given.
    """
    known = publications()
    for publication in known:
        if name in names([publication]):
            return publication.only(name)
    near = difflib.get_close_matches(name, names(known), n=1, cutoff=0.8)
    raise InvalidInputError(
        asked=f"the published numbers {name!r}",
        found=f"there are {', '.join(names(known)) or 'none'}",
        remedy=f"give {near[0]}" if near else "give one of these (`scfm-eval reproduce --list` says what they are)",
    )

"""One run as one JSON: environment, results, verdicts. Written atomically, validated, upgraded stepwise."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticSerializationError

from scfm_eval.atomic import replacing
from scfm_eval.bounds import read_json
from scfm_eval.errors import InvalidInputError
from scfm_eval.guards import Finding
from scfm_eval.printable import printable
from scfm_eval.results import Result, _Strict

SCHEMA_VERSION = 2
"""Integer version of the report's form; a change of form raises it and adds a step to ``UPGRADES``."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda report: report | {"schema_version": 2, "paired_tests": [], "landscape": []},
}
"""For each older version, the function that turns a report of that version into one of the next."""

_SAID = 2000  # characters of what is wrong
_PLACE = ("task", "dataset", "model", "role")
_NUMBERS = ("value", "low", "high", "chance", "best", "worst")
_ENVIRONMENT = ("machine", "git", "packages")
_COMPARED = ("text", "difference", "low", "high")
_KINDS: dict[str, type] = {"higher_is_better": bool, "headline": bool, "applies": bool, "n_seeds": int}

Outcome = Literal["passed", "failed", "error", "skipped", "expected failure", "unexpected pass"]


RED: tuple[Outcome, ...] = ("failed", "error", "unexpected pass")
"""Outcomes that make a run fail."""


class ComparisonRecord(_Strict):
    """One comparison that a claim made."""

    text: str
    holds: bool
    difference: float | None
    low: float | None
    high: float | None
    reason: str = ""


class Verdict(_Strict):
    """One claim about one model on one dataset, and what became of it."""

    claim: str = Field(description="file::test of the claim")
    model: str | None
    dataset: str | None
    outcome: Outcome
    reason: str = ""
    comparisons: list[ComparisonRecord] = Field(default_factory=list)

    @property
    def is_red(self) -> bool:
        """Whether it makes a run fail."""
        return self.outcome in RED

    @property
    def file(self) -> str:
        """File of the claim; empty where it names none."""
        file, separator, _ = self.claim.partition("::")
        return file if separator else ""

    @property
    def test(self) -> str:
        """Name of the claim's function."""
        return self.claim.rpartition("::")[2]

    @property
    def benchmark(self) -> str:
        """The claim's file in words, such as ``batch integration``."""
        return _words(self.file.rpartition("/")[2].removesuffix(".py"))

    @property
    def name(self) -> str:
        """The claim in words, such as ``is better than hvg``."""
        return _words(self.test)

    @property
    def about(self) -> str:
        """Model and dataset, such as ``mine on heart``, as far as the claim is about them."""
        return " on ".join(name for name in (self.model, self.dataset) if name)

    def why(self) -> str:
        """Return the comparisons that did not hold, or else the reason; empty where there is neither."""
        return "; ".join(made.text for made in self.comparisons if not made.holds) or self.reason


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


class SeedsTest(_Strict):
    """Whether two models differ over seeds: signed-rank test; q is p corrected over all pairs of the report."""

    p: float | None
    q: float | None
    reason: str = Field(default="", description="why p is undefined")


class SplitTest(SeedsTest):
    """Whether two models differ on the test cells of one split: McNemar's test."""

    seed: int
    n_cells: int = Field(description="test cells")
    only_left: int = Field(description="test cells that only the left model has right")
    only_right: int


class PairedTest(_Strict):
    """Whether two models of one task differ, split by split and over seeds."""

    task: str
    dataset: str
    left: str
    right: str
    splits: list[SplitTest]
    seeds: SeedsTest


class LandscapeCheck(_Strict):
    """Whether rougher landscapes go with more errors of annotation, over the models of one dataset."""

    dataset: str
    models: list[str]
    rho: float | None = Field(description="Spearman correlation of ROGI-XD and 1 − macro F1")
    p: float | None = Field(description="one-sided, by permutation of the models")
    reason: str = ""


class Report(_Strict):
    """One run.

    Parameters
    ----------
    schema_version
        Version of this form.
    created
        UTC time at the end of the run, ISO 8601.
    command
        The command line.
    interrupted
        Whether the run was stopped before its end.
    resumed
        How many times it was stopped, or killed, and went on.
    environment
        Versions, machine and commit.
    guards_off
        Names of the guards that were switched off.
    results, verdicts
        What was measured, and what became of each claim.
    findings
        What guards tell of the run as a whole.
    paired_tests, landscape
        What follows from several results: tests of pairs of fine-tuned models, and whether roughness goes with error.
    """

    schema_version: int = SCHEMA_VERSION
    created: str
    command: list[str]
    interrupted: bool = False
    resumed: int = 0
    environment: dict[str, Any]
    guards_off: list[str] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    results: list[Result]
    verdicts: list[Verdict]
    paired_tests: list[PairedTest] = Field(default_factory=list)
    landscape: list[LandscapeCheck] = Field(default_factory=list)

    @field_validator("environment")
    @classmethod
    def _parts_are_objects(cls, environment: dict[str, Any]) -> dict[str, Any]:
        parts = {name: environment[name] or {} for name in _ENVIRONMENT if name in environment}
        wrong = [name for name, part in parts.items() if not isinstance(part, dict)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} of the environment must be an object or null")
        return environment | parts

    def to_frame(self) -> pd.DataFrame:
        """Return one row per score, undefined ones with NaN and a ``reason``.

        Columns: ``task``, ``dataset``, ``model``, ``role``, ``score``, ``value``, ``low``, ``high``, ``chance``,
        ``best``, ``worst`` (NaN is unbounded, or not known), ``higher_is_better``, ``headline``, ``applies``,
        ``reason``, ``n_seeds``, ``pairing`` and ``seen_in_pretraining`` (``None`` is not known).
        """
        rows = [
            {
                "task": result.task,
                "dataset": result.dataset.name,
                "model": result.model.name,
                "role": result.model.role,
                "score": name,
                **{column: getattr(record, column) for column in _NUMBERS},
                "higher_is_better": record.higher_is_better,
                "headline": name in result.headline,
                "applies": record.applies,
                "reason": record.reason,
                "n_seeds": len(record.per_seed),
                "pairing": result.pairing,
                "seen_in_pretraining": result.model.saw_dataset_in_pretraining,
            }
            for result in self.results
            for name, record in result.scores.items()
        ]
        columns = [*_PLACE, "score", *_NUMBERS, "higher_is_better", "headline", "applies", "reason", "n_seeds"]
        frame = pd.DataFrame(rows, columns=[*columns, "pairing", "seen_in_pretraining"])
        return frame.astype({**dict.fromkeys(_NUMBERS, float), **_KINDS})

    def claims_frame(self) -> pd.DataFrame:
        """Return one row per claim, model and dataset.

        Columns: ``claim``, ``file``, ``model``, ``dataset``, ``outcome``, ``reason``, and of the claim's first
        comparison ``text`` (empty where it made none), ``difference``, ``low`` and ``high`` (NaN is undefined).
        """
        rows = [
            {
                "claim": verdict.test,
                "file": verdict.file,
                "model": verdict.model,
                "dataset": verdict.dataset,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "text": "",
                **(verdict.comparisons[0].model_dump(include={*_COMPARED}) if verdict.comparisons else {}),
            }
            for verdict in self.verdicts
        ]
        return pd.DataFrame(
            rows, columns=["claim", "file", "model", "dataset", "outcome", "reason", *_COMPARED]
        ).astype({"difference": float, "low": float, "high": float})

    def costs_frame(self) -> pd.DataFrame:
        """Return one row per task, dataset, model and phase: ``seconds``, and peak memory in bytes of a device.

        ``what`` is ``"seconds"`` or ``"peak_memory_bytes"``, ``part`` the phase or the device, ``amount`` the number
        (NaN is not measured), ``from_store`` whether the arrays had been made before.
        """
        rows = [
            (
                result.task,
                result.dataset.name,
                result.model.name,
                result.model.role,
                what,
                part,
                amount,
                result.from_store,
            )
            for result in self.results
            for what in ("seconds", "peak_memory_bytes")
            for part, amount in getattr(result, what).items()
        ]
        return pd.DataFrame(rows, columns=[*_PLACE, "what", "part", "amount", "from_store"]).astype(
            {"amount": float, "from_store": bool}
        )


def read_report(path: str | Path) -> Report:
    """Read a report; an older form is upgraded step by step.

    Raises
    ------
    InvalidInputError
        If the file is not there, not JSON, not a report, or of a newer form than this version of the suite knows.
    """
    asked = f"a report from {path}"
    try:
        found = _printable(read_json(Path(path)))
    except InvalidInputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            asked=asked, found=str(error), remedy="give the path of a report of this suite"
        ) from error
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise InvalidInputError(
            asked=asked, found="no schema_version", remedy="give the path of a report of this suite"
        )
    if version > SCHEMA_VERSION:
        raise InvalidInputError(
            asked=asked,
            found=f"schema version {version}",
            remedy=f"upgrade scfm_eval; this one reads up to {SCHEMA_VERSION}",
        )
    try:
        return Report.model_validate(_upgraded(found, version))
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        said = f"another form: {str(error)[:_SAID]}"
        raise InvalidInputError(asked=asked, found=said, remedy="write the report anew") from error


def _printable(found: Any) -> Any:
    """Return what was read with its texts as they can be printed and written."""
    if isinstance(found, str):
        return printable(found)
    if isinstance(found, dict):
        return {printable(name): _printable(value) for name, value in found.items()}
    return [_printable(value) for value in found] if isinstance(found, list) else found


def _upgraded(found: dict[str, Any], version: int) -> dict[str, Any]:
    for step in range(version, SCHEMA_VERSION):
        found = UPGRADES[step](found)
    return found


def write_report(report: Report, path: str | Path) -> Path:
    """Write the report so that a reader sees either the old file or the whole new one; returns its absolute path.

    Half letters, such as of a file name in another encoding, are written as signs that stand for them.
    """
    target = Path(path).absolute()
    try:
        text = report.model_dump_json(indent=1)
    except PydanticSerializationError:
        text = Report.model_validate(_printable(report.model_dump(mode="json"))).model_dump_json(indent=1)
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return target


def schema() -> str:
    """Return the JSON Schema of a report, as it is committed."""
    return json.dumps(Report.model_json_schema(), indent=1, sort_keys=True) + "\n"

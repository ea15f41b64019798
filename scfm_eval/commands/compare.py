"""``scfm-eval compare``: what changed between reports, and which of it is noise."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from scfm_eval.commands.printed import Section, as_markdown, as_text, short
from scfm_eval.compare import Changes, changes, only_model, read_comparable
from scfm_eval.errors import InvalidInputError
from scfm_eval.ranking import LEVEL
from scfm_eval.report import Report
from scfm_eval.wording import difference, number

_MOVED = ("worse", "better", "noise", "no interval", "now undefined", "now defined")
_TURNED = ("newly red", "newly green", "changed")
_HOW = (
    f"Differences are after minus before, paired, with 95 % intervals. Noise: the interval holds zero, or q is above "
    f"{LEVEL}; q is p (two-sided, normal, with the standard deviation of the paired resamples) corrected over all "
    f"scores that differ (Benjamini–Hochberg)."
)


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("compare", help="what changed between reports, with paired intervals")
    parser.add_argument("report", nargs="+", type=Path, help="the first is what the others are compared with")
    parser.add_argument("--model", help="this model only")
    parser.add_argument(
        "--with", dest="other", metavar="MODEL", help="compare --model of the first report with this one of the others"
    )
    parser.add_argument("--every-score", action="store_true", help="not the headline scores only")
    parser.add_argument("--format", choices=("text", "md", "csv", "json"), default="text")
    parser.set_defaults(act=_act)


def _act(asked: argparse.Namespace) -> None:
    if asked.every_score and asked.format == "json":
        raise InvalidInputError(
            asked="--every-score with --format json",
            found="JSON, which always has every score",
            remedy="leave --every-score out; the column headline tells them apart",
        )
    reports = _of_models(read_comparable(asked.report), model=asked.model, other=asked.other)
    found = changes(reports)
    scores = found.scores if asked.every_score else found.scores[found.scores["headline"]]
    if asked.format == "csv":
        print(scores.to_csv(index=False), end="")
    elif asked.format == "json":
        print(_as_json(found))
    else:
        sections = list(_sections(reports, asked.report, found, scores))
        printed = as_markdown(sections) if asked.format == "md" else as_text(sections, width=Console().width)
        print(printed, end="")


def _of_models(reports: list[Report], *, model: str | None, other: str | None) -> list[Report]:
    if model is None and other is None:
        return reports
    first, second = model or other or "", other or model or ""
    name = first if first == second else f"{first} → {second}"
    return [only_model(report, first if number == 0 else second, name=name) for number, report in enumerate(reports)]


def _as_json(found: Changes) -> str:
    tables = {name: value for name, value in vars(found).items() if isinstance(value, pd.DataFrame)}
    parts = {name: table.to_json(orient="records") for name, table in tables.items()}
    parts["notes"] = json.dumps(found.notes)
    return "{" + ",\n".join(f'"{name}": {part}' for name, part in parts.items()) + "}"


def _sections(
    reports: Sequence[Report], paths: Sequence[Path], found: Changes, scores: pd.DataFrame
) -> Iterator[Section]:
    yield Section(
        "reports",
        found.notes,
        ("", "file", "made", "results", "claims"),
        [
            (str(place), str(path), report.created, str(len(report.results)), str(len(report.verdicts)))
            for place, (path, report) in enumerate(zip(paths, reports, strict=True), start=1)
        ],
    )
    sides = ("report", "what", "before", "after")
    yield _of(found.environment, "environment", sides, none="nothing differs")
    yield _of(found.models, "what is not the same about a model itself", ("report", "model", "what", "before", "after"))
    yield _of(found.only, "only in one of the two", ("report", "kind", "name", "side"))
    yield _claims(found.claims)
    yield _scores(scores)
    apart = scores[scores["finding"] == "not comparable"]
    counted = apart.groupby(["report", "task", "reason"], as_index=False).size().rename(columns={"size": "scores"})
    yield _of(counted, "not subtracted", ("report", "task", "scores", "reason"))
    yield _costs(found.costs)


def _of(frame: pd.DataFrame, title: str, columns: Sequence[str], *, none: str = "nothing") -> Section:
    rows = [[short(row[column]) for column in columns] for row in frame.to_dict("records")]
    return Section(title, () if rows else (none,), columns, rows)


def _claims(claims: pd.DataFrame) -> Section:
    turned = _ordered(claims, _TURNED)
    rows = [
        (
            *(str(row[name]) for name in ("report", "finding", "claim")),
            short(row["model"]),
            short(row["dataset"]),
            f"{row['outcome_before']} → {row['outcome_after']}",
            _margin(row, "_before"),
            _margin(row, "_after"),
            short(row["caution"] or row["reason"]),
        )
        for row in turned.to_dict("records")
    ]
    heads = ("report", "finding", "claim", "model", "dataset", "outcome", "margin before", "margin after", "why")
    return Section("claims", _counts(claims), heads, rows)


def _scores(scores: pd.DataFrame) -> Section:
    rows = [
        (
            *(str(row[name]) for name in ("report", "finding", "task", "dataset", "model", "score")),
            number(row["before"]),
            number(row["after"]),
            _margin(row),
            "" if pd.isna(row["q"]) else f"{row['q']:.2g}",
            short(row["reason"]),
        )
        for row in _ordered(scores, _MOVED).to_dict("records")
    ]
    heads = ("report", "finding", "task", "dataset", "model", "score", "before", "after", "difference", "q", "why")
    return Section("scores", [*_counts(scores), _HOW], heads, rows)


def _costs(costs: pd.DataFrame) -> Section:
    """Sum up over tasks and datasets: single phases are many, and one measurement each."""
    compared = costs[costs["ratio"].notna()]
    summed = compared.groupby(["report", "model", "phase"], as_index=False)[["before", "after"]].sum()
    rows = [
        (str(place), str(model), str(phase), f"{before:.2f}", f"{after:.2f}", f"×{after / before:.2f}")
        for place, model, phase, before, after in summed.itertuples(index=False)
    ]
    apart = costs[costs["ratio"].isna()].groupby(["report", "reason"], as_index=False).size()
    lines = [
        f"report {number}: {count} times are not compared: {reason}"
        for number, reason, count in apart.itertuples(index=False)
    ]
    if rows:
        lines.append("Seconds, summed over tasks and datasets; one measurement each, so there is no interval.")
    return Section("costs", lines or ["none in both"], ("report", "model", "phase", "before", "after", "ratio"), rows)


def _ordered(frame: pd.DataFrame, findings: Sequence[str]) -> pd.DataFrame:
    chosen = frame[frame["finding"].isin(findings)]
    return chosen.sort_values("finding", key=lambda names: names.map(findings.index), kind="stable")


def _counts(frame: pd.DataFrame) -> list[str]:
    by_report = frame.groupby("report")["finding"].value_counts().unstack(fill_value=0)
    said = [
        f"report {number} against 1: {', '.join(f'{count} {finding}' for finding, count in row.items() if count)}"
        for number, row in by_report.iterrows()
    ]
    return said or ["none in both"]


def _margin(row: Any, side: str = "") -> str:
    value, low, high = (row[f"{name}{side}"] for name in ("difference", "low", "high"))
    return "" if pd.isna(value) else difference(value, low=low, high=high)

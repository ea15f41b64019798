"""What a document is made from, and what it refers to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scfm_eval.report import Report, read_report
from scfm_eval.results import Result
from scfm_eval.verdicts import Fact, Sentence, sentences


@dataclass(frozen=True)
class Source:
    """A report with what is needed to find its file again.

    Parameters
    ----------
    name
        Name of the file, without folders.
    sha256
        Hash of its bytes.
    report
        What it holds.
    """

    name: str
    sha256: str
    report: Report

    @cached_property
    def sentences(self) -> list[Sentence]:
        """What is known of each model; found once, since comparing many models with many baselines takes long."""
        return sentences(self.report)

    @property
    def facts(self) -> list[Fact]:
        """Every model against every baseline of the same task and dataset."""
        return [fact for sentence in self.sentences for fact in sentence.facts]


def read_source(path: Path) -> Source:
    """Read a report and its hash.

    Raises
    ------
    InvalidInputError
        If it cannot be read as a report.
    """
    report = read_report(path)
    return Source(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), report)


def all_results(sources: Iterable[Source]) -> Iterator[Result]:
    """Yield the results of all reports."""
    for source in sources:
        yield from source.report.results


def references(sources: Sequence[Source]) -> dict[str, int]:
    """Return where datasets, models and scores are described, each with its number from 1, in this order."""
    results = list(all_results(sources))
    said = [result.dataset.citation for result in results]
    said += [result.model.citation for result in results]
    said += [record.source for result in results for record in result.scores.values()]
    apart = dict.fromkeys(part for text in said for part in _parts(text))
    return {part: number for number, part in enumerate(apart, start=1)}


def cited(text: str, numbers: dict[str, int]) -> str:
    """Return the numbers in brackets of what a text refers to, or a dash."""
    return "".join(f"[{numbers[part]}]" for part in _parts(text)) or "–"


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]

"""Which models are surely ahead of which baselines, on which tasks: facts, and one sentence per model.

A model stands towards a baseline, on the first headline score of a task and a dataset, in one of four ways:

- **ahead**: the 95 % interval of the paired difference is above zero,
- **behind**: it is below zero,
- **not decided**: it holds zero, so that either may be better,
- **undefined**: there is no such interval: a score is undefined or does not apply, or was measured on other cells.

Differences are signed so that above zero the model is the better one, also where less is better. Each interval stands
for itself: of many comparisons without a difference, about one in twenty excludes zero by chance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.score import NotApplicableError
from scfm_eval.wording import listed

Standing = Literal["ahead", "behind", "not decided", "undefined"]
"""How a model stands towards a baseline."""

SAID: dict[Standing, str] = {
    "ahead": "surely ahead of",
    "behind": "surely behind",
    "not decided": "not decided against",
    "undefined": "not comparable with",
}
"""Each standing in words, with the name of the baseline to follow."""

HOW = (
    "Surely: the 95 % interval of the paired difference (same cells, folds and seeds) of the task's first headline "
    "score lies wholly on one side of zero. Not decided: it holds zero. Not comparable: there is no such interval. "
    "Differences are signed so that above zero the model is the better one, also where less is better. "
    "Nothing is corrected for how many comparisons there are: of those without a difference, about 1 in 20 looks "
    "sure by chance."
)
"""What the sentences mean, for all who read them."""

_OF_SCORES: dict[int | None, Standing] = {1: "ahead", 0: "not decided", -1: "behind", None: "undefined"}


@dataclass(frozen=True)
class Fact:
    """How one model stands towards one baseline on one task and dataset.

    Parameters
    ----------
    model, baseline, task, dataset, score
        What was compared; ``score`` is the first headline score of the task.
    standing
        Ahead, behind, not decided or undefined.
    difference, low, high
        Paired difference with its 95 % interval, above zero where the model is better; ``None`` is undefined.
    reason
        Why the comparison is undefined; empty where it is not.
    doubts
        Why being ahead says little of the model: it is not surely better than chance, its predictions are collapsed;
        empty where it is not ahead.
    answered
        Whether the model gave an answer; one that crashed has neither won nor lost, and ``reason`` says why.
    """

    model: str
    baseline: str
    task: str
    dataset: str
    score: str
    standing: Standing
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    doubts: tuple[str, ...] = ()
    answered: bool = True


@dataclass(frozen=True)
class Sentence:
    """What is known of one model, in one sentence.

    Parameters
    ----------
    model
        Name of the model.
    text
        The sentence, as plain text: names in it are not escaped.
    facts
        What the sentence rests on.
    """

    model: str
    text: str
    facts: tuple[Fact, ...]


def sentences(report: Report) -> list[Sentence]:
    """Return one sentence for each model of the report, by name; controls and baselines have none."""
    scored = [result for result in report.results if result.model.role == "model"]
    own: dict[str, list[Fact]] = {name: [] for name in sorted({result.model.name for result in scored})}
    for fact in facts(report):
        own[fact.model].append(fact)
    silent: dict[str, set[str]] = defaultdict(set)
    for result in scored:
        if result.failure:
            silent[result.model.name].add(result.task)
    return [Sentence(model, _text(model, found, silent[model]), tuple(found)) for model, found in own.items()]


def facts(report: Report) -> list[Fact]:
    """Return every model against every baseline of the same task and dataset, in this order of names."""
    together: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in report.results:
        if result.first_headline:
            together[result.task, result.dataset.name].append(result)
    return sorted(
        (fact for results in together.values() for fact in _facts(results)),
        key=lambda fact: (fact.model, fact.task, fact.dataset, fact.baseline),
    )


def _facts(results: list[Result]) -> Iterable[Fact]:
    baselines: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.model.role == "baseline":
            baselines[result.model.name].append(result)
    for result in results:
        if result.model.role == "model":
            for rivals in baselines.values():
                # of several runs of a baseline, the one on the same cells, folds and seeds
                same = [rival for rival in rivals if rival.pairing == result.pairing]
                yield _fact(result, (same or rivals)[0])


def _fact(result: Result, rival: Result) -> Fact:
    name = result.first_headline
    place = (result.model.name, rival.model.name, result.task, result.dataset.name, name)
    if result.failure or rival.failure:
        return Fact(*place, "undefined", reason=result.failure or rival.failure, answered=not result.failure)
    missing = [side.model.name for side in (result, rival) if name not in side.scores]
    if missing:
        return Fact(*place, "undefined", reason=f"{missing[0]} has no score {name}")
    ours, theirs = result[name], rival[name]
    try:
        found = ours.compare(theirs, ">")
    except NotApplicableError as reason:
        return Fact(*place, "undefined", reason=str(reason))
    if found.reason or found.difference is None or found.low is None or found.high is None:
        return Fact(*place, "undefined", reason=found.reason)
    up = 1 if ours.higher_is_better else -1
    low, high = sorted((up * found.low, up * found.high))
    standing = _OF_SCORES[ours.standing(theirs)]
    doubts = tuple(_doubts(result)) if standing == "ahead" else ()
    return Fact(*place, standing, up * found.difference, low, high, doubts=doubts)


def _doubts(result: Result) -> Iterator[str]:
    name = result.first_headline
    own = result[name]
    by_chance = own.compare(own.chance, ">" if own.higher_is_better else "<")
    if not by_chance.holds and not by_chance.reason:
        yield "itself not surely better than chance"
    guards = result.details.get("collapse", {})
    if any(name.startswith(f"{split}_") and guard.get("flagged") for split, guard in guards.items()):
        yield "its predictions collapsed"


def _text(model: str, facts: Sequence[Fact], silent: set[str]) -> str:
    answered = [fact for fact in facts if fact.answered]
    failed = f"gave no answer in {listed(sorted(silent))}" if silent else ""
    if failed and not answered:
        return f"{model} {failed}."
    if not answered:
        return f"{model} was compared with no baseline."
    return f"{model} is {'; '.join(_standings(answered))}{f'; it {failed}' if failed else ''}."


def _standings(facts: Sequence[Fact]) -> list[str]:
    parts = [
        f"{SAID[standing]} {_listed(facts, standing)}"
        for standing in get_args(Standing)
        if any(fact.standing == standing for fact in facts)
    ]
    if not any(fact.standing == "ahead" for fact in facts):
        parts.insert(0, "surely ahead of no baseline on any task")
    return parts


def _listed(facts: Sequence[Fact], standing: Standing) -> str:
    """Return the baselines towards which the model stands so, each with its tasks in brackets."""
    tasks: dict[str, list[str]] = defaultdict(list)
    for baseline, task in sorted({(fact.baseline, fact.task) for fact in facts if fact.standing == standing}):
        here = [fact for fact in facts if (fact.baseline, fact.task) == (baseline, task)]
        n = sum(fact.standing == standing for fact in here)
        said = task if len(here) == 1 else f"{task} on {n} of {len(here)} datasets"
        doubts = Counter(doubt for fact in here for doubt in fact.doubts)
        but = listed(doubt if k == n else f"{doubt} on {k} of the {n}" for doubt, k in doubts.items())
        tasks[baseline].append(f"{said} [{but}]" if doubts else said)
    return ", ".join(f"{baseline} ({', '.join(named)})" for baseline, named in tasks.items())

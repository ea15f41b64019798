"""What stands on top of the page: the run in sum, each model task by task, and what has to be known to believe it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scfm_eval.about_models import Failure, failures
from scfm_eval.report import Report, Verdict
from scfm_eval.verdicts import HOW, SAID, Fact, Sentence, Standing, sentences
from scfm_eval.wording import NO_ANSWER, counted, difference, listed

MOST_NAMED = 20
"""Claims in error that are named; the table of claims has them all."""

MOST_LINES = 1000
"""With more lines than this over all models, no line by task and dataset is given: nobody reads them."""

_OUTCOMES: dict[str, str] = {
    "passed": "passed",
    "failed": "failed",
    "expected failure": "failed as expected (losses known before the run)",
    "unexpected pass": "passed unexpectedly (known losses that are none any more)",
    "error": "could not be decided (each is named below)",
    "skipped": "skipped",
}


@dataclass(frozen=True)
class TaskLine:
    """How one model stands on one task and dataset.

    Parameters
    ----------
    task, dataset, score
        What was compared.
    parts
        A standing, what is said of it, and why a comparison is undefined.
    """

    task: str
    dataset: str
    score: str
    parts: tuple[tuple[Standing, str, str], ...]


@dataclass(frozen=True)
class ModelVerdict:
    """What is known of one model.

    Parameters
    ----------
    model
        Its name.
    text
        All of it in one sentence.
    counts
        Number of baselines, over tasks and datasets, by standing.
    lines
        The same by task and dataset; empty where there are very many.
    """

    model: str
    text: str
    counts: dict[Standing, int]
    lines: tuple[TaskLine, ...]


@dataclass(frozen=True)
class TopVerdict:
    """What a reader sees first.

    Parameters
    ----------
    in_sum
        Sentences over all models and claims.
    models
        One verdict per model.
    errors
        Claims that could not be decided, with the reason.
    failures
        Models that gave no answer, with the reason.
    """

    in_sum: tuple[str, ...]
    models: tuple[ModelVerdict, ...]
    errors: tuple[str, ...]
    failures: tuple[Failure, ...] = ()


def top_verdict(report: Report) -> TopVerdict:
    """Return the verdict on top of the page; all of it is plain text, to be escaped."""
    said = sentences(report)
    facts = [fact for sentence in said for fact in sentence.facts]
    in_sum = (*_compared(said, facts), *_claimed(report.verdicts))
    fields = {(fact.model, fact.task, fact.dataset) for fact in facts}
    models = tuple(_of_model(sentence, in_lines=len(fields) <= MOST_LINES) for sentence in said)
    return TopVerdict(in_sum, models, tuple(_errors(report.verdicts)), tuple(failures(report.results)))


def _compared(said: Sequence[Sentence], facts: Sequence[Fact]) -> Iterator[str]:
    if not facts:
        yield "No model was compared with a baseline."
        return
    counts = Counter(fact.standing for fact in facts)
    tasks, baselines = {fact.task for fact in facts}, {fact.baseline for fact in facts}
    yield (
        f"{counted(len(said), 'model')} against {counted(len(baselines), 'baseline')} on "
        f"{counted(len(tasks), 'task')}: of {counted(len(facts), 'comparison')} of the first headline score, "
        f"the model is surely ahead in {counts['ahead']}{_doubted(facts)}, surely behind in {counts['behind']}, "
        f"and {counts['not decided']} are not decided"
        f"{_undefined(counts['undefined'])}."
    )
    yield HOW


def _doubted(facts: Sequence[Fact]) -> str:
    n = sum(bool(fact.doubts) for fact in facts)
    return f" (in {n} of them with a doubt: chance or collapse, named below)" if n else ""


def _undefined(n: int) -> str:
    return f"; {n} cannot be compared" if n else ""


def _claimed(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        yield "No claim was asked."
        return
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    said = [f"{n:,} {words}" for name, words in _OUTCOMES.items() if (n := counts[name])]
    yield f"Of {counted(len(verdicts), 'claim')}, {listed(said)}."


def _of_model(sentence: Sentence, *, in_lines: bool) -> ModelVerdict:
    fields: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in sentence.facts:
        fields[fact.task, fact.dataset].append(fact)
    counts = Counter(fact.standing for fact in sentence.facts)
    lines = tuple(_line(found) for _, found in sorted(fields.items())) if in_lines else ()
    return ModelVerdict(sentence.model, sentence.text, {standing: counts[standing] for standing in SAID}, lines)


def _line(found: Sequence[Fact]) -> TaskLine:
    return TaskLine(found[0].task, found[0].dataset, found[0].score, tuple(_parts(found)))


def _parts(found: Sequence[Fact]) -> Iterator[tuple[Standing, str, str]]:
    if not found[0].answered:
        yield "undefined", NO_ANSWER, found[0].reason
        return
    for standing, said in SAID.items():
        here = [fact for fact in found if fact.standing == standing]
        if here:
            why = "; ".join(f"{fact.baseline}: {fact.reason}" for fact in here if fact.reason)
            doubts = here[0].doubts
            but = f", but {listed(doubts)}" if doubts else ""
            yield standing, f"{said} {', '.join(map(_rival, here))}{but}", why


def _rival(fact: Fact) -> str:
    if fact.difference is None:
        return fact.baseline
    return f"{fact.baseline} ({difference(fact.difference, low=fact.low, high=fact.high)})"


def _errors(verdicts: Sequence[Verdict]) -> Iterator[str]:
    broken = [verdict for verdict in verdicts if verdict.outcome == "error"]
    for verdict in broken[:MOST_NAMED]:
        yield f"{verdict.name} [{verdict.about}]: {verdict.reason or 'no reason is given'}"
    if len(broken) > MOST_NAMED:
        yield f"and {len(broken) - MOST_NAMED} more: see the table of claims"

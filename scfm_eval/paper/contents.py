"""What the document says, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from scfm_eval.paper.document import Block, Code, Document, Heading, Paragraph, entries
from scfm_eval.paper.limits import limits
from scfm_eval.paper.results import costs, results
from scfm_eval.paper.setting import data, models, setup
from scfm_eval.paper.sources import Source, all_results, references
from scfm_eval.paper.testing import claims, tests
from scfm_eval.verdicts import HOW
from scfm_eval.wording import counted, listed

_NAMED = 4


def document(sources: Sequence[Source], *, command: str) -> Document:
    """Return one or more reports as a document; every number in it is one of theirs, or follows from them.

    Parameters
    ----------
    sources
        The reports, at least one.
    command
        The command line that makes the document again.
    """
    numbers = references(sources)
    blocks = [
        *_summary(sources),
        *data(sources, numbers),
        *models(sources, numbers),
        *setup(sources, numbers),
        *results(sources),
        *tests(sources),
        *costs(sources),
        *limits(sources),
        *_references(numbers),
        *_check(sources, command),
        *claims(sources),
    ]
    return Document(_title(sources), max(source.report.created for source in sources), tuple(blocks))


def _title(sources: Sequence[Source]) -> str:
    found = list(all_results(sources))
    models = sorted({result.model.name for result in found if result.model.role == "model"})
    datasets = sorted({result.dataset.name for result in found})
    if not found:
        return "Benchmark without a result"
    return f"Benchmark of {_few(models, 'model') if models else 'baselines'} on {_few(datasets, 'dataset')}"


def _few(names: Sequence[str], noun: str) -> str:
    return listed(names) if len(names) <= _NAMED else counted(len(names), noun)


def _summary(sources: Sequence[Source]) -> list[Block]:
    blocks: list[Block] = [Heading("Summary")]
    for source in sources:
        said = [sentence.text for sentence in source.sentences]
        if len(sources) > 1:
            blocks.append(Paragraph(f"Report {source.name}:"))
        blocks.append(entries(said) if said else Paragraph(_without_models(source)))
    return [*blocks, Paragraph(HOW)]


def _without_models(source: Source) -> str:
    report = source.report
    errors = sum(verdict.outcome == "error" for verdict in report.verdicts)
    if report.results:
        return "No model was measured; baselines and controls only."
    if errors:
        return f"Nothing was measured: {counted(errors, 'claim')} of {len(report.verdicts):,} ended in an error."
    return "Nothing was measured."


def _references(numbers: dict[str, int]) -> list[Block]:
    if not numbers:
        return [Heading("References"), Paragraph("The reports name none.")]
    return [Heading("References"), entries(list(numbers), numbered=True)]


def _check(sources: Sequence[Source], command: str) -> list[Block]:
    return [
        Heading("How to check this"),
        Paragraph(
            "Everything above follows from the report files with these hashes (sha256). The command below makes this "
            f"document again from them, with scfm-eval {version('scfm-eval')}; the command lines under Setup make the "
            "reports again."
        ),
        Code("\n".join(f"{source.sha256}  {source.name}" for source in sources)),
        Code(command),
    ]

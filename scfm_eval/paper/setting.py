"""The sections on what was used: datasets, models, and how the run was set up."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from scfm_eval.about_models import licences
from scfm_eval.paper.document import Block, Code, Heading, Paragraph, entries, table
from scfm_eval.paper.sources import Source, all_results, cited
from scfm_eval.paper.wording import NOTHING, count, number, percent
from scfm_eval.results import ModelRecord, Result, by_role
from scfm_eval.wording import counted, listed


def data(sources: Sequence[Source], numbers: dict[str, int]) -> list[Block]:
    """Return which cells were scored, and which model may have seen them before."""
    results = list(all_results(sources))
    if not results:
        return [Heading("Data"), Paragraph("No dataset was scored.")]
    found = {result.dataset.model_dump_json(): result.dataset for result in results}
    datasets = [found[key] for key in sorted(found)]
    heads = ["dataset", "organism", "cells", "genes", "labels", "batches", "donors", "unlabelled", "licence", "source"]
    rows = [
        [
            one.name,
            one.organism or "not stated",
            *map(count, (one.n_cells, one.n_genes, one.n_labels, one.n_batches, one.n_donors, one.n_unlabelled)),
            one.licence or "not stated",
            cited(one.citation, numbers),
        ]
        for one in datasets
    ]
    caption = "Datasets, with the number of cells, genes, labels, batches, donors and cells without a label."
    return [
        Heading("Data"),
        table(caption, heads, rows),
        Paragraph(
            "Each hash is of the counts, cell ids, gene ids and keys as they were read; results with another hash "
            "are of other cells."
        ),
        entries([f"{one.name}: sha256 {one.sha256}" for one in datasets]),
        Paragraph("Whether a model saw the cells in pretraining:"),
        entries(_seen(results)),
    ]


def _seen(results: Sequence[Result]) -> list[str]:
    said: dict[str, dict[bool | None, set[str]]] = defaultdict(lambda: defaultdict(set))
    for result in results:
        if result.model.role == "model":
            said[result.dataset.name][result.model.saw_dataset_in_pretraining].add(result.model.name)
    words = {True: "seen by", None: "not known of", False: "not seen by"}
    return [
        f"{name}: {'; '.join(f'{word} {listed(sorted(by[key]))}' for key, word in words.items() if by[key])}"
        for name, by in sorted(said.items())
    ] or ["no result of a model"]


def models(sources: Sequence[Source], numbers: dict[str, int]) -> list[Block]:
    """Return which models, baselines and controls were scored, and what they could read of the genes."""
    results = sorted(all_results(sources), key=by_role)
    if not results:
        return [Heading("Models"), Paragraph("No model was scored.")]
    found = {result.model.model_dump_json(exclude={"saw_dataset_in_pretraining"}): result.model for result in results}
    rows = [
        [
            one.name,
            one.role,
            one.revision[:12] or "not stated",
            count(one.n_parameters),
            percent(one.loaded_share),
            "yes" if one.trained_here else "no",
            licences(one) or "not stated",
            cited(one.citation, numbers),
        ]
        for one in found.values()
    ]
    heads = ["name", "role", "revision", "parameters", "loaded", "learns here", "licence", "source"]
    caption = (
        "Models, baselines (what a model has to beat) and controls (whose result is known beforehand). Loaded is "
        "the share of the tensors of the checkpoint that were loaded; learns here, whether the method learned from "
        "the dataset."
    )
    return [
        Heading("Models"),
        table(caption, heads, rows),
        entries([_fixed(one.model_dump()) for one in found.values()]),
        *_departures(found.values()),
        _readable(results),
    ]


def _departures(found: Iterable[ModelRecord]) -> list[Block]:
    """Return where defaults are not what the published code computes; nothing where none is said to differ."""
    said = list(dict.fromkeys(f"{one.name}: {one.definition}" for one in found if one.definition))
    return [Paragraph("Where a default is not what the published code computes:"), entries(said)] if said else []


def _fixed(model: dict[str, Any]) -> str:
    """Return what fixes a model beside its revision: arguments and hashes."""
    others = {name: f"{name} = {value} (not the default)" for name, value in model["options"].items()}
    said = [others.pop(name, f"{name} = {value}") for name, value in model["parameters"].items()]
    said += others.values()
    hashes = {"weights": model["weights_sha256"], "adapter": model["adapter_sha256"]}
    said += [f"{what} sha256 {value}" for what, value in hashes.items() if value]
    return f"{model['name']}: {', '.join(said) or 'no arguments, no weights'}"


def _readable(results: Sequence[Result]) -> Block:
    names = list(dict.fromkeys(result.model.name for result in results))
    datasets = sorted({result.dataset.name for result in results})
    shares: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        shown = f"{percent(result.readable.genes)} / {percent(result.readable.counts)}"
        if shown not in shares[result.model.name, result.dataset.name]:
            shares[result.model.name, result.dataset.name].append(shown)
    rows = [[name, *(", ".join(shares[name, data]) or NOTHING for data in datasets)] for name in names]
    return table("Share of the genes, and of the counts, that each could read.", ["name", *datasets], rows)


def setup(sources: Sequence[Source], numbers: dict[str, int]) -> list[Block]:
    """Return tasks, scores, seeds, splits and resamples, and each run's machine, packages, commit and command line."""
    blocks: list[Block] = [Heading("Setup")]
    results = list(all_results(sources))
    if results:
        blocks += [_tasks(results), _scores(results, numbers)]
    for source in sources:
        environment = source.report.environment
        blocks += [
            Heading(f"Run {source.name}", level=2),
            table("The run.", ["what", "value"], _run(source, environment)),
            Paragraph("Command line:"),
            Code(shlex.join(source.report.command)),
        ]
    return blocks


def _tasks(results: Sequence[Result]) -> Block:
    rows = {}
    for result in sorted(results, key=lambda result: (result.task, result.dataset.name, result.pairing)):
        n = {len(result[name].replicates) for name in result.headline if name in result.scores} - {0}
        rows[result.task, result.dataset.name, result.pairing] = [
            result.task,
            result.dataset.name,
            _arguments(result.parameters),
            ", ".join(map(str, result.seeds)) or NOTHING,
            _split(result.details.get("split")),
            ", ".join(map(count, sorted(n))) or NOTHING,
        ]
    caption = "Tasks, with their parameters, seeds, what a split keeps apart, and the resamples behind each interval."
    return table(caption, ["task", "dataset", "parameters", "seeds", "split by", "resamples"], list(rows.values()))


def _arguments(parameters: dict[str, Any]) -> str:
    flat = parameters.get("how") if isinstance(parameters.get("how"), dict) else parameters
    # an empty text is an option that is not used
    said = (f"{name} = {value}" for name, value in flat.items() if value != "")  # type: ignore[union-attr]
    return ", ".join(said) or NOTHING


def _split(split: Any) -> str:
    if not isinstance(split, dict):
        return NOTHING
    sizes = [f"{split[part]} {part}" for part in ("train", "validation", "test") if part in split]
    folds = [counted(split["n_folds"], "fold")] if isinstance(split.get("n_folds"), int) else []
    return ", ".join([str(split.get("unit", NOTHING)), *folds, *sizes])


def _scores(results: Sequence[Result], numbers: dict[str, int]) -> Block:
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for result in results:
        for name in result.headline:
            record = result.scores.get(name)
            # what does not apply, or gave no answer, says nothing of where the score is defined
            if record is not None and record.applies and not result.failure:
                better = "higher" if record.higher_is_better else "lower"
                ends = [NOTHING if end is None else number(end) for end in (record.worst, record.best)]
                found[(name, better, *ends, cited(record.source, numbers))].add(result.task)
    rows = [[name, ", ".join(sorted(tasks)), *rest] for (name, *rest), tasks in sorted(found.items())]
    heads = ["score", "tasks", "better is", "worst", "best", "source"]
    return table("Headline scores; a dash is an end that is not bounded, or a source that is not stated.", heads, rows)


def _run(source: Source, environment: dict[str, Any]) -> list[list[str]]:
    machine, git = (_mapping(environment.get(name)) for name in ("machine", "git"))
    packages = [f"{name} {version}" for name, version in _mapping(environment.get("packages")).items()]
    memory = machine.get("memory_bytes")
    rows = {
        "report": source.name,
        "made": source.report.created,
        "ended": "interrupted before its end" if source.report.interrupted else "complete",
        "commit": commit(git),
        "machine": machine.get("kind"),
        "processor": machine.get("cpu"),
        "cores": machine.get("cores"),
        "memory": f"{memory / 2**30:.1f} GiB" if isinstance(memory, int | float) else None,
        "accelerator": machine.get("gpu") or "none",
        "platform": environment.get("platform"),
        "Python": environment.get("python"),
        "packages": ", ".join(packages) or None,
    }
    return [[what, "not known" if value is None else str(value)] for what, value in rows.items()]


def commit(git: dict[str, Any]) -> str:
    """Return the commit of a run in words, with whether files differed from it."""
    if not git.get("commit"):
        return "not known"
    state = {True: "with changes that are not committed", False: "without changes"}.get(git.get("dirty"))  # type: ignore[arg-type]
    return f"{git['commit']}, {state or 'not known whether changed'}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

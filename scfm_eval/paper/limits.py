"""The section on limits: what the reports themselves say against reading too much into their numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from scfm_eval.about_models import exceptions, failures
from scfm_eval.findings import told
from scfm_eval.paper.document import Block, Entries, Heading, entries, table
from scfm_eval.paper.setting import commit
from scfm_eval.paper.sources import Source, all_results
from scfm_eval.paper.wording import percent
from scfm_eval.report import Verdict
from scfm_eval.results import Result
from scfm_eval.wording import counted, listed

_LEVEL = 0.05
"""Share of 95 % intervals that miss what they are of."""
_FEW_CELLS = 10
_NAMED = 4


def limits(sources: Sequence[Source]) -> list[Block]:
    """Return what limits the scores, each point from facts of the reports."""
    results = list(all_results(sources))
    general = [
        *(f"{one.text} ({one.where}); this is neither a win nor a loss." for one in failures(results)),
        *_intervals(results),
        *_many_comparisons(sources),
        *_cells(results),
        *_pretraining(results),
        *_reading(results),
        *_exceptions(results),
        *_runs(sources),
    ]
    return [
        Heading("Limits"),
        entries(general or ["Nothing was measured, so that nothing follows."]),
        *_found(sources),
        *_notes(results),
        *_undefined(results),
        *_unlike_passes(sources),
    ]


def _intervals(results: Sequence[Result]) -> list[str]:
    if not results:
        return []
    said = [
        "Each interval says how much a score varies with which cells (or, where there are several, which donors) "
        "were measured. It does not cover another split into folds, another training or pretraining of the model, "
        "another laboratory, tissue or protocol."
    ]
    by_seeds: dict[int, set[str]] = defaultdict(set)
    for result in results:
        by_seeds[len(result.seeds)].add(result.task)
    for n, tasks in sorted(by_seeds.items()):
        spread = ": what another seed would change is not measured" if n < 2 else ""
        said.append(f"{counted(n, 'seed')} in {listed(sorted(tasks))}{spread}.")
    without = sorted({(r.task, n) for r in results for n in r.headline if n in r.scores and _has_no_interval(r, n)})
    if without:
        said.append(
            f"No interval, so that nothing can be surely ahead: {listed(f'{n} ({task})' for task, n in without)}."
        )
    return said


def _has_no_interval(result: Result, name: str) -> bool:
    record = result.scores[name]
    return record.value is not None and record.low is None


def _many_comparisons(sources: Iterable[Source]) -> list[str]:
    n = sum(fact.standing != "undefined" for source in sources for fact in source.facts)
    if not n:
        return ["No model was compared with a baseline, so that none is said to be better."]
    return [
        f"{counted(n, 'difference')} from baselines, each with its own 95 % interval: were no model better or worse "
        f"than any baseline, about {n * _LEVEL:.1f} of them would exclude zero by chance. The summary is not "
        "corrected for this."
    ]


def _cells(results: Sequence[Result]) -> list[str]:
    said = []
    datasets = {result.dataset.name: result.dataset for result in results}
    simulated = sorted(name for name, data in datasets.items() if data.organism == "simulated")
    if simulated:
        said.append(
            f"Simulated cells: {listed(simulated)}. They say whether a method works, not how well it does on tissue."
        )
    for data in datasets.values():
        if data.name not in simulated and (data.n_donors is None or data.n_donors < 2):
            donors = "donors are not stated" if data.n_donors is None else "one donor"
            said.append(f"{data.name}: {data.n_cells:,} cells, {donors}: the scores do not speak of other donors.")
    return said + [f"{place}: fewer than {_FEW_CELLS} cells of {listed(few)}." for place, few in _rare(results).items()]


def _rare(results: Sequence[Result]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for result in results:
        classes = result.details.get("per_class")
        supports = {
            name: measures.get("support")
            for name, measures in (classes.items() if isinstance(classes, dict) else ())
            if isinstance(measures, dict)
        }
        few = [f"{name} ({n})" for name, n in supports.items() if isinstance(n, int) and n < _FEW_CELLS]
        if few:
            found[f"{result.task} on {result.dataset.name}"] = few
    return found


def _pretraining(results: Sequence[Result]) -> list[str]:
    words = {
        True: "saw cells of this dataset in pretraining, and may remember them",
        None: "is not known to have seen it or not",
    }
    pairs = {
        (result.dataset.name, result.model.name, result.model.saw_dataset_in_pretraining)
        for result in results
        if result.model.role == "model"
    }
    return [
        f"{dataset}: {model} {words[seen]}."
        for dataset, model, seen in sorted(pairs, key=lambda pair: pair[:2])
        if seen is not False
    ]


def _reading(results: Sequence[Result]) -> list[str]:
    said = []
    least: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result in results:
        if result.readable.genes < 1 and result.model.role == "model":
            least[result.model.name, result.dataset.name].append(result.readable.genes)
    for (model, dataset), shares in sorted(least.items()):
        said.append(
            f"{model} could read {percent(min(shares))} of the genes of {dataset}; the others do not count for it."
        )
    loaded = {r.model.name: r.model.loaded_share for r in results if r.model.loaded_share not in (None, 1.0)}
    return said + [
        f"{name}: {percent(share)} of the checkpoint's tensors were loaded." for name, share in sorted(loaded.items())
    ]


def _exceptions(results: Sequence[Result]) -> list[str]:
    said = {
        f"{r.model.name} does not pass checks of adapters: {exceptions(r.model)}."
        for r in results
        if r.model.exceptions
    }
    return sorted(said)


def _runs(sources: Sequence[Source]) -> list[str]:
    said = []
    for source in sources:
        report = source.report
        git = report.environment.get("git")
        git = git if isinstance(git, dict) else {}
        if not git.get("commit") or git.get("dirty") is not False:
            said.append(f"{source.name}: the code is not fixed by a commit ({commit(git)}).")
        if report.interrupted:
            said.append(
                f"{source.name}: the run was stopped before its end; claims that it did not reach are not in it."
            )
        stored = sum(result.from_store for result in report.results)
        if stored:
            said.append(
                f"{source.name}: {counted(stored, 'result')} of {len(report.results):,} rest on arrays of earlier "
                "runs, and so do their seconds."
            )
    if len(sources) > 1:
        said.append("The reports are shown side by side; no difference is taken between them.")
    return said


def _notes(results: Sequence[Result]) -> list[Block]:
    together: dict[tuple[str, str], set[str]] = defaultdict(set)
    noted: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for result in results:
        together[result.task, result.dataset.name].add(result.model.name)
        for note in result.notes:
            noted[result.task, result.dataset.name, note].add(result.model.name)
    # what is so in several tasks, such as how genes were read, is said once
    tasks: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (task, dataset, note), models in sorted(noted.items()):
        tasks[dataset, _of_all(models, together[task, dataset]), note].append(task)
    said = [f"{listed(found)} on {dataset}, {who}: {note}" for (dataset, who, note), found in tasks.items()]
    return [Heading("Notes of the results", level=2), entries(said)] if said else []


def _found(sources: Sequence[Source]) -> list[Block]:
    said = [str(one) for source in sources for one in told(source.report)]
    return [Heading("What the guards found", level=2), entries(said)] if said else []


def _of_all(models: set[str], present: set[str]) -> str:
    return "all models" if models == present else listed(sorted(models))


def _undefined(results: Sequence[Result]) -> list[Block]:
    found: dict[tuple[str, str, bool, str], list[tuple[str, str]]] = defaultdict(list)
    for result in results:
        for name, record in result.scores.items():
            # why a model gave no answer is said once, above
            if record.value is None and not result.failure:
                place = (result.task, result.dataset.name, record.applies, record.reason or "no reason given")
                found[place].append((result.model.name, name))
    if not found:
        return []
    rows = [
        [
            task,
            dataset,
            "undefined" if applies else "does not apply",
            ", ".join(dict.fromkeys(model for model, _ in pairs)),
            listed(dict.fromkeys(name for _, name in pairs), most=_NAMED),
            reason,
        ]
        for (task, dataset, applies, reason), pairs in sorted(found.items())
    ]
    n = sum(map(len, found.values()))
    caption = (
        f"{counted(n, 'score')} without a value, with the reason. They are left out of every mean, and are not zero."
    )
    heads = ["task", "dataset", "kind", "models", "scores", "reason"]
    return [Heading("Undefined scores", level=2), table(caption, heads, rows)]


_UNLIKE = {
    "expected failure": "Claims that failed as expected",
    "unexpected pass": "Claims that were expected to fail and hold",
    "error": "Claims that could not be decided",
    "skipped": "Claims that were not asked",
}


def _unlike_passes(sources: Sequence[Source]) -> list[Block]:
    """Return what became of claims that neither passed nor failed, with reasons."""
    blocks: list[Block] = []
    verdicts = [verdict for source in sources for verdict in source.report.verdicts]
    for outcome, title in _UNLIKE.items():
        found = [verdict for verdict in verdicts if verdict.outcome == outcome]
        if found:
            blocks += [Heading(title, level=2), _reasons(found)]
    return blocks


def _reasons(verdicts: Sequence[Verdict]) -> Entries:
    tally = Counter((verdict.reason or "no reason given", verdict.model or "no model") for verdict in verdicts)
    return entries([f"{model}, {counted(n, 'claim')}: {reason}" for (reason, model), n in sorted(tally.items())])

"""evaluate(task, model, dataset) -> Result: ask the model through the store, score, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scfm_eval import about_models, ensembles, guards, timing
from scfm_eval.answers import StoredAnswers
from scfm_eval.blame import blamed_on, owed
from scfm_eval.cells import Cells, model_view, require_organism
from scfm_eval.chance import tell_of_chance
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.view import Readable
from scfm_eval.device import Resident, peak_memory
from scfm_eval.errors import FailedModelError, InvalidInputError
from scfm_eval.layout import with_layout
from scfm_eval.models.card import Card, card
from scfm_eval.models.protocols import PerturbationPredictor, learns_here
from scfm_eval.owed import checked
from scfm_eval.provenance import adapter_sha256, weights_folder
from scfm_eval.results import ModelRecord, ReadableRecord, Result, ScoreRecord
from scfm_eval.store import Store, key_of
from scfm_eval.tasks import throughput
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.task import N_RESAMPLES, Scored, ScoredTask, Task
from scfm_eval.tasks.throughput import Throughput


def evaluate(
    task: ScoredTask,
    model: type,
    cells: Cells,
    *,
    name: str | None = None,
    store: Store,
    resident: Resident,
    weights: Path | None = None,
    member_weights: Mapping[str, Path] | None = None,
    seeds: Sequence[int] = (0,),
    layouts: bool = False,
) -> Result:
    """Score one model on one dataset for one task; a model that crashes has a result without values, and the reason.

    Parameters
    ----------
    task, model, cells
        What is asked, of which class, on which cells.
    name
        Name in the report; default that of the model's card.
    store, resident
        Where answers are kept, and what holds the loaded model.
    weights, member_weights
        Local folder of weights, and those of the members of an ensemble by name; default what a class finds itself.
    seeds
        Repeats of splits and of methods that learn here.
    layouts
        Whether a result of the annotation task has a layout of its embedding; see :mod:`scfm_eval.layout`.

    Raises
    ------
    InvalidInputError
        If the task means nothing on these cells, the model cannot take part, or cannot read the genes.
    """
    about = card(model, name=name)
    _check(task, model, about, cells)
    with guards.listening() as findings:
        answers, read = ensembles.ask(
            model, about, cells, store, resident, weights=weights, member_weights=member_weights
        )
        _tell_of_pretraining(answers)
        with timing.recording() as scoring, timing.phase("score"):
            scored, failure = _scored(task, answers, seeds=seeds)
        what = f"{task.name} of {about.name} on {cells.dataset.name}"
        tell_of_chance(scored.scores, headline=task.headline, role=about.role, asked=what)
    result = Result(
        task=task.name,
        parameters=_parameters(task),
        headline=list(task.headline),
        seeds=list(seeds),
        pairing=_pairing(task, cells, seeds=seeds),
        dataset=cells.record,
        model=_model_record(answers, ensembles.loaded(answers), seed=seeds[0]),
        readable=_readable(ensembles.least(read)),
        scores=scored.scores,
        details=scored.details,
        seconds=_seconds(ensembles.made(answers), score=scoring["score"]),
        peak_memory_bytes=_peaks(ensembles.made(answers)),
        from_store=ensembles.from_store(answers) and not failure,
        arrays=ensembles.arrays(answers),
        notes=scored.notes + _told(answers, read),
        findings=findings,
        failure=failure,
    )
    return _laid_out(result, answers) if layouts and isinstance(task, Annotation) and not failure else result


def _laid_out(result: Result, answers: StoredAnswers) -> Result:
    try:
        return with_layout(result, answers)
    except FailedModelError as error:
        return result.model_copy(update={"notes": [*result.notes, f"no layout: {error.found}"]})


def _scored(task: ScoredTask, answers: StoredAnswers, *, seeds: Sequence[int]) -> tuple[Scored, str]:
    """Return the scores, and why there are none of a model that gave no answer."""
    try:
        return task.score(answers, answers.cells.adata, seeds=seeds), ""
    except FailedModelError as error:
        failure = f"{answers.card.name} gave no answer: {error.found}"
        return Scored(_without_value(task, failure)), failure


def _without_value(task: Task, failure: str) -> dict[str, ScoreRecord]:
    return {name: ScoreRecord(value=None, reason=failure) for name in task.headline}


def clock(
    task: Throughput, model: type, cells: Cells, *, name: str, resident: Resident, weights: Path | None = None
) -> tuple[Result, Callable[[], object]]:
    """Time the forward path of one model on some cells of one dataset; nothing is stored.

    Returns
    -------
    The result, and the timed call for other tools.
    """
    about = card(model, name=name)
    require_organism(about, cells)
    folder = weights_folder(model, weights, offline=bool(resident.settings.get("offline")))
    seen, readable = model_view(model, about, cells, weights=folder)
    own: dict[str, Any] = {"weights": folder} if folder else {}

    def load(fresh: bool = False) -> Any:
        return resident.load(model, name=name, fresh=fresh, **own)

    loaded, rounds, failure = None, None, ""
    with peak_memory() as peak:
        try:
            with blamed_on(name, asked="timing"):
                rounds = throughput.timed(load, seen, task=task)
                loaded = load()
                few = seen[: task.n_cells].copy()
                with owed():
                    checked(loaded.embed(few), few, name=name)
        except FailedModelError as error:
            resident.free()
            loaded, rounds, failure = None, None, f"{name} gave no answer: {error.found}"
    answers = StoredAnswers(model, about, cells, seen, Store(), resident, folder)
    conditions = {key: resident.settings.get(key) for key in ("device", "precision")}
    apart = {"apart": True} if resident.is_apart else {}
    note = ["timed in a process of its own, handing over the cells included"] if resident.is_apart else []
    facts = {key: getattr(loaded, key, None) for key in ("n_parameters", "weights_sha256", "loaded_share")}
    result = Result(
        task=task.name,
        parameters=_parameters(task),
        headline=list(task.headline),
        seeds=[0],
        pairing=_pairing(task, cells, seeds=[0], **conditions, **apart),
        dataset=cells.record,
        model=_model_record(answers, facts, seed=0),
        readable=_readable(readable),
        scores=_without_value(task, failure) if rounds is None else throughput.scored(rounds),
        seconds={} if rounds is None else rounds.seconds(),
        peak_memory_bytes=getattr(loaded, "peak_memory_bytes", None) or dict(peak),
        from_store=False,
        notes=_notes(model) + _of_orthologs(readable, cells) + note,
        failure=failure,
    )
    return result, lambda: None if loaded is None else loaded.embed(seen[: task.n_cells])


def lacking_keys(about: Card, dataset: Dataset) -> str:
    """Return which keys the model needs and the dataset does not have, in words; empty when none is missing."""
    missing = [key for key in about.needs if key not in dataset.keys]
    return f"{about.name} needs a {' and a '.join(missing)} key, which {dataset.name} does not have" if missing else ""


def _check(task: ScoredTask, model: type, about: Card, cells: Cells) -> None:
    refusal = task.refuses(model) or lacking_keys(about, cells.dataset)
    if refusal:
        raise InvalidInputError(
            asked=f"{task.name} of {about.name} on {cells.dataset.name}", found=refusal, remedy="choose another task"
        )
    require_organism(about, cells)
    task.check(cells.adata, dataset=cells.dataset.name)


def _model_record(answers: StoredAnswers, facts: dict[str, Any], *, seed: int) -> ModelRecord:
    about = answers.card
    learns = learns_here(answers.model) or answers.can(PerturbationPredictor)
    return ModelRecord(
        name=about.name,
        role=about.role,
        revision=about.revision,
        licence=about.licence,
        weights_licence=about.weights_licence,
        citation=about.citation,
        definition=about.definition,
        exceptions=dict(about.exceptions),
        trained_here=about.trained_here or about.transductive or learns,
        weights_sha256=facts.get("weights_sha256"),
        n_parameters=facts.get("n_parameters"),
        loaded_share=facts.get("loaded_share"),
        parameters=ensembles.parameters(answers, seed=seed),
        options=ensembles.options(answers),
        adapter_sha256=adapter_sha256(answers.model),
        saw_dataset_in_pretraining=_any_saw(answers),
    )


def _parameters(task: Task) -> dict[str, Any]:
    return asdict(task)  # type: ignore[call-overload, no-any-return]


def _pairing(task: Task, cells: Cells, *, seeds: Sequence[int], **conditions: Any) -> str:
    return key_of(
        task=task.name,
        parameters=_parameters(task),
        reads=task.reads() if hasattr(task, "reads") else None,
        cells=cells.sha256,
        seeds=list(seeds),
        n_resamples=N_RESAMPLES,
        **conditions,
    )


def _readable(readable: Readable) -> ReadableRecord:
    return ReadableRecord(**{key: getattr(readable, key) for key in ReadableRecord.model_fields})


def _any_saw(answers: StoredAnswers) -> bool | None:
    saw = [_saw(one.card, answers.cells) for one in answers.members()]
    return True if True in saw else None if None in saw else False


def _saw(about: Card, cells: Cells) -> bool | None:
    if about.role != "model":
        return False
    if about.name in cells.dataset.seen_by:
        return True
    if not {*cells.dataset.parts, *cells.resembles}.isdisjoint(about.pretrained_on):
        return True
    # what a dataset says of some models says nothing of the others, and nobody knows whose cells an own file holds
    return False if about.pretrained_on and not cells.dataset.is_own_file else None


def _told(answers: StoredAnswers, read: Sequence[Readable]) -> list[str]:
    """Return what was read of the cells, and what each member says of itself."""
    own = [note for one in answers.members() for note in _notes(one.model)]
    making = dict.fromkeys(note for facts in ensembles.made(answers) for note in facts.get("notes", []))
    return ensembles.shares(answers, read) + own + _of_orthologs(ensembles.least(read), answers.cells) + [*making]


def _notes(model: type) -> list[str]:
    return [model.note] if hasattr(model, "note") else []


def _tell_of_pretraining(answers: StoredAnswers) -> None:
    cells = answers.cells
    others = [name for name in cells.resembles if name not in cells.dataset.parts]
    for about in (one.card for one in answers.members()):
        if _saw(about, cells):
            known = f", whose cells are those of {', '.join(others)}" if others else ""
            guards.tell(
                "pretraining",
                asked=f"{about.name} on cells that are new to it",
                found=f"{about.name} saw {cells.dataset.name} in pretraining{known}",
                remedy="it may remember them: compare models on datasets that none of them saw",
            )


def _of_orthologs(readable: Readable, cells: Cells) -> list[str]:
    told = readable.orthologs
    return [] if told is None else [about_models.mapped(told, dataset=cells.dataset.name)]


def _seconds(facts: list[dict[str, Any]], *, score: float) -> dict[str, float]:
    total = {"score": score}
    for made in facts:
        for name, seconds in made["seconds"].items():
            total[name] = total.get(name, 0.0) + seconds
    return total


def _peaks(facts: list[dict[str, Any]]) -> dict[str, int | None]:
    peaks: dict[str, int | None] = {}
    for place in ("host", "device"):
        seen = [fact["peak_memory_bytes"][place] for fact in facts if fact["peak_memory_bytes"][place] is not None]
        peaks[place] = max(seen) if seen else None
    return peaks

"""evaluate(task, model, dataset) -> Result: embed through the store, score, time."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import timing
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.view import Readable, fingerprint, require_readable, view
from scfm_eval.device import Resident, accepted, fitting, peak_memory
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Card, LabelTrainable, Trainable, VocabularyReader, card, missing_methods
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result
from scfm_eval.store import Made, Store, Stored, key_of
from scfm_eval.tasks.task import N_RESAMPLES, Task


@dataclass(frozen=True)
class Cells:
    """A dataset as it was loaded: the declaration, its cells in canonical form, and their hash."""

    dataset: Dataset
    adata: AnnData

    @cached_property
    def sha256(self) -> str:
        """Hash of counts, ids and keys."""
        return fingerprint(self.adata)

    @cached_property
    def record(self) -> DatasetRecord:
        """What a report says of the dataset."""
        obs = self.adata.obs
        return DatasetRecord(
            name=self.dataset.name,
            sha256=self.sha256,
            n_cells=self.adata.n_obs,
            n_genes=self.adata.n_vars,
            n_unlabelled=int(obs["label"].isna().sum()) if "label" in obs else 0,
            n_labels=_categories(obs, "label"),
            n_batches=_categories(obs, "batch"),
            n_donors=_categories(obs, "donor"),
            organism=self.dataset.organism,
            licence=self.dataset.licence,
            citation=self.dataset.citation,
        )


@dataclass
class _Embedding:
    """One model's embeddings of one dataset, made when asked for and kept in the store."""

    model: type
    card: Card
    cells: Cells
    view: AnnData
    fingerprint: str
    store: Store
    resident: Resident
    weights: Path | None
    facts: list[dict[str, Any]] = field(default_factory=list)
    from_store: list[bool] = field(default_factory=list)

    def __call__(self, *, seed: int, train: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        learns = not missing_methods(self.model, Trainable) or not missing_methods(self.model, LabelTrainable)
        seen = train if learns else None
        key = key_of(
            view=self.fingerprint,
            train=None if seen is None else hashlib.sha256(np.packbits(seen).tobytes()).hexdigest(),
            labels=self._labels_hash(seen),
            model=[self.card.name, self.card.revision],
            adapter=adapter_sha256(self.model),
            weights=weights_hash(self.weights),
            parameters=self._parameters(seed),
            capability="embed",
        )
        stored: Stored = self.store.get(key, lambda: self._make(seed=seed, train=seen))
        if stored.facts not in self.facts:
            self.facts.append(stored.facts)
            self.from_store.append(stored.was_there)
        return stored.arrays[0]

    def _parameters(self, seed: int) -> dict[str, Any]:
        offered = {**self.resident.settings, "seed": seed}
        taken = accepted(self.model, offered)
        # the device and the way to the weights do not change what is computed; precision and seed do
        return {key: value for key, value in taken.items() if key not in ("device", "weights", "offline")}

    def _labels_hash(self, seen: NDArray[np.bool_] | None) -> str | None:
        if seen is None or missing_methods(self.model, LabelTrainable):
            return None
        return hashlib.sha256("\0".join(self.cells.adata.obs["label"].astype(str)[seen]).encode()).hexdigest()

    def _make(self, *, seed: int, train: NDArray[np.bool_] | None) -> Made:
        own = {"seed": seed} | ({"weights": self.weights} if self.weights is not None else {})
        with timing.recording() as seconds, peak_memory() as peak:
            with timing.phase("load"):
                model = self.resident.load(self.model, name=self.card.name, **own)
            with timing.phase("fit"):
                self._fit(model, train)
            with timing.phase("forward"):
                embedding = fitting(model, lambda: model.embed(self.view))
        facts = {
            "seconds": seconds,
            "peak_memory_bytes": dict(peak),
            "n_parameters": getattr(model, "n_parameters", None),
            "weights_sha256": getattr(model, "weights_sha256", None),
            "train": None if train is None else int(train.sum()),
        }
        return [checked(embedding, self.view, name=self.card.name)], facts

    def _fit(self, model: Any, train: NDArray[np.bool_] | None) -> None:
        cells = self.view if train is None else self.view[train].copy()
        if not missing_methods(self.model, LabelTrainable) and train is not None:
            labels = self.cells.adata.obs["label"].to_numpy()[train].astype(str)
            model.fit_with_labels(cells, labels=labels)
        elif not missing_methods(self.model, Trainable):
            model.fit(cells)


def evaluate(
    task: Task,
    model: type,
    cells: Cells,
    *,
    name: str | None = None,
    store: Store,
    resident: Resident,
    weights: Path | None = None,
    seeds: Sequence[int] = (0,),
) -> Result:
    """Score one model on one dataset for one task.

    Parameters
    ----------
    task, model, cells
        What is asked, of which class, on which cells.
    name
        Name in the report; default that of the model's card.
    store, resident
        Where embeddings are kept, and what holds the loaded model.
    weights
        Local folder of weights; default what the model's own class finds.
    seeds
        Repeats of splits and of methods that learn here.

    Raises
    ------
    InvalidInputError
        If the task means nothing on these cells, the model cannot take part, or cannot read the genes.
    """
    about = card(model, name=name)
    refusal = task.refuses(model) or lacking_keys(about, cells.dataset)
    if refusal:
        raise InvalidInputError(
            asked=f"{task.name} of {about.name} on {cells.dataset.name}", found=refusal, remedy="choose another task"
        )
    task.check(cells.adata, dataset=cells.dataset.name)
    seen, readable = _view(model, about, cells, weights=weights)
    embedding = _Embedding(model, about, cells, seen, fingerprint(seen), store, resident, weights)
    with timing.recording() as scoring, timing.phase("score"):
        scored = task.score(embedding, cells.adata, seeds=seeds)
    return Result(
        task=task.name,
        parameters=asdict(task),  # type: ignore[call-overload]
        headline=list(task.headline),
        seeds=list(seeds),
        pairing=key_of(task=task.name, parameters=asdict(task), cells=cells.sha256, seeds=list(seeds), n=N_RESAMPLES),  # type: ignore[call-overload]
        dataset=cells.record,
        model=_model_record(embedding, seeds[0]),
        readable=ReadableRecord(**{key: getattr(readable, key) for key in ReadableRecord.model_fields}),
        scores=scored.scores,
        details=scored.details,
        seconds=_seconds(embedding.facts, score=scoring["score"]),
        peak_memory_bytes=_peaks(embedding.facts),
        from_store=all(embedding.from_store),
        notes=scored.notes + _notes(about, cells),
    )


def lacking_keys(about: Card, dataset: Dataset) -> str:
    """Return which keys the model needs and the dataset does not have, in words; empty when none is missing."""
    missing = [key for key in about.needs if key not in dataset.keys]
    return f"{about.name} needs a {' and a '.join(missing)} key, which {dataset.name} does not have" if missing else ""


def checked(embedding: Any, cells: AnnData, *, name: str) -> NDArray[np.float32]:
    """Return the embedding as float32 once its shape, order, type and finiteness are what a model owes.

    Raises
    ------
    InvalidInputError
        If there is not one finite row per cell, or a table's index is not ``cells.obs_names``.
    """
    asked = f"embedding of {cells.n_obs} cells by {name}"
    index = getattr(embedding, "index", None)
    if index is not None and not cells.obs_names.equals(index):
        raise InvalidInputError(
            asked=asked,
            found="a table whose index is not obs_names in their order",
            remedy="reindex it by cells.obs_names",
        )
    array = np.asarray(embedding)
    if array.ndim != 2 or array.shape[0] != cells.n_obs or array.shape[1] == 0 or array.dtype.kind != "f":
        raise InvalidInputError(
            asked=asked,
            found=f"an array of shape {array.shape} and type {array.dtype}",
            remedy="return floats of shape (n_cells, d), one row per cell in the order of obs_names",
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InvalidInputError(
            asked=asked,
            found=f"{bad.sum()} rows with NaN or infinity, first {', '.join(cells.obs_names[bad][:3])}",
            remedy="return finite values, or refuse the cells that cannot be embedded",
        )
    return array.astype(np.float32)


def adapter_sha256(model: type) -> str:
    """Return the hash of the source files of a model class and of its parents, so that an edit makes embeddings anew."""
    files = {
        inspect.getsourcefile(part) for part in model.__mro__ if part is not object and part.__module__ != "builtins"
    }
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def weights_hash(weights: Path | None) -> str | None:
    """Return the hash of all files of a local weights folder; ``None`` for the pinned revision of the card."""
    if weights is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(path for path in weights.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(weights)).encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _view(model: type, about: Card, cells: Cells, *, weights: Path | None) -> tuple[AnnData, Readable]:
    vocabulary = None
    if not missing_methods(model, VocabularyReader) and weights is not None:
        vocabulary = model.vocabulary(weights)  # type: ignore[attr-defined]
    seen, readable = view(
        cells.adata,
        gene_ids=about.gene_ids,
        source_gene_ids=cells.dataset.gene_ids,
        vocabulary=vocabulary,
        keep=("batch", *about.sees),
    )
    require_readable(readable, model=about.name, dataset=cells.dataset.name)
    return seen, readable


def _model_record(embedding: _Embedding, seed: int) -> ModelRecord:
    about, facts = embedding.card, embedding.facts[0]
    return ModelRecord(
        name=about.name,
        role=about.role,
        revision=about.revision,
        licence=about.licence,
        citation=about.citation,
        trained_here=about.trained_here,
        weights_sha256=facts["weights_sha256"],
        n_parameters=facts["n_parameters"],
        parameters=embedding._parameters(seed),
        adapter_sha256=adapter_sha256(embedding.model),
        saw_dataset_in_pretraining=_saw(about, embedding.cells),
    )


def _saw(about: Card, cells: Cells) -> bool:
    return about.name in cells.dataset.seen_by or cells.dataset.name in about.pretrained_on


def _notes(about: Card, cells: Cells) -> list[str]:
    if _saw(about, cells):
        return [f"{about.name} saw {cells.dataset.name} in pretraining"]
    return []


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


def _categories(obs: Any, key: str) -> int | None:
    return int(obs[key].nunique()) if key in obs else None

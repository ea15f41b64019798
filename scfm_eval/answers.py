"""What a model answers on a dataset: what it is asked, what is checked, how the answer is kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards, timing
from scfm_eval.answered import columns_again, own_rows
from scfm_eval.blame import blamed_on, owed
from scfm_eval.cells import Cells, genes_as_read
from scfm_eval.datasets.genes import resolve
from scfm_eval.datasets.view import fingerprint, measured_names
from scfm_eval.device import Resident, accepted, fitting, fitting_cells, peak_memory, told_of_memory
from scfm_eval.environment import versions
from scfm_eval.errors import FailedModelError, UnknownGeneError
from scfm_eval.fits import Fit, Rows
from scfm_eval.models.card import Card
from scfm_eval.models.protocols import (
    Effect,
    FineTuning,
    LabelTrainable,
    Pretrained,
    Reconstruction,
    ToldOfGenes,
    Trainable,
    completed,
    learns_here,
    missing_methods,
)
from scfm_eval.owed import (
    checked,
    checked_genes,
    checked_history,
    checked_labels,
    checked_layers,
    checked_own_labels,
    checked_pairs,
    checked_profiles,
    checked_reconstruction,
)
from scfm_eval.provenance import adapter_sha256, weights_hash
from scfm_eval.spread import require_spread
from scfm_eval.store import Made, Store, Stored, hash_of, key_of
from scfm_eval.tasks.predictions import packed, unpacked
from scfm_eval.tasks.task import FineTuned

_MADE_WITH = (
    "harmonypy", "numpy", "peft", "scanorama", "scanpy", "scikit-learn", "scikit-misc", "scvi-tools", "torch",
    "transformers",
)  # fmt: skip

Mask = NDArray[np.bool_]
T = TypeVar("T")

OF_A_PART = ", learned from training cells"
"""What the name of an answer in ``Result.arrays`` ends in where it is not the answer for all cells alike."""


@dataclass
class StoredAnswers:
    """One model's answers on one dataset, made when asked for and kept in the store.

    Parameters
    ----------
    model, card
        The class and what it says about itself.
    cells, view
        The dataset, and what the model is given of it.
    store, resident
        Where arrays are kept, and what holds the loaded model.
    weights
        Folder of weights; ``None`` for a model without.
    facts, from_store
        What is known of the making of each answer that was used, and whether it had been made before.
    arrays
        Key in the store of the first answer of each kind; :data:`OF_A_PART` after the kind of one that learned from
        some cells only.
    each
        The answers of each member of an ensemble; empty for any other model.
    """

    model: type
    card: Card
    cells: Cells
    view: AnnData
    store: Store
    resident: Resident
    weights: Path | None
    facts: list[dict[str, Any]] = field(default_factory=list)
    from_store: list[bool] = field(default_factory=list)
    arrays: dict[str, str] = field(default_factory=dict)
    each: tuple[StoredAnswers, ...] = ()

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.view)

    @cached_property
    def _weights_hash(self) -> str | None:
        return weights_hash(self.model, self.weights)

    @cached_property
    def _vocabulary(self) -> frozenset[str] | None:
        pretrained = self.can(Pretrained) and self.weights is not None
        return frozenset(self.model.vocabulary(self.weights)) if pretrained else None  # type: ignore[attr-defined]

    @cached_property
    def _measured(self) -> dict[str, str | None]:
        """The model's name of each measured gene, as in its view."""
        renamed = self._renamed(self.cells.adata.var)
        return measured_names(
            self.cells.adata,
            gene_ids=self.card.gene_ids,
            source_gene_ids=self.cells.dataset.gene_ids,
            vocabulary=self._vocabulary,
            read_as=renamed,
        )

    def members(self) -> tuple[StoredAnswers, ...]:
        """Return the answers of each member of an ensemble; of any other model, only its own."""
        return self.each or (self,)

    def can(self, capability: type) -> bool:
        """Whether the model has the methods of a protocol."""
        return not missing_methods(self.model, capability)

    def embed(self, *, seed: int, train: Mask | None = None) -> NDArray[np.float32]:
        """Return the embedding of all cells ``(n_cells, d)``; what learns here has seen the cells in ``train`` only."""
        return self.embed_rows(seed=seed, train=train).values

    def embed_rows(self, *, seed: int, train: Mask | None = None) -> Rows:
        """Return the same by the places of the cells, with the cells that what learns here really saw."""
        learns = learns_here(self.model)
        seen = train if learns else None

        def make(model: Any) -> Made:
            with timing.phase("fit"):
                saw = self._fit(model, seen)
            with timing.phase("forward"):
                embedding = _joined(self._in_parts(model, model.embed))
            rows = self._owed(checked, embedding, self.view)
            self._owed(own_rows, [rows], lambda few: [model.embed(few)], self.view, of=self.model, given=embedding)
            return [rows], {"train": _count(seen), "saw": saw}

        labels = self._hash_of("label", seen) if self.can(LabelTrainable) else None
        kept = self._kept("embed", make, seed=seed, learns=learns, train=hash_of(seen), labels=labels)
        self._owed(require_spread, kept.arrays[0], self.view, self.cells.adata.obs)
        return Rows(kept.arrays[0], np.arange(self.view.n_obs), fits=self._fits(kept))

    def embed_layers(self, *, seed: int) -> list[NDArray[np.float32]]:
        """Return the embedding of all cells at each layer, ``(n_cells, d)``, the input first."""

        def make(model: Any) -> Made:
            with timing.phase("forward"):
                parts = self._in_parts(model, model.embed_layers)
                layers = parts[0] if len(parts) == 1 else [_joined(layer) for layer in zip(*parts, strict=True)]
            made = self._owed(checked_layers, layers, self.view)
            self._owed(own_rows, made, model.embed_layers, self.view, of=self.model, given=layers[0])
            return [*made], {}

        return self._kept("embed_layers", make, seed=seed).arrays

    def embed_genes(
        self, genes: Sequence[str], *, seed: int, truth: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return one row per gene, named as in the dataset ``(n_genes, d)``; NaN for a gene without a vector.

        What learns here has seen all cells; ``truth`` ``(n_genes, n)`` is shown to a control that is told of genes.
        """
        known, place = self._known(genes)
        if not known:
            return np.full((len(genes), 1), np.nan, dtype=np.float32)
        learns, told = learns_here(self.model), self._told(truth)

        def make(model: Any) -> Made:
            if learns:
                with timing.phase("fit"):
                    self._fit(model, None)
            if told is not None:
                model.tell_genes(list(genes), truth=told)
            with timing.phase("forward"):
                made = model.embed_genes(known)
            return [self._owed(checked_genes, made, known)], {}

        arguments: dict[str, Any] = {"genes": known} | ({} if told is None else {"told": hash_of(told)})
        rows = self._kept("embed_genes", make, seed=seed, learns=learns, **arguments).arrays[0]
        vectors = np.full((len(genes), rows.shape[1]), np.nan, dtype=np.float32)
        vectors[place >= 0] = rows[place[place >= 0]]
        return vectors

    def score_gene_pairs(
        self, genes: Sequence[str], *, rows: NDArray[np.intp], seed: int, truth: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return ``(n_genes, n_genes)`` from the cells in ``rows``: how much the row's gene decides the column's.

        NaN on the diagonal and for a pair without a score; ``truth`` as for :meth:`embed_genes`.
        """
        known, place = self._known(genes)
        scores = np.full((len(genes), len(genes)), np.nan, dtype=np.float32)
        if not known:
            return scores
        told = self._told(truth)

        def make(model: Any) -> Made:
            few = self.view[rows].copy()
            before = fingerprint(few)
            if told is not None:
                model.tell_genes(list(genes), truth=told)
            with timing.phase("forward"):
                made = fitting(model, lambda: model.score_gene_pairs(few, genes=known))
            self._check_unchanged(few, before)
            return [self._owed(checked_pairs, made, known)], {}

        arguments: dict[str, Any] = {"genes": known, "rows": hash_of(rows), "told": hash_of(told)}
        made = self._kept("score_gene_pairs", make, seed=seed, **arguments).arrays[0]
        there = np.flatnonzero(place >= 0)
        scores[np.ix_(there, there)] = made[np.ix_(place[there], place[there])]
        return scores

    def reconstruct_layers(self, *, seed: int, rows: NDArray[np.intp]) -> Reconstruction:
        """Return what the model's expression head gives on each layer for the cells in ``rows``."""

        def make(model: Any) -> Made:
            with timing.phase("forward"):
                found = fitting(model, lambda: model.reconstruct_layers(self.view[rows].copy()))
            made = self._owed(checked_reconstruction, found, n_cells=len(rows))
            return [made.target, made.cell, made.layers], {}

        return Reconstruction(*self._kept("reconstruct_layers", make, seed=seed, rows=hash_of(rows)).arrays)

    def annotate(self, *, seed: int) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the model's own labels ``(C,)``, and the probability of each for all cells ``(n_cells, C)``."""

        def make(model: Any) -> Made:
            with timing.phase("forward"):
                said = fitting(model, lambda: model.annotate(self.view))
            names, shares = self._owed(checked_own_labels, *said, n_cells=self.view.n_obs)
            self._owed(own_rows, [shares], partial(columns_again, model.annotate, names), self.view, of=self.model)
            return [names, shares], {}

        labels, probabilities = self._kept("annotate", make, seed=seed).arrays
        return labels, probabilities

    def perturb(
        self, *, seed: int, rows: NDArray[np.intp], genes: Sequence[str], effect: Effect
    ) -> NDArray[np.float32]:
        """Return the embedding ``(n_rows, d)`` of cells whose genes, named as in the dataset, were perturbed.

        Raises
        ------
        UnknownGeneError
            The model does not know one of the genes.
        """
        names = self._named(genes)
        unknown = [gene for gene, name in zip(genes, names, strict=True) if name is None]
        if unknown:
            raise UnknownGeneError(
                asked=f"{effect} of {'+'.join(genes)} in {self.card.name}",
                found=f"no gene of the model is called {', '.join(unknown)}",
                remedy="leave this perturbation out",
            )

        def make(model: Any) -> Made:
            few = self.view[rows].copy()
            before = fingerprint(few)
            with timing.phase("forward"):
                made = fitting(model, lambda: model.perturb(few, genes=names, effect=effect))
            self._check_unchanged(few, before)
            return [self._owed(checked, made, few)], {}

        return self._kept("perturb", make, seed=seed, rows=hash_of(rows), genes=names, effect=effect).arrays[0]

    def predict_perturbations(self, conditions: Sequence[str], *, train: Mask, seed: int) -> NDArray[np.float32]:
        """Return mean expression ``(n_conditions, n_genes)``, learned from the cells in ``train``; NaN: no answer.

        Raises
        ------
        InvalidInputError
            The model reads other genes than the dataset's, or gives an array of another shape.
        """
        return self.predict_rows(conditions, train=train, seed=seed).values

    def predict_rows(self, conditions: Sequence[str], *, train: Mask, seed: int) -> Rows:
        """Return the same by the names of the conditions, with the cells that the model really saw."""
        keys = [key for key in ("perturbation", "context") if key in self.cells.adata.obs]

        def make(model: Any) -> Made:
            seen = self.view[train].copy()
            for key in keys:
                seen.obs[key] = self.cells.adata.obs[key][train].cat.remove_unused_categories()
            with timing.phase("fit"):
                model.fit_perturbations(seen)
            with timing.phase("forward"):
                made = model.predict_perturbations(list(conditions))
            n_genes = self.cells.adata.n_vars
            profiles = self._owed(checked_profiles, made, conditions, n_genes=n_genes)
            return [profiles], {"train": _count(train), "saw": self._saw("the fit", seen)}

        shown = [self._hash_of(key, train) for key in keys]
        arguments = {"conditions": list(conditions), "shown": shown, "train": hash_of(train)}
        kept = self._kept("predict_perturbations", make, seed=seed, learns=True, **arguments)
        return Rows(kept.arrays[0], np.array(conditions, dtype=np.str_), fits=self._fits(kept), of="conditions")

    def fine_tune(
        self, *, labels: NDArray[np.str_], train: Mask, validation: Mask, test: Mask, how: FineTuning, seed: int
    ) -> FineTuned:
        """Return what the model says of ``test`` after it learned from ``train`` and chose on ``validation``."""
        how = completed(how, model=self.model)
        parts = [hash_of(part) for part in (train, validation, test)]
        arguments = {"parts": parts, "labels": hash_of(labels[train | validation]), "how": asdict(how), "of_seed": seed}
        name = key_of(**arguments, **self._made_of(seed))

        def make(model: Any) -> Made:
            learned_from, chosen_by = self.view[train].copy(), self.view[validation].copy()
            saw = self._saw("fine-tuning", learned_from) | self._saw("the choice of the epoch", chosen_by)
            with timing.phase("fit"):
                told = model.fine_tune(
                    learned_from,
                    labels=labels[train],
                    validation=chosen_by,
                    validation_labels=labels[validation],
                    how=how,
                    seed=seed,
                    folder=self.store.unfinished(name),
                )
            history = self._owed(checked_history, told)
            with timing.phase("forward"):
                said = model.predict_labels(self.view[test].copy())
            known, n_cells = labels[train], int(test.sum())
            made = self._owed(checked_labels, *said, known=known, n_cells=n_cells)
            again = partial(columns_again, model.predict_labels, made[0])
            self._owed(own_rows, made[1:], again, self.view[test], of=self.model)
            self.store.finish(name)
            return list(made), {"history": history, "saw": saw}

        kept = self._kept("fine_tune", make, seed=seed, learns=True, **arguments)
        return FineTuned(kept.arrays[0], kept.arrays[1], kept.facts["history"], self._fits(kept))

    def parameters(self, seed: int) -> dict[str, Any]:
        """Return the constructor arguments that decide what is computed, defaults included."""
        defaults = {name: known.default for name, known in inspect.signature(self.model).parameters.items()}
        taken = defaults | accepted(self.model, {**self.resident.settings, "seed": seed})
        # the device and the way to the weights do not change what is computed, nor does a batch that nobody chose
        beside = ["device", "weights", "offline", *(["batch_size"] if taken.get("batch_size") is None else [])]
        plain = {name: value for name, value in taken.items() if name not in beside and _is_plain(value)}
        # what a declaration hands to a script under another Python
        return plain | getattr(getattr(self.model, "declaration", None), "arguments", {})

    def _made_of(self, seed: int) -> dict[str, Any]:
        return {
            "view": self._fingerprint,
            "model": [self.card.name, self.card.revision, self.model.__module__, self.model.__qualname__],
            "versions": versions(_MADE_WITH),
            "adapter": adapter_sha256(self.model),
            "weights": self._weights_hash,
            "parameters": self.parameters(seed),
            # what a guard would have refused is never taken for an answer that it has seen
            **({"without_guards": guards.switched_off()} if guards.switched_off() else {}),
        }

    def _kept(
        self, capability: str, make: Callable[[Any], Made], *, seed: int, learns: bool = False, **arguments: Any
    ) -> Stored:
        """Return an answer from the store, or have a loaded model make it; one that learns is loaded for itself."""
        device = self.resident.settings.get("device") if learns else None
        made_of = self._made_of(seed) | ({"keeps": "what fits saw"} if learns else {})
        key = key_of(capability=capability, arguments=arguments, device=device, **made_of)
        stored: Stored = self.store.get(key, lambda: self._make(make, seed=seed, learns=learns))
        self.arrays.setdefault(capability + (OF_A_PART if arguments.get("train") else ""), key)
        for one in stored.facts.get("found", []):
            guards.tell(one["guard"], **{part: one[part] for part in ("asked", "found", "remedy")})
        if stored.facts not in self.facts:
            self.facts.append(stored.facts)
            self.from_store.append(stored.was_there)
        return stored

    def _make(self, make: Callable[[Any], Made], *, seed: int, learns: bool) -> Made:
        own = {"seed": seed} | ({"weights": self.weights} if self.weights is not None else {})
        with timing.recording() as seconds, peak_memory() as peak:
            with timing.phase("load"):
                model = self.resident.load(self.model, name=self.card.name, fresh=learns, **own)
            try:
                with blamed_on(self.card.name, asked="an answer"), told_of_memory(self.resident.batch_size) as divided:
                    with guards.listening() as found:
                        arrays, facts = make(model)
                    about = _about(model) | {"notes": divided(model), "found": [asdict(one) for one in found]}
                self._check_unchanged(self.view, self._fingerprint, elsewhere=getattr(model, "changed_cells", False))
            except FailedModelError:
                # what failed once may be in any state
                self.resident.free()
                raise
        # a model in another process has its memory there
        memory = getattr(model, "peak_memory_bytes", None) or dict(peak)
        if learns:
            self.resident.free()
        return arrays, {"seconds": seconds, "peak_memory_bytes": memory} | about | facts

    def _in_parts(self, model: Any, ask: Callable[[AnnData], Any]) -> list[Any]:
        """Return the answer for all cells, or for parts of them where memory runs out and cells are independent."""
        if self.card.transductive or getattr(model, "batch_decides", False):
            return [fitting(model, lambda: ask(self.view))]
        return fitting_cells(model, ask, self.view)

    def _owed(self, check: Callable[..., T], *answer: Any, **against: Any) -> T:
        """Return what a check makes of an answer; one that is refused is a failure of the model."""
        with owed():
            return check(*answer, name=self.card.name, **against)

    def _hash_of(self, key: str, seen: Mask | None) -> str | None:
        return None if seen is None else hash_of(self.cells.adata.obs[key].astype(str).to_numpy(dtype=np.str_)[seen])

    def _named(self, genes: Sequence[str]) -> list[str | None]:
        """Return the model's own name of each gene of the dataset; ``None`` for one that it cannot have."""
        if self.card.gene_ids is None:
            return list(genes)
        renamed = self._renamed(pd.DataFrame(index=list(genes)))
        others = resolve(
            list(genes if renamed is None else renamed.index),
            source=self.cells.dataset.gene_ids,
            target=self.card.gene_ids,
            vocabulary=self._vocabulary,
        ).targets
        return [self._measured.get(gene) or other or None for gene, other in zip(genes, others, strict=True)]

    def _renamed(self, genes: pd.DataFrame) -> pd.DataFrame | None:
        """Return genes under their names in the model's organism, where the dataset is of another one."""
        renamed = genes_as_read(self.card, self.cells, genes, vocabulary=self._vocabulary)
        return renamed.names if renamed else None

    def _known(self, genes: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
        """Return the model's own names of the genes that it can have, each once, and which one each gene is, or -1."""
        names = self._named(genes)
        known = list(dict.fromkeys(name for name in names if name is not None))
        numbers = {name: number for number, name in enumerate(known)}
        return known, np.array([-1 if name is None else numbers[name] for name in names], dtype=np.intp)

    def _told(self, truth: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        return truth if self.card.role == "control" and self.can(ToldOfGenes) else None

    def _check_unchanged(self, cells: AnnData, before: str, *, elsewhere: bool = False) -> None:
        if elsewhere or fingerprint(cells) != before:
            raise FailedModelError(
                asked=f"answers of {self.card.name} on {self.cells.dataset.name}",
                found="the model has changed the cells that it was given",
                remedy="work on a copy: `cells = cells.copy()`",
            )

    def _saw(self, name: str, cells: AnnData) -> dict[str, str]:
        """Return which cells of the view are handed to a fit, by what these say themselves, as it is kept."""
        return {f"{name} of {self.card.name}": packed(self.view.obs_names.isin(cells.obs_names))}

    def _fits(self, kept: Stored) -> tuple[Fit, ...]:
        saw = {name: unpacked(text, n_cells=self.view.n_obs) for name, text in kept.facts.get("saw", {}).items()}
        return tuple(Fit(name, np.flatnonzero(places)) for name, places in saw.items())

    def _fit(self, model: Any, train: Mask | None) -> dict[str, str]:
        """Have a model learn what it has to learn here, and return which cells it was given for that."""
        cells = self.view if train is None else self.view[train].copy()
        if self.can(LabelTrainable) and train is not None:
            labels = self.cells.adata.obs["label"].to_numpy()[train].astype(str)
            model.fit_with_labels(cells, labels=labels)
        elif self.can(Trainable):
            model.fit(cells)
        else:
            return {}
        return self._saw("the fit", cells)


def _about(model: Any) -> dict[str, Any]:
    return {key: getattr(model, key, None) for key in ("n_parameters", "weights_sha256", "loaded_share")}


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return pd.concat(parts) if isinstance(parts[0], pd.DataFrame) else np.concatenate(parts)


def _count(mask: Mask | None) -> int | None:
    return None if mask is None else int(mask.sum())


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))

"""Embeddings of a dataset by a model: what the model is given, what is checked, how it is kept."""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import timing
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.view import Readable, fingerprint, require_readable, view
from scfm_eval.device import Resident, accepted, fitting, peak_memory
from scfm_eval.environment import versions
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Card, LabelTrainable, Pretrained, Trainable, missing_methods
from scfm_eval.results import DatasetRecord
from scfm_eval.store import Made, Store, Stored, key_of

_MADE_WITH = (
    "harmonypy", "numpy", "scanorama", "scanpy", "scikit-learn", "scikit-misc", "scvi-tools", "torch", "transformers",
)  # fmt: skip


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
class Embedding:
    """One model's embeddings of one dataset, made when asked for and kept in the store.

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
        What is known of the making of each array that was used, and whether it had been made before.
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

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.view)

    @cached_property
    def _weights_hash(self) -> str | None:
        return weights_hash(self.model, self.weights)

    def __call__(self, *, seed: int, train: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return the embedding of all cells ``(n_cells, d)``; what learns here has seen the cells in ``train`` only."""
        seen = train if learns_here(self.model) else None
        key = key_of(
            view=self._fingerprint,
            train=None if seen is None else hashlib.sha256(np.packbits(seen).tobytes()).hexdigest(),
            labels=self._labels_hash(seen),
            model=[self.card.name, self.card.revision, self.model.__module__, self.model.__qualname__],
            versions=versions(_MADE_WITH),
            device=self.resident.settings.get("device") if learns_here(self.model) else None,
            adapter=adapter_sha256(self.model),
            weights=self._weights_hash,
            parameters=self.parameters(seed),
            capability="embed",
        )
        stored: Stored = self.store.get(key, lambda: self._make(seed=seed, train=seen))
        if stored.facts not in self.facts:
            self.facts.append(stored.facts)
            self.from_store.append(stored.was_there)
        return stored.arrays[0]

    def parameters(self, seed: int) -> dict[str, Any]:
        """Return the constructor arguments that decide what is computed, defaults included."""
        defaults = {name: known.default for name, known in inspect.signature(self.model).parameters.items()}
        taken = defaults | accepted(self.model, {**self.resident.settings, "seed": seed})
        # the device, the batch and the way to the weights do not change what is computed
        beside = ("device", "weights", "offline", "batch_size")
        return {name: value for name, value in taken.items() if name not in beside and _is_plain(value)}

    def _labels_hash(self, seen: NDArray[np.bool_] | None) -> str | None:
        if seen is None or missing_methods(self.model, LabelTrainable):
            return None
        return hashlib.sha256("\0".join(self.cells.adata.obs["label"].astype(str)[seen]).encode()).hexdigest()

    def _make(self, *, seed: int, train: NDArray[np.bool_] | None) -> Made:
        own = {"seed": seed} | ({"weights": self.weights} if self.weights is not None else {})
        with timing.recording() as seconds, peak_memory() as peak:
            with timing.phase("load"):
                model = self.resident.load(self.model, name=self.card.name, fresh=learns_here(self.model), **own)
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
        if learns_here(self.model):
            self.resident.free()
        self._check_unchanged()
        return [checked(embedding, self.view, name=self.card.name)], facts

    def _check_unchanged(self) -> None:
        if fingerprint(self.view) != self._fingerprint:
            raise InvalidInputError(
                asked=f"embedding of {self.cells.dataset.name} by {self.card.name}",
                found="the model has changed the cells that it was given",
                remedy="work on a copy: `cells = cells.copy()`",
            )

    def _fit(self, model: Any, train: NDArray[np.bool_] | None) -> None:
        cells = self.view if train is None else self.view[train].copy()
        if not missing_methods(self.model, LabelTrainable) and train is not None:
            labels = self.cells.adata.obs["label"].to_numpy()[train].astype(str)
            model.fit_with_labels(cells, labels=labels)
        elif not missing_methods(self.model, Trainable):
            model.fit(cells)


def checked(embedding: Any, cells: AnnData, *, name: str) -> NDArray[np.float32]:
    """Return the embedding as float32 once its shape, order, type and finiteness are what a model owes.

    Raises
    ------
    InvalidInputError
        If there is not one finite row per cell, or a table's index is not ``cells.obs_names``.
    """
    asked = f"embedding of {cells.n_obs} cells by {name}"
    if isinstance(embedding, pd.DataFrame) and not cells.obs_names.equals(embedding.index):
        raise InvalidInputError(
            asked=asked,
            found="a table whose index is not obs_names in their order",
            remedy="reindex it by cells.obs_names",
        )
    array = np.asarray(embedding)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
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
    return array


def learns_here(model: type) -> bool:
    """Whether the method learns from the dataset itself, from cells alone or from labels of training cells too."""
    return not missing_methods(model, Trainable) or not missing_methods(model, LabelTrainable)


@cache
def adapter_sha256(model: type) -> str:
    """Return the hash of a model's source, so that an edit makes embeddings anew.

    For a class of this package: its file, those of its parents, and what these import from this package. For any other
    class: every Python file of the folder that the class's file is in, and of the folders below where it is a package.
    Weights that a class opens by itself are not seen: they have to come through ``weights``.
    """
    own = {sys.modules[part.__module__] for part in model.__mro__ if part.__module__ not in ("builtins", "typing")}
    files = {Path(module.__file__) for module in own if module.__file__}
    for module in own:
        used = {
            str(getattr(value, "__module__", None) or getattr(value, "__name__", "")) for value in vars(module).values()
        }
        files |= {Path(str(sys.modules[name].__file__)) for name in used if name.startswith("scfm_eval.")}
        if not module.__name__.startswith("scfm_eval."):
            files |= _beside(Path(str(module.__file__)))
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _imported(module: ModuleType) -> set[str]:
    return {str(getattr(v, "__module__", None) or getattr(v, "__name__", "")) for v in vars(module).values()}


def _beside(file: Path) -> set[Path]:
    folder = file.parent
    return set(folder.rglob("*.py") if (folder / "__init__.py").exists() else folder.glob("*.py"))


def weights_hash(model: type, weights: Path | None) -> str | None:
    """Return the hash of the files that decide what the weights compute; ``None`` for a model without weights."""
    if weights is None:
        return None
    if not missing_methods(model, Pretrained):
        files = model.sources(weights)  # type: ignore[attr-defined]
    else:
        files = [weights] if weights.is_file() else sorted(path for path in weights.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def weights_folder(model: type, weights: Path | None, *, offline: bool) -> Path | None:
    """Return the folder of a pretrained model's weights, fetched if need be; ``None`` for a model without weights."""
    if missing_methods(model, Pretrained):
        _check_given(model, weights)
        return weights
    folder: Path = model.locate(weights, offline=offline)  # type: ignore[attr-defined]
    return folder


def _check_given(model: type, weights: Path | None) -> None:
    takes = "weights" in inspect.signature(model).parameters
    if weights is not None and not (takes and weights.exists()):
        raise InvalidInputError(
            asked=f"{model.__name__} with the weights {weights}",
            found="no such file or folder" if takes else "its constructor takes no `weights`",
            remedy="give a path that is there" if takes else "add the keyword argument `weights` to the class",
        )


def model_view(model: type, about: Card, cells: Cells, *, weights: Path | None) -> tuple[AnnData, Readable]:
    """Return what the model is given of the cells, and how much of them it can read.

    Raises
    ------
    InvalidInputError
        If it can read less than a tenth of the counts.
    """
    pretrained = not missing_methods(model, Pretrained) and weights is not None
    vocabulary = model.vocabulary(weights) if pretrained else None  # type: ignore[attr-defined]
    seen, readable = view(
        cells.adata,
        gene_ids=about.gene_ids,
        source_gene_ids=cells.dataset.gene_ids,
        vocabulary=vocabulary,
        keep=("batch", *about.sees),
    )
    require_readable(readable, model=about.name, dataset=cells.dataset.name)
    return seen, readable


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _categories(obs: Any, key: str) -> int | None:
    return int(obs[key].nunique()) if key in obs else None

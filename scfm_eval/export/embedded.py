"""One model's embedding in the user's own file, with what it was made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from scfm_eval import guards
from scfm_eval.about_models import mapped
from scfm_eval.answers import StoredAnswers
from scfm_eval.cells import Cells, model_view
from scfm_eval.datasets.dataset import Dataset, read_h5ad
from scfm_eval.datasets.view import Readable
from scfm_eval.device import Resident
from scfm_eval.environment import versions
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import lacking_keys
from scfm_eval.models.card import Card, card
from scfm_eval.models.options import other_options
from scfm_eval.models.protocols import Embedder
from scfm_eval.provenance import adapter_sha256, weights_folder
from scfm_eval.store import Store
from scfm_eval.tasks.task import lacks, learns_labels

_PACKAGES = ("anndata", "numpy", "scfm-eval", "torch", "transformers")


def embedded(
    dataset: Dataset,
    model: type,
    *,
    weights: Path | None,
    store: Store,
    resident: Resident,
    key: str = "",
    seed: int = 0,
    orthologs: str = "",
) -> tuple[AnnData, str]:
    """Return the cells with the embedding of one model in ``obsm``, and its key there.

    Parameters
    ----------
    dataset, model
        The cells, and the class.
    weights
        Folder of weights; default what the model's own class finds.
    store, resident
        Where the answer is kept, and what holds the loaded model.
    key
        Name in ``obsm``; default ``X_<name of the model>``.
    seed
        Of what is drawn, and of methods that learn from these very cells.
    orthologs
        Table by which genes of another organism are read; see :class:`~scfm_eval.cells.Cells`.

    Returns
    -------
    For a file of the user all that is in it, else the dataset's cells in canonical form, with float32
    ``obsm[key]`` ``(n_cells, d)`` in the order of its cells and ``uns["scfm_eval"][key]``: what made it.

    Raises
    ------
    InvalidInputError
        The model has no embedding, needs labels or a key that the dataset lacks, or cannot read the genes; or there is
        an array of that name.
    """
    about = card(model)
    key = key or f"X_{about.name.replace('/', '_')}"
    _check(model, about, dataset)
    cells = Cells(dataset, dataset.load(offline=bool(resident.settings.get("offline"))), orthologs=orthologs)
    whole = read_h5ad(dataset.path) if dataset.path is not None else cells.adata.copy()
    _require_free(whole, key)
    folder = weights_folder(model, weights, offline=bool(resident.settings.get("offline")))
    with guards.listening() as found:
        seen, readable = model_view(model, about, cells, weights=folder)
        answers = StoredAnswers(model, about, cells, seen, store, resident, folder)
        rows = cells.adata.obs_names.get_indexer(whole.obs_names.astype(str))
        # by name, and a plain array: the store gives a memory map
        whole.obsm[key] = np.array(answers.embed(seed=seed)[rows])
    made = _what_made_it(answers, readable, seed=seed) | {
        "guards_off": json.dumps(guards.switched_off()),
        "found": json.dumps([str(finding) for finding in (*cells.findings, *found)]),
    }
    whole.uns["scfm_eval"] = {**whole.uns.get("scfm_eval", {}), key: made}
    return whole, key


def _check(model: type, about: Card, dataset: Dataset) -> None:
    refusal = lacks(model, Embedder) or lacking_keys(about, dataset)
    refusal = refusal or ("it learns from labels" if learns_labels(model) else "")
    if refusal:
        raise InvalidInputError(
            asked=f"an embedding of {dataset.name} by {about.name}", found=refusal, remedy="choose another model"
        )


def _what_made_it(answers: StoredAnswers, readable: Readable, *, seed: int) -> dict[str, Any]:
    """Return what an h5ad can keep: numbers and texts, what is nested as JSON."""
    about, told = answers.card, readable.orthologs
    return {
        "model": about.name,
        "revision": about.revision,
        "licence": about.weights_licence or about.licence,
        "definition": about.definition,
        "exceptions": json.dumps(dict(about.exceptions)),
        "options": json.dumps(other_options(answers.model)),
        "parameters": json.dumps(answers.parameters(seed)),
        "note": getattr(answers.model, "note", ""),
        "weights_sha256": answers.facts[0].get("weights_sha256") or "",
        "adapter_sha256": adapter_sha256(answers.model),
        "cells_sha256": answers.cells.sha256,
        "readable_genes": readable.genes,
        "readable_counts": readable.counts,
        "genes_read_as": "" if told is None else mapped(told, dataset=answers.cells.dataset.name),
        "orthologs": "" if told is None else told.model_dump_json(),
        "learned_from_these_cells": about.trained_here,
        "versions": json.dumps(versions(_PACKAGES)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _require_free(cells: AnnData, key: str) -> None:
    """Refuse a name in ``obsm`` that an h5ad cannot have, or that is taken."""
    wrong = "a /, which no name in an h5ad may have" if "/" in key else "an array of that name"
    if "/" in key or key in cells.obsm:
        raise InvalidInputError(
            asked=f"an embedding in obsm[{key!r}]", found=wrong, remedy="give another name: --key NAME"
        )

"""The layout of an embedding in two dimensions, to be looked at; no score is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scfm_eval.answers import StoredAnswers
from scfm_eval.environment import versions
from scfm_eval.models.protocols import Embedder, LabelTrainable, learns_here
from scfm_eval.results import Result
from scfm_eval.store import key_of
from scfm_eval.tasks.labelled import Labelled
from scfm_eval.tasks.predictions import predictions

_MOST, _FEWEST = 1000, 10
_UMAP = {"n_components": 2, "n_neighbors": 15, "min_dist": 0.3, "metric": "euclidean"}


def with_layout(result: Result, answers: StoredAnswers) -> Result:
    """Return the result of a labelled dataset with a UMAP of at most 1,000 of its labelled cells.

    The cells are drawn by dataset and seed only: they are the same for every model. A method that learns here shows
    the embedding that learned from all cells, which a note says; one that learns from labels has no layout, since
    it would show labels that it was given. Costs of the layout are not in the result's costs.

    Parameters
    ----------
    result
        What was measured; predictions in it are marked right or wrong.
    answers
        The answers that it was measured from.

    Returns
    -------
    A copy with ``details["layout"]``: ``cells`` (rows of the dataset), ``x``, ``y``, ``label`` (places in ``labels``),
    ``batch`` (places in ``batches``), ``wrong`` (0 or 1). What is not known of ``batch`` and ``wrong`` is ``None``.
    """
    cells, seed = answers.cells.adata, result.seeds[0]
    if not answers.can(Embedder):
        return _noted(result, "no layout: it has no embedding of its own")
    if answers.can(LabelTrainable):
        return _noted(result, "no layout: it learns from labels, and would show those that it was given")
    rows = _drawn(Labelled.of(cells).among_all, sha256=result.dataset.sha256, seed=seed)
    if len(rows) < _FEWEST:
        return _noted(result, f"no layout: {len(rows)} labelled cells are too few")
    places = _places(answers, rows, seed=seed)
    if not np.isfinite(places).all():
        return _noted(result, "no layout: UMAP found no place for some cells")
    labels, label = _coded(cells.obs["label"].to_numpy()[rows].astype(str))
    batches, batch = _coded(cells.obs["batch"].to_numpy()[rows].astype(str)) if "batch" in cells.obs else (None, None)
    layout = {
        "cells": rows.tolist(),
        "x": [round(float(x), 3) for x in places[:, 0]],
        "y": [round(float(y), 3) for y in places[:, 1]],
        "label": label,
        "labels": labels,
        "batch": batch,
        "batches": batches,
        "wrong": _wrong(result, rows, truth=cells.obs["label"].to_numpy()[rows].astype(str)),
    }
    made = result.model_copy(update={"details": result.details | {"layout": layout}, "arrays": answers.arrays})
    learned = "the layout is of the embedding that learned from all cells, without labels"
    return _noted(made, learned) if learns_here(answers.model) else made


def _drawn(labelled: NDArray[np.bool_], *, sha256: str, seed: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(labelled)
    rng = np.random.default_rng([int(sha256, 16), seed])
    return np.sort(rng.choice(rows, size=min(_MOST, len(rows)), replace=False))


def _places(answers: StoredAnswers, rows: NDArray[np.intp], *, seed: int) -> NDArray[np.float32]:
    embedding = answers.embed(seed=seed)
    made_of = {"umap": _UMAP, "seed": seed, "versions": versions(("umap-learn", "numba", "numpy"))}
    key = key_of(capability="layout", of=answers.arrays["embed"], rows=rows.tolist(), **made_of)
    return answers.store.get(key, lambda: ([_umap(embedding[rows], seed=seed)], made_of)).arrays[0]


def _umap(embedding: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    from umap import UMAP

    how: dict[str, Any] = _UMAP | {"n_neighbors": min(15, len(embedding) - 1)}
    return np.asarray(UMAP(**how, random_state=seed, n_jobs=1).fit_transform(embedding), dtype=np.float32)


def _coded(values: NDArray[np.str_]) -> tuple[list[str], list[int]]:
    names, codes = np.unique(values, return_inverse=True)
    return names.tolist(), codes.tolist()


def _wrong(result: Result, rows: NDArray[np.intp], *, truth: NDArray[np.str_]) -> list[int] | None:
    told = predictions(result)
    if told is None:
        return None
    said = dict(zip(told.rows.tolist(), np.asarray(told.classes)[told.codes].tolist(), strict=True))
    return [int(said.get(row) != true) for row, true in zip(rows.tolist(), truth.tolist(), strict=True)]


def _noted(result: Result, note: str) -> Result:
    return result.model_copy(update={"notes": [*result.notes, note]})

"""The cells of a dataset with what models made of them: embeddings and predicted labels, as one AnnData."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.answers import OF_A_PART
from scfm_eval.atomic import replacing
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.errors import InvalidInputError
from scfm_eval.guards import GUARDS
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.store import Store
from scfm_eval.tasks.predictions import predictions


def annotated(report: Report, dataset: Dataset, *, store: Store) -> tuple[AnnData, list[str]]:
    """Return the cells of a report's dataset with the embeddings and predictions of every model.

    Parameters
    ----------
    report
        The report.
    dataset
        The dataset, loaded anew; a report holds no cells.
    store
        Where the run left its arrays; nothing is made anew.

    Returns
    -------
    A copy of the cells in canonical form (counts in ``X``; ``label``, ``batch`` and the other keys in ``obs``) with
    ``obsm[MODEL]``, ``obs["MODEL predicted"]`` (frozen probe, out of fold) and ``obs["MODEL TASK predicted"]``, both
    missing for cells that were not predicted, a ``/`` in a name being ``_``; and in words what is missing, which
    ``uns["scfm_eval"]`` says too, with the keys of the embeddings, each in a line.

    Raises
    ------
    InvalidInputError
        If the report has nothing of this dataset, or its cells are not those that were measured.
    """
    results = [result for result in report.results if result.dataset.name == dataset.name]
    # as in the run; what this version does not know, it has not got to switch off
    with guards.without(name for name in report.guards_off if name in GUARDS and not GUARDS[name].always):
        cells = Cells(dataset, dataset.load())
    _refuse_others(results, cells, known=datasets_of(report))
    made = cells.adata.copy()
    models = dict.fromkeys(result.model.name for result in results)
    held = set(made.obsm)
    missing = list(
        chain.from_iterable(
            _embed(made, name, [result for result in results if result.model.name == name], store) for name in models
        )
    )
    missing += chain.from_iterable(_predict(made, result) for result in results)
    said = {"embedded": [key for key in made.obsm if key not in held], "missing": missing}
    about = {"created": report.created, "sha256": cells.sha256}
    made.uns["scfm_eval"] = about | {name: "\n".join(lines) for name, lines in said.items()}
    return made, missing


def datasets_of(report: Report) -> list[str]:
    """Return the names of the datasets of which the report has arrays or predictions."""
    held = (result.dataset.name for result in report.results if result.arrays or "predicted" in result.details)
    return list(dict.fromkeys(held))


def write_cells(made: AnnData, path: Path) -> Path:
    """Write the cells as ``.h5ad``, compressed; returns the file."""
    with replacing(path) as temporary:
        made.write_h5ad(temporary, compression="gzip")
    return path


def _refuse_others(results: list[Result], cells: Cells, *, known: list[str]) -> None:
    asked = f"cells of {cells.dataset.name} with what models made of them"
    if not results:
        raise InvalidInputError(
            asked=asked, found=f"the report has {', '.join(known) or 'no dataset'}", remedy="name one that it has"
        )
    measured = {result.dataset.sha256 for result in results}
    if measured != {cells.sha256}:
        raise InvalidInputError(
            asked=asked,
            found=f"other cells, counts or labels (sha256 {cells.sha256[:12]}) than those that were measured "
            f"({', '.join(sorted(sha256[:12] for sha256 in measured))})",
            remedy="give the file and the keys of the run: --dataset SPEC",
        )


def _embed(made: AnnData, name: str, results: list[Result], store: Store) -> Iterator[str]:
    """Put one model's embedding into the cells; yields what is missing, in words."""
    keys = list(dict.fromkeys(result.arrays["embed"] for result in results if "embed" in result.arrays))
    if not keys:
        yield from _without_key(name, results)
        return
    found = next(filter(None, map(store.find, keys)), None)
    if found is None:
        yield f"the embedding of {name}: {keys[0][:12]} is not in the store, or is damaged"
    elif found.arrays[0].shape[0] != made.n_obs:
        yield f"the embedding of {name}: {found.arrays[0].shape[0]} rows for {made.n_obs} cells"
    else:
        made.obsm[_key(name, taken=made.obsm)] = np.array(found.arrays[0])


def _without_key(name: str, results: list[Result]) -> Iterator[str]:
    arrays = set(chain.from_iterable(result.arrays for result in results))
    if f"embed{OF_A_PART}" in arrays:
        yield f"the embedding of {name}: it learned from training cells of one fold; --layouts makes one of all cells"
    elif not arrays:
        yield f"the embedding of {name}: the report does not say where it lies"


def _predict(made: AnnData, result: Result) -> Iterator[str]:
    """Put one result's predictions into the cells; yields what is missing, in words."""
    told = predictions(result)
    what = result.model.name if result.task == "annotation" else f"{result.model.name} {result.task}"
    if told is None:
        if result.task.startswith("annotation") and "confusion_matrix" in result.details:
            yield f"the predictions of {what}: the report does not have them"
    elif told.n_cells != made.n_obs:
        yield f"the predictions of {what}: they are of {told.n_cells} cells, not of {made.n_obs}"
    else:
        codes: NDArray[np.int64] = np.full(made.n_obs, -1)
        codes[told.rows] = told.codes
        made.obs[_key(f"{what} predicted", taken=made.obs)] = pd.Categorical.from_codes(codes, pd.Index(told.classes))


def _key(name: str, *, taken: Iterable[str]) -> str:
    """Return the name as a key of an HDF5 file, where a slash would open a group."""
    key = name.replace("/", "_")
    if key in taken:
        raise InvalidInputError(
            asked=f"a column {key}", found="one of that name is there", remedy="rename one of the models"
        )
    return key

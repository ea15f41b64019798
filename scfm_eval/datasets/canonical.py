"""From an AnnData as it was published to the one form that the suite works on."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.counts import counts_in, some
from scfm_eval.datasets.keys import CONTROL, KEYS, UNLABELLED
from scfm_eval.errors import InvalidInputError

_EFFECTS = {
    **dict.fromkeys(("activation", "crispra", "overexpression"), "activation"),
    **dict.fromkeys(("knockdown", "knockout", "crispri", "crispr", "shrna"), "knockdown"),
}
_MAY_BE_MISSING = ("label", "phenotype", "age", "cancer_type", "ontology")
_VAR_COLUMNS = {
    "symbol": ("symbol", "feature_name", "gene_symbol", "gene_symbols", "gene_name"),
    "ensembl_id": ("ensembl_id", "ensemblid", "ensembl", "gene_ids", "gene_id"),
}


def canonical(
    adata: AnnData, *, what: str, columns: dict[str, str], counts: str, gene_column: str | None, control: str
) -> AnnData:
    """Return the canonical form of ``adata``, which is not changed.

    Parameters
    ----------
    adata
        Cells as they were read.
    what
        What they are called in messages.
    columns
        Column of ``obs`` for each canonical key that is declared.
    counts
        Where the counts are: ``"X"``, ``"layers/NAME"`` or ``"raw"``.
    gene_column
        Column of ``var`` with the gene ids; ``None`` for the index.
    control
        Value of the perturbation column that marks control cells; it becomes ``"control"``.

    Returns
    -------
    ``X`` raw counts (CSR float32), ``obs`` with the canonical keys as categories of str (label NaN where there is
    none), ``var`` with ``symbol`` and ``ensembl_id`` where the file has them, and nothing else.

    Raises
    ------
    InvalidInputError
        If the counts are not there or not counts, or a declared key is missing or has cells without a value.
    """
    shell = _with_counts(adata, counts=counts, gene_column=gene_column, what=what)
    raw_counts = counts_in(shell, what=what)
    # genes of one name get here only without the guard: the first keeps the name
    shell.var_names_make_unique()
    obs = {key: _key(adata.obs, key=key, column=columns[key], what=what) for key in KEYS if key in columns}
    if "perturbation" in obs:
        obs["perturbation"] = _with_control(obs["perturbation"], control=control, what=what)
    if "effect" in obs:
        obs["effect"] = _effects(obs["effect"], what=what)
    frame = pd.DataFrame({key: pd.Categorical(values) for key, values in obs.items()}, index=shell.obs_names)
    return AnnData(X=raw_counts, obs=frame, var=shell.var)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the ``names`` most like ``name``, or some of them, in words."""
    every = [str(other) for other in names]
    return some(difflib.get_close_matches(name, every, n=3, cutoff=0.5) or every) or "none"


def check_column(frame: pd.DataFrame, *, column: str, option: str, what: str) -> None:
    """Raise :class:`InvalidInputError` with the nearest columns if ``frame`` (``obs`` or ``var``) lacks ``column``."""
    where = "var" if option == "genes" else "obs"
    if column not in frame:
        raise InvalidInputError(
            asked=f"{what} with {option}={column}",
            found=f"{where} has no {column!r}; nearest: {nearest(column, frame.columns)}",
            remedy=f"name the column of {where} that holds the {option}: {option}=COLUMN",
        )


def _with_counts(adata: AnnData, *, counts: str, gene_column: str | None, what: str) -> AnnData:
    """Return an AnnData around the chosen matrix, without a copy of it and with the gene ids as index."""
    layer = counts.removeprefix("layers/")
    if counts == "raw" and adata.raw is not None:
        X, var, others = adata.raw.X, adata.raw.var, {}
    elif counts == "X":
        X, var, others = adata.X, adata.var, {"layers": dict(adata.layers), "raw": adata.raw}
    elif counts.startswith("layers/") and layer in adata.layers:
        X, var, others = adata.layers[layer], adata.var, {}
    else:
        there = ["X", *(f"layers/{key}" for key in adata.layers), *(["raw"] if adata.raw is not None else [])]
        raise InvalidInputError(
            asked=f"{what} with counts={counts}",
            found=f"it has {', '.join(there)}",
            remedy="name one of these: counts=X, counts=layers/NAME or counts=raw",
        )
    obs = pd.DataFrame(index=adata.obs_names.astype(str))
    with warnings.catch_warnings():
        # names that occur twice are refused later, with the names
        warnings.filterwarnings("ignore", message=".* names are not unique")
        return AnnData(X=X, obs=obs, var=_genes(var, column=gene_column, what=what), **others)


def _genes(var: pd.DataFrame, *, column: str | None, what: str) -> pd.DataFrame:
    if column is not None:
        check_column(var, column=column, option="genes", what=what)
    ids = var.index if column is None else var[column]
    kept = {name: _first_of(var, names) for name, names in _VAR_COLUMNS.items()}
    found = {name: values.astype(str).to_numpy(object) for name, values in kept.items() if values is not None}
    return pd.DataFrame(found, index=pd.Index(ids.astype(str), name=None))


def _first_of(var: pd.DataFrame, names: tuple[str, ...]) -> pd.Series | None:
    return next((var[name] for name in names if name in var), None)


def _key(obs: pd.DataFrame, *, key: str, column: str, what: str) -> NDArray[np.object_]:
    check_column(obs, column=column, option=key, what=what)
    missing = obs[column].isna().to_numpy()
    values: NDArray[np.object_] = obs[column].astype(str).to_numpy(object, copy=True)
    if key in _MAY_BE_MISSING:
        missing |= np.isin([value.strip().casefold() for value in values], list(UNLABELLED))
    elif missing.any():
        raise InvalidInputError(
            asked=f"{what} with a {key} for every cell",
            found=f"{int(missing.sum())} cells have none in obs[{column!r}]",
            remedy="fill them in or remove these cells",
        )
    values[missing] = None
    return values


def _with_control(values: NDArray[np.object_], *, control: str, what: str) -> NDArray[np.object_]:
    if control not in values:
        raise InvalidInputError(
            asked=f"{what} with control cells named {control!r}",
            found=f"no such perturbation; nearest: {nearest(control, sorted(set(values)))}",
            remedy="say which value marks control cells: control=VALUE",
        )
    values[values == control] = CONTROL
    return values


def _effects(values: NDArray[np.object_], *, what: str) -> NDArray[np.object_]:
    spelled = [value.casefold().replace("-", "").replace(" ", "") for value in values]
    unknown = sorted({value for value, plain in zip(values, spelled, strict=True) if plain not in _EFFECTS})
    if unknown:
        raise InvalidInputError(
            asked=f"{what} with what was done to each perturbed gene",
            found=f"effect {some(unknown)}",
            remedy=f"write one of {', '.join(_EFFECTS)}",
        )
    return np.array([_EFFECTS[plain] for plain in spelled], dtype=object)

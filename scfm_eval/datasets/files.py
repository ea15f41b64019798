"""A user's own file as a dataset: ``my.h5ad:label=cell_type,batch=donor``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pandas as pd

from scfm_eval.datasets.canonical import check_column, nearest
from scfm_eval.datasets.dataset import Dataset, read_h5ad
from scfm_eval.datasets.genes import HALF, looks_ensembl
from scfm_eval.datasets.keys import KEYS, LabelsFrom
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import GeneIds

_OPTIONS = (*KEYS, "control", "counts", "genes", "organism", "labels_from")
_ORIGINS = tuple(filter(None, get_args(LabelsFrom)))


def dataset_from_spec(spec: str) -> Dataset:
    """Return the declaration of a local ``.h5ad`` file.

    Parameters
    ----------
    spec
        ``FILE.h5ad:OPTION=VALUE,…`` with the canonical keys as options (``label``, ``batch``, ``donor``,
        ``perturbation``, …: columns of ``obs``), ``control`` (value of the perturbation column that marks controls),
        ``counts`` (``X``, ``layers/NAME`` or ``raw``), ``genes`` (``symbol``, ``ensembl``, or a column of ``var`` that
        holds the ids; detected when not given), ``organism`` and ``labels_from`` (``expression`` or ``independent``).

    Raises
    ------
    InvalidInputError
        If the file is not there or cannot be read, an option is unknown or occurs twice, or a column is missing.
    """
    path, _, rest = spec.partition(".h5ad:")
    file = Path(spec if not rest else f"{path}.h5ad").expanduser()
    options = _options(rest, spec=spec)
    stated: dict[str, Any] = {f"{key}_key": options.get(key) for key in KEYS}
    stated |= {key: options[key] for key in ("control", "counts", "organism", "labels_from") if key in options}
    stated["is_organism_stated"] = "organism" in options
    adata = read_h5ad(file, backed=True)
    try:
        for key in KEYS:
            if key in options:
                check_column(adata.obs, column=options[key], option=key, what=file.name)
        var = adata.raw.var if options.get("counts") == "raw" and adata.raw is not None else adata.var
        kind, column = _genes(var, stated=options.get("genes"), what=file.name)
    finally:
        adata.file.close()
    return Dataset(name=file.stem, path=file.resolve(), gene_ids=kind, gene_column=column, **stated)


def _genes(var: pd.DataFrame, *, stated: str | None, what: str) -> tuple[GeneIds, str | None]:
    """Return the kind of gene ids and the column of ``var`` that holds them, ``None`` for the index."""
    kinds: dict[str | None, GeneIds] = {"symbol": "symbol", "ensembl": "ensembl"}
    if stated in kinds:
        return kinds[stated], None
    if stated is not None:
        check_column(var, column=stated, option="genes", what=what)
    ids = var.index if stated is None else var[stated]
    return ("ensembl" if looks_ensembl(ids.astype(str)) >= HALF else "symbol"), stated


def _options(text: str, *, spec: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in _OPTIONS or not equals or not value or name in options:
            fault = "occurs twice" if name in options else "is not OPTION=VALUE of a known option"
            raise InvalidInputError(
                asked=f"--dataset {spec}",
                found=f"{part.strip()!r} {fault}; nearest: {nearest(name, _OPTIONS)}",
                remedy=f"use FILE.h5ad:OPTION=VALUE,… with the options {', '.join(_OPTIONS)}",
            )
        options[name] = value
    if options.get("labels_from", _ORIGINS[0]) not in _ORIGINS:
        raise InvalidInputError(
            asked=f"--dataset {spec}",
            found=f"labels_from={options['labels_from']}",
            remedy=f"state {' or '.join(f'labels_from={origin}' for origin in _ORIGINS)}",
        )
    return options

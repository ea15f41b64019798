"""Write what cell-eval gives: ``pip install cell-eval==0.8.2``, then ``python write_cell_eval.py > cell_eval.json``."""

from __future__ import annotations

import json
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
import polars as pl
from cell_eval._types import DEComparison, DEResults, PerturbationAnndataPair
from cell_eval.metrics import _anndata as metrics
from inputs import CONTROL, N_GENES, PERTURBATIONS, differential, perturbed


def _adata(cells):
    names = np.repeat(list(cells), [len(rows) for rows in cells.values()])
    return anndata.AnnData(np.concatenate(list(cells.values())), obs=pd.DataFrame({"pert": names}, index=_ids(names)))


def _ids(names):
    return [f"c{i}" for i in range(len(names))]


def _table(changes, rates):
    place = [(name, f"g{gene}") for name in PERTURBATIONS for gene in range(N_GENES)]
    columns = {"target": [p for p, _ in place], "feature": [g for _, g in place], "log2_fold_change": changes.ravel()}
    columns["abs_log2_fold_change"] = np.abs(changes).ravel()
    return DEResults(pl.DataFrame(columns | {"p_value": rates.ravel(), "fdr": rates.ravel()}))


real, predicted = (_adata(cells) for cells in perturbed())
pair = PerturbationAnndataPair(real=real, pred=predicted, pert_col="pert", control_pert=CONTROL)
found = {name: getattr(metrics, name)(pair) for name in ("pearson_delta", "mae", "mse")}
found["pds_l1"] = metrics.discrimination_score(pair, metric="l1")
compared = DEComparison(*map(_table, *differential()))
for kind in ("overlap", "precision"):
    found[f"de_{kind}"] = compared.compute_overlap(k=None, metric=kind, fdr_threshold=0.05)
values = {metric: {name: float(value) for name, value in by_name.items()} for metric, by_name in found.items()}
print(json.dumps({"package": "cell-eval", "version": version("cell-eval"), "values": values}, indent=1))

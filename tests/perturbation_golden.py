"""The golden perturbation data, as means by condition."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd

from scfm_eval.metrics.responses import Responses

FOLDER = Path(__file__).parent / "golden_metrics"


def expected(name):
    return json.loads((FOLDER / name / "expected.json").read_text())


@cache
def golden():
    """Return true and predicted cells, and their means, by condition in alphabetical order."""
    real, pred = (anndata.read_h5ad(FOLDER / "perturbation_data" / f"{side}.h5ad") for side in ("real", "pred"))
    conditions = sorted(set(real.obs["perturbation"]) - {"non-targeting"})
    cells = {
        side: {
            name: adata[(adata.obs["perturbation"] == name).to_numpy()].X.astype(float)
            for name in adata.obs["perturbation"].unique()
        }
        for side, adata in (("real", real), ("pred", pred))
    }
    genes = real.var_names.to_numpy()
    split = real.obs.groupby("perturbation", observed=True)["split"].first()
    train = [name for name in conditions if split[name] == "train"]
    return SimpleNamespace(
        real=real,
        conditions=np.array(conditions),
        genes=genes,
        train=train,
        test=[name for name in conditions if split[name] == "test"],
        cells=cells["real"],
        predicted_cells=cells["pred"],
        mean={name: cells["real"][name].mean(axis=0) for name in [*conditions, "non-targeting"]},
        predicted={name: cells["pred"][name].mean(axis=0) for name in [*conditions, "non-targeting"]},
        centroid=np.mean([cells["real"][name].mean(axis=0) for name in train], axis=0),
        targets=np.array([np.isin(genes, name.split("+")) for name in conditions]),
    )


def golden_responses(*, names=None, predicted=None, scored=None, groups=None):
    """Return golden truth against golden predictions, or against those given by condition."""
    data = golden()
    names = list(data.conditions) if names is None else names
    rows = [list(data.conditions).index(name) for name in names]
    answers = data.predicted if predicted is None else predicted
    n = len(names)
    return Responses(
        conditions=np.array(names),
        truth=np.array([data.mean[name] for name in names]),
        predicted=np.array([answers[name] for name in names]),
        control=np.tile(data.mean["non-targeting"], (n, 1)),
        centroid=np.tile(data.centroid, (n, 1)),
        scored=~data.targets[rows] if scored is None else scored[rows],
        groups=np.zeros(n).astype(str) if groups is None else groups,
        answered=np.ones(n, dtype=bool),
    )


def golden_differential(side):
    """Return the golden tables of differential expression: log2 fold changes and false discovery rates."""
    data = golden()
    table = pd.read_csv(FOLDER / "perturbation_data" / f"{side}_de.csv")
    wide = {
        column: table.pivot_table(index="target", columns="feature", values=column, dropna=False).loc[
            data.conditions, data.genes
        ]
        for column in ("log2_fold_change", "fdr", "p_value")
    }
    return {column: frame.to_numpy() for column, frame in wide.items()}

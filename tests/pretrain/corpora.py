"""Tiny corpora over real Ensembl ids, and trainings of seconds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scfm_eval.datasets.counts import as_csr
from scfm_eval.datasets.genes import protein_coding_symbols, to_ensembl, to_symbol
from scfm_eval.pretrain.corpus import Corpus
from scfm_eval.pretrain.geneformer import MaskedRanks
from scfm_eval.pretrain.loop import How, Pretraining
from scfm_eval.pretrain.objective import Sizes
from scfm_eval.pretrain.scgpt import MaskedValues

SIZES = Sizes(width=16, n_blocks=1, n_heads=2, hidden=32, length=32)
LAYOUTS = {"geneformer": MaskedRanks, "scgpt": MaskedValues}
N_CELLS, N_GENES = 120, 60


@lru_cache
def gene_ids(n: int = N_GENES) -> tuple[str, ...]:
    return tuple(sorted(to_ensembl(protein_coding_symbols()[100 : 100 + n])))


def counts_of(kind: str, *, seed: int = 0, n_cells: int = N_CELLS):
    """Return counts of two cell types: each expresses ``genes`` of its own, or has other ``values``, or ``neither``."""
    rng = np.random.default_rng(seed)
    own = (np.arange(n_cells) % 2)[:, None] == (np.arange(N_GENES) % 2)[None, :]
    chance = np.where(own, 0.48, 0.0) if kind == "genes" else np.full(own.shape, 0.24)
    rate = np.where(own, 20.0, 1.0) if kind == "values" else np.full(own.shape, 9.0)
    counts = (rng.random(own.shape) < chance) * (1 + rng.poisson(rate))
    counts[:, 0] += counts.sum(axis=1) == 0
    return as_csr(counts)


def corpus(kind: str = "values", *, seed: int = 0, n_cells: int = N_CELLS) -> Corpus:
    return Corpus(
        name="tiny.h5ad",
        sha256="0" * 64,
        counts=counts_of(kind, seed=seed, n_cells=n_cells),
        genes=gene_ids(),
        symbols=tuple(to_symbol(gene_ids())),
        source=np.where(np.arange(n_cells) < n_cells // 3, "small", "large"),
    )


def annotated(cells: Corpus) -> AnnData:
    obs = pd.DataFrame({"source": cells.source}, index=[f"cell{i}" for i in range(len(cells.source))])
    return AnnData(sparse.csr_matrix(cells.counts), obs=obs, var=pd.DataFrame(index=list(cells.genes)))


def training_of(layout: str, cells: Corpus, **how) -> Pretraining:
    settings = How(**{"epochs": 2, "batch_size": 16, "every": 3, "fewest": 0.5, **how})
    held_out = cells.held_out(share=0.2, seed=0)
    objective = LAYOUTS[layout](cells, training=~held_out, sizes=SIZES, seed=settings.seed)
    return Pretraining(objective, training=np.flatnonzero(~held_out), held_out=np.flatnonzero(held_out), how=settings)

"""Small inputs that tests of all metrics share."""

from __future__ import annotations

import numpy as np

from scfm_eval.metrics import differential, gene_networks, leiden, ontology, scgraph
from scfm_eval.metrics.metric import Statistic
from scfm_eval.metrics.neighbors import nearest_neighbors
from scfm_eval.metrics.responses import Responses
from scfm_eval.ontology import read_obo
from tests.metrics.conftest import GOLDEN

RNG = np.random.default_rng(0)
N_CELLS = 48
X, OWN = RNG.normal(size=(2, N_CELLS, 4))
LABELS, BATCH = np.repeat(["B", "T", "NK"], 16), np.tile(["p1", "p2"], 24)
ONE_BATCH = np.where(LABELS == "NK", "p1", BATCH)
CLUSTERS = np.arange(N_CELLS) % 4
FOUND = {"packages": ["scfm-eval", "numpy", "scikit-learn"], "n_neighbors": N_CELLS, "exact": True}
CLASSES = ["B", "NK", "T", "mono"]
TRUTH, CALLED = ["B", "B", "T"], ["B", "NK", "T"]
SHARES = np.array([[0.75, 0.25, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0]])
MINI = read_obo(GOLDEN / "ontology_graph" / "mini_cl.obo")
TERMS, CALLED_TERMS = ["CL:0000084", "CL:0000792"], ["CL:0000084", "CL:0000084"]
LINEAGES = ontology.Lineages.of(TERMS, MINI)
NO_GENE = np.array([[True] * 4, [False] * 4, [True] * 4])
CONDITIONS = np.array(["a", "b", "c"])
RESPONSES = Responses(
    conditions=CONDITIONS,
    truth=RNG.normal(size=(3, 4)),
    predicted=RNG.normal(size=(3, 4)),
    control=np.tile(RNG.normal(size=4), (3, 1)),
    centroid=RNG.normal(size=(3, 4)),
    scored=np.ones((3, 4), dtype=bool),
    groups=np.array(["x", "x", "x"]),
    answered=np.ones(3, dtype=bool),
)
PAIRED = Responses(**{**vars(RESPONSES), "groups": np.array(["x", "x", "y"])})
ALONE = {"why": "no other condition was held out with it", "conditions": ["c"]}
GENES = [differential.Differential(RNG.normal(size=(3, 4)), NO_GENE) for _ in range(2)]
PAIRS = gene_networks.RankedPairs(
    np.array([3.0, np.nan, 1, 2]), np.array([True, False, True, False]), np.array([0, 0, 1, 1])
)
TYPES = tuple("abcde")
TYPE_DISTANCES = scgraph.TypeDistances(TYPES, *np.abs(RNG.normal(size=(2, 5, 5))), {"trim": 0.3})
CELL = np.repeat(np.arange(4), 3)
PER_CELL, GIVEN = RNG.normal(size=(2, 12))
PER_CELL[:3], GIVEN[3:6] = 1, 1


def neighbors():
    return nearest_neighbors(X, k=90)


def clusterings():
    return leiden.leiden_clusterings(neighbors(), seed=0, resolutions=[0.5, 1.0])


def share(values):
    return Statistic(lambda weights: weights @ np.asarray(values), n_cells=len(values))

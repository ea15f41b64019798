"""Where a metric has no value the reason is said: which part of the input, and how much of it."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

from scfm_eval.metrics import (
    classification,
    clustering,
    differential,
    discrimination,
    distributions,
    gene_networks,
    gene_terms,
    jaccard,
    kbet,
    layers,
    leiden,
    novelty,
    ontology,
    perturbation,
    reconstruction,
    resampling,
    rogi,
    scgraph,
    transfer,
    variance,
)
from scfm_eval.metrics.metric import InapplicableMetricError, UndefinedMetricError
from tests.metrics.given import (
    BATCH,
    CLUSTERS,
    CONDITIONS,
    LABELS,
    LINEAGES,
    N_CELLS,
    OWN,
    RESPONSES,
    TERMS,
    TYPES,
    X,
    clusterings,
    neighbors,
)

FEW = np.array(["a", "b"])
ONE = np.repeat("only", N_CELLS)
TWICE = np.repeat(np.arange(2), 24)
FLAT = np.ones((3, 4))
TABLE = np.arange(8.0).reshape(4, 2)


def pairs(scores, truth, regulator):
    return gene_networks.RankedPairs(np.array(scores, dtype=float), np.array(truth), np.array(regulator))


SAME = replace(RESPONSES, groups=CONDITIONS)
STILL = replace(RESPONSES, truth=RESPONSES.control)
QUIET = replace(RESPONSES, predicted=RESPONSES.control)
MANY = np.array([f"c{i}" for i in range(6)])
NOTHING = differential.Differential(np.zeros((3, 4)), np.zeros((3, 4), dtype=bool))
ALL_GENES = differential.Differential(np.ones((3, 4)), np.ones((3, 4), dtype=bool))
ALL = "3 conditions (a, b, c)"
BY = {"conditions": CONDITIONS, "ranked_by": "shift"}
FLAT_TYPES = scgraph.TypeDistances(TYPES, np.ones((5, 5)), np.ones((5, 5)))

UNDEFINED = {
    "no column": (
        lambda: classification.log_loss(["T", "x", "B", "y"], probabilities=np.full((4, 2), 0.5), classes=["B", "T"]),
        "no probability was given for the true classes x, y",
    ),
    "one label": (lambda: clustering.nmi(CLUSTERS, labels=ONE), "only one label: only"),
    "one patient": (lambda: clustering.patient_ari(CLUSTERS, patients=ONE), "only one patient: only"),
    "one label for asw": (lambda: clustering.asw(X, labels=ONE), "only one label: only"),
    "one label for rogi": (lambda: rogi.rogi(rogi.Trees(X), labels=ONE), "only one label: only"),
    "one place": (
        lambda: rogi.rogi(rogi.Trees(np.ones_like(X)), labels=LABELS),
        "all cells lie at one place, so that there is no landscape",
    ),
    "one label of a half": (
        lambda: leiden.nmi_leiden(clusterings(), labels=np.where(TWICE == 0, LABELS, "T"), half=TWICE == 0),
        "only one label: T",
    ),
    "kbet": (
        lambda: kbet.kbet(neighbors(), labels=np.repeat(np.arange(24), 2), batch=BATCH),
        "no label has 10 cells of two batches that hang together",
    ),
    "pcr before": (
        lambda: variance.pcr_comparison(X, before=np.ones_like(X), batch=BATCH), "before is the same for all cells",
    ),
    "pcr X": (lambda: variance.pcr_batch(np.ones_like(X), batch=BATCH), "X is the same for all cells"),
    "jaccard groups": (
        lambda: jaccard.intra_type_jaccard(X, own_space=OWN, labels=LABELS, batch=BATCH),
        "no cell type has 100 cells in one batch",
    ),
    "jaccard batches": (
        lambda: jaccard.jaccard_published(X, own_space=OWN, batch=np.where(np.arange(48) < 9, "p2", "p1")),
        "batch p2 has 9 cells, fewer than 15",
    ),
    "domains": (
        lambda: transfer.domain_accuracy(BATCH, predicted=BATCH, labels=BATCH),
        "no label is in each of two domains: there is p1, p2",
    ),
    "strata": (
        lambda: resampling.bootstrap_weights(units=range(5), strata=list("aabbc"), n_resamples=1, seed=0),
        "a single unit in stratum c: a bootstrap of it does not vary",
    ),
    "strata of one": (
        lambda: resampling.bootstrap_weights(units=range(3), strata=list("abc"), n_resamples=1, seed=0),
        "a single unit in stratum a, b, c: a bootstrap of it does not vary",
    ),
    "auroc of one kind": (
        lambda: novelty.auroc([1.0, 2], positive=[True, True]), "2 of 2 cells are positive: both kinds are needed",
    ),
    "auroc of no kind": (
        lambda: novelty.auroc([1.0, 2], positive=[False, False]), "0 of 2 cells are positive: both kinds are needed",
    ),
    "no novelty": (lambda: novelty.novelty_auroc(np.empty((0, 2)), labels=FEW, held_out=[]), "no type was held out"),
    "rank": (lambda: layers.effective_rank(FLAT), "X is the same for all cells"),
    "one cell": (
        lambda: distributions.energy_distance(X[:1], OWN), "1 and 48 cells: a set needs two for a distance within",
    ),
    "one predicted cell": (
        lambda: distributions.squared_mmd(X, OWN[:1]), "48 and 1 cells: a set needs two for a distance within",
    ),
    "width": (
        lambda: distributions.kernel_width(FLAT, FLAT),
        "more than half of the cells are equal: the kernel has no width",
    ),
    "no edge": (
        lambda: gene_networks.edge_auprc(pairs([1, 2], [False, False], [0, 1])),
        "0 of 2 pairs are edges: both are needed",
    ),
    "edges only": (
        lambda: gene_networks.edge_auroc(pairs([1, 2], [True, True], [0, 1])),
        "2 of 2 pairs are edges: both are needed",
    ),
    "no scores": (
        lambda: gene_networks.early_precision(pairs([np.nan] * 2, [True, False], [0, 1])), "no pair has a score",
    ),
    "no term": (
        lambda: gene_terms.term_auroc(np.empty((4, 0)), members=np.empty((4, 0)), fold=np.empty((4, 0))), "no term",
    ),
    "no error": (
        lambda: ontology.lcad(TERMS, TERMS, lineages=LINEAGES),
        "no cell is misclassified, and the published mean is over misclassified cells only",
    ),
    "four types": (
        lambda: scgraph.scgraph(replace(FLAT_TYPES, types=TYPES[:3])),
        "3 types with 10 cells, and two distances always correlate: 4 are needed",
    ),
    "flat types": (lambda: scgraph.scgraph_ontorwr(FLAT_TYPES), "no type's distances to the others vary"),
    "batches": (
        lambda: scgraph.batch_distances(X, own_space=OWN, labels=LABELS, batch=BATCH), "no batch has 100 cells",
    ),
    "alone": (
        lambda: discrimination.pds_l1(SAME), f"no other condition was held out with it: {ALL}",
    ),
    "alone by centroid": (
        lambda: discrimination.centroid_accuracy(SAME), f"no other condition was held out with it: {ALL}",
    ),
    "alone among neighbours": (
        lambda: discrimination.distinct_neighbors(SAME), "no other condition was held out with it",
    ),
    "no spread": (
        lambda: discrimination.variance_error(STILL), "true changes do not differ within any group of conditions",
    ),
    "no change": (lambda: perturbation.pearson_delta(STILL), f"the truth is the control: {ALL}"),
    "no predicted change": (
        lambda: perturbation.pearson_delta(QUIET),
        f"the prediction is the control, so there is no difference to correlate: {ALL}",
    ),
    "no predicted difference": (
        lambda: perturbation.pearson_delta_centroid(replace(RESPONSES, predicted=RESPONSES.centroid)),
        f"the prediction is the mean of the training perturbations, so there is no difference to correlate: {ALL}",
    ),
    "no effect": (lambda: perturbation.effect_size_error(STILL), f"the truth does not change: {ALL}"),
    "no gene": (
        lambda: perturbation.mae(RESPONSES.restricted(np.zeros((3, 4), dtype=bool))), f"no gene is scored: {ALL}",
    ),
    "no direction": (
        lambda: perturbation.direction_match(RESPONSES, changed=np.zeros((3, 4), dtype=bool)),
        f"no gene truly changed: {ALL}",
    ),
    "no differential gene": (
        lambda: differential.de_overlap(NOTHING, predicted=ALL_GENES, **BY), f"no gene is truly differential: {ALL}",
    ),
    "no predicted gene": (
        lambda: differential.de_precision(ALL_GENES, predicted=NOTHING, **BY),
        f"no gene is predicted to be differential: {ALL}",
    ),
    "no varying cell": (
        lambda: reconstruction.cell_r2([1.0, 1], [1.0, 2], cell=[0, 0]), "in no cell do the true values vary",
    ),
    "flat truth": (
        lambda: reconstruction.cell_pearson([1.0, 1], [1.0, 2], cell=[0, 0]),
        "in no cell that could be scored do the true values vary",
    ),
    "flat prediction": (
        lambda: reconstruction.cell_pearson([1.0, 2], [1.0, 1], cell=[0, 0]),
        "in no cell that could be scored do the predicted values vary",
    ),
    "flat genes": (lambda: reconstruction.gene_r2(FLAT, FLAT), "no gene varies over these cells"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(UNDEFINED))
def test_what_has_no_value_says_why(name):
    call, message = UNDEFINED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        undefined = raised(call, message)
    assert isinstance(undefined, InapplicableMetricError) == (name == "no term")


def raised(call, message):
    with pytest.raises(UndefinedMetricError, match=f"^{re.escape(message)}$") as undefined:
        call()
    return undefined.value


def test_more_than_five_conditions_are_counted_and_five_named():
    six = {"conditions": MANY, "truth": np.zeros((6, 2)), "predicted": np.zeros((6, 2)), "control": np.zeros((6, 2))}
    one = {"centroid": np.zeros((6, 2)), "scored": np.ones((6, 2), bool), "groups": MANY, "answered": np.ones(6, bool)}
    with pytest.raises(UndefinedMetricError, match=r": 6 conditions \(c0, c1, c2, c3, c4, …\)$"):
        perturbation.pearson_delta(type(RESPONSES)(**six, **one))

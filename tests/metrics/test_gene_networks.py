"""Gene networks: BEELINE's numbers where they are right, hand-worked lists, and what must not change a value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.gene_networks import (
    RankedPairs,
    chance_edge_auprc,
    early_precision,
    early_precision_ratio,
    edge_auprc,
    edge_auroc,
)
from scfm_eval.metrics.metric import UndefinedMetricError

GOLDEN = Path(__file__).parents[1] / "golden_metrics" / "beeline"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
METRICS = (edge_auprc, edge_auroc, early_precision, early_precision_ratio)
NAMES = (
    "average_precision",
    "AUROC",
    "EP_predictions_restricted_to_universe",
    "EPR_predictions_restricted_to_universe",
)


def golden_pairs(name, *, tf_edges):
    truth = pd.read_csv(GOLDEN / "refNetwork.csv")
    edges = truth[truth.Gene1 != truth.Gene2]
    genes = sorted({*truth.Gene1, *truth.Gene2})
    regulators = sorted(set(edges.Gene1)) if tf_edges else genes
    order = {gene: i for i, gene in enumerate([*regulators, *(gene for gene in genes if gene not in regulators)])}
    adjacency, scores = np.zeros((len(order),) * 2, dtype=bool), np.full((len(order),) * 2, np.nan)
    adjacency[edges.Gene1.map(order), edges.Gene2.map(order)] = True
    for source, target, weight in pd.read_csv(GOLDEN / f"rankedEdges_{name}.csv", sep="\t").to_numpy():
        if source in order and target in order and source != target and weight != 0:
            place = order[source], order[target]
            scores[place] = np.nanmax([scores[place], abs(weight)])
    return RankedPairs.of(scores, adjacency=adjacency, n_regulators=len(regulators))


def pairs_of(scores, truth, regulator=None):
    n = len(scores)
    regulator = np.arange(n) % 3 if regulator is None else np.asarray(regulator)
    return RankedPairs(np.asarray(scores, dtype=float), np.asarray(truth, dtype=bool), regulator)


@pytest.mark.parametrize("tf_edges", [False, True])
@pytest.mark.parametrize("name", ["dense", "sparse_zeros", "tf_only_no_ties"])
def test_golden(name, tf_edges):
    pairs, expected = golden_pairs(name, tf_edges=tf_edges), EXPECTED["values"][name]["corrected"]
    counts = EXPECTED["counts"]
    assert len(pairs.truth) == counts[f"n_universe_tf_edges_{tf_edges}"]
    assert pairs.truth.sum() == counts[f"n_true_edges_tf_edges_{tf_edges}"]
    assert pairs.density == pytest.approx(EXPECTED["chance"][f"EP_tf_edges_{tf_edges}"], abs=1e-12)
    for metric, golden in zip(METRICS, NAMES, strict=True):
        assert metric(pairs) == pytest.approx(expected[f"{golden}_tf_edges_{tf_edges}"], abs=1e-12)


def test_golden_as_published_where_that_is_right():
    sparse, dense = (EXPECTED["values"][name]["reference"] for name in ("sparse_zeros", "dense"))
    assert early_precision(golden_pairs("sparse_zeros", tf_edges=True)) == pytest.approx(sparse["EP_tf_edges_True"])
    assert edge_auroc(golden_pairs("dense", tf_edges=False)) == pytest.approx(dense["AUROC"], abs=1e-12)


def test_self_loops_alone_are_the_density_and_no_more():
    pairs = golden_pairs("only_self_loops", tf_edges=False)
    assert EXPECTED["values"]["only_self_loops"]["reference"]["AUPRC"] > 0.5
    assert edge_auprc(pairs) == pytest.approx(pairs.density)
    assert edge_auroc(pairs) == 0.5
    for metric in (early_precision, early_precision_ratio):
        with pytest.raises(UndefinedMetricError, match="no pair has a score"):
            metric(pairs)


def test_hand_worked():
    # edges at ranks 1 and 3 of 5, two edges: precision 1 and 2/3; one of the first two
    pairs = pairs_of([5, 4, 3, 2, 1], [1, 0, 1, 0, 0])
    assert edge_auprc(pairs) == pytest.approx((1 + 2 / 3) / 2)
    assert edge_auroc(pairs) == pytest.approx(5 / 6)
    assert early_precision(pairs) == pytest.approx(1 / 2)
    assert early_precision_ratio(pairs) == pytest.approx(1 / 2 / (2 / 5))
    assert pairs.density == pytest.approx(2 / 5)


def test_ties_at_the_cut_are_all_taken_and_unscored_pairs_never():
    # two edges; the second and third pair tie at the cut
    assert early_precision(pairs_of([3, 2, 2, 1], [1, 0, 1, 0])) == pytest.approx(2 / 3)
    # one scored pair for two edges: a short list is taken whole
    assert early_precision(pairs_of([3, np.nan, np.nan, np.nan], [1, 0, 1, 0])) == 1.0


def test_chance_is_the_mean_over_all_orders():
    truth = np.arange(12) < 3
    rng = np.random.default_rng(0)
    drawn = [average_precision_score(truth, rng.permutation(12)) for _ in range(800)]
    assert chance_edge_auprc(pairs_of(np.zeros(12), truth)) == pytest.approx(np.mean(drawn), abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_only_the_order_of_scores_counts(seed):
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(6, size=40).astype(float), np.arange(40) < 9
    scores[rng.random(40) < 0.2] = np.nan
    regulator, order = rng.permutation(np.arange(40) % 4), rng.permutation(40)
    pairs, turned = pairs_of(scores, truth, regulator), pairs_of(np.exp(scores) - 3, truth, regulator)
    moved = pairs_of(scores[order], truth[order], regulator[order])
    for metric in METRICS:
        assert metric(turned) == pytest.approx(metric(pairs))
        assert metric(moved) == pytest.approx(metric(pairs))
    filled = np.where(np.isnan(scores), -1, scores)
    assert edge_auprc(pairs) == pytest.approx(average_precision_score(truth, filled))
    assert edge_auroc(pairs) == pytest.approx(roc_auc_score(truth, filled))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_are_repeated_regulators(seed):
    rng = np.random.default_rng(seed)
    scores, truth, regulator = rng.integers(9, size=30), rng.random(30) < 0.4, np.arange(30) % 3
    truth[:2] = True, False
    weights = np.array([[2, 0, 1]])
    repeated = np.concatenate(
        [np.flatnonzero(regulator == i) for i, often in enumerate(weights[0]) for _ in range(often)]
    )
    pairs, again = (
        pairs_of(scores, truth, regulator),
        pairs_of(scores[repeated], truth[repeated], np.arange(len(repeated))),
    )
    if truth[repeated].all() or not truth[repeated].any():
        return
    for metric in METRICS:
        assert metric.statistic(pairs).of_weights(weights.astype(float))[0] == pytest.approx(metric(again))


def test_what_is_no_list_of_pairs_is_refused():
    with pytest.raises(InvalidInputError, match="infinite"):
        pairs_of([1, np.inf], [1, 0])
    with pytest.raises(InvalidInputError, match="shapes"):
        RankedPairs(np.zeros(3), np.zeros(2, dtype=bool), np.zeros(3, dtype=int))
    with pytest.raises(UndefinedMetricError, match="0 of 3 pairs are edges"):
        edge_auprc(pairs_of([1, 2, 3], [0, 0, 0]))

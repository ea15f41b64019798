"""Every value says how it was obtained: packages, parameters with their defaults, and what was left out."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest

from scfm_eval.metrics import (
    classification,
    clustering,
    differential,
    discrimination,
    distributions,
    gains,
    gene_networks,
    gene_terms,
    jaccard,
    kbet,
    leiden,
    mixing,
    novelty,
    ontology,
    perturbation,
    reconstruction,
    rogi,
    scgraph,
    semantic,
    silhouettes,
    transfer,
    variance,
)
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.metric import AMONG_CELLS, Statistic, metric
from tests.metrics.given import (
    ALONE,
    BATCH,
    CALLED,
    CALLED_TERMS,
    CELL,
    CLASSES,
    CLUSTERS,
    CONDITIONS,
    FOUND,
    GENES,
    GIVEN,
    LABELS,
    LINEAGES,
    MINI,
    N_CELLS,
    NO_GENE,
    ONE_BATCH,
    OWN,
    PAIRED,
    PAIRS,
    PER_CELL,
    RESPONSES,
    SHARES,
    TERMS,
    TRUTH,
    TYPE_DISTANCES,
    X,
    clusterings,
    neighbors,
    share,
)


def by_condition(n=3, **parameters):
    return {"packages": ["scfm-eval", "numpy"], "unit": "perturbation", "n_conditions": n, **parameters}


def by_cells(*packages, **parameters):
    return {"packages": ["scfm-eval", "numpy", *packages], **parameters}


WITHOUT_CELLS = by_cells("scipy", n_classes=2, classes_without_cells=["NK", "mono"])
AGREEMENT = by_cells("scipy", n_clusters=4, n_labels=3)
NEAREST = by_cells("scipy", n_neighbors=N_CELLS, perplexity=16, neighbors=FOUND)
TREE = by_cells("scipy", "scikit-learn", linkage="complete", distance="euclidean", smallest_step=0.01, n_types=3)
RELEASE = {"ontology": MINI.release, "n_types": 2}
LEIDEN = {**by_cells("igraph", "scipy"), "n_neighbors": 15, "exact": True, "resolutions": [0.5, 1.0]}
BY_TYPE = by_cells("scipy", n_types=5, drawn="types", trim=0.3, types_without_value=[])
DRUGS = {"conditions": CONDITIONS[:2], "predicted_cells": "shifted"}
TWO_SETS = [(X[:9], OWN[:9]), (X[9:20], OWN[9:20])]
NETWORK = {"n_pairs": 4, "n_edges": 2, "density": 0.5, "unscored pairs": 1, "unit of resampling": "regulator"}
TERM = {"members": np.array([[True], [False], [True], [False]]), "fold": np.array([[0], [0], [1], [1]])}

MADE = {
    "accuracy": (lambda: classification.accuracy.statistic(TRUTH, CALLED, classes=CLASSES), by_cells(n_classes=4)),
    "balanced_accuracy": (
        lambda: classification.balanced_accuracy.statistic(TRUTH, CALLED, classes=CLASSES),
        WITHOUT_CELLS,
    ),
    "macro_f1": (lambda: classification.macro_f1.statistic(TRUTH, CALLED, classes=CLASSES), WITHOUT_CELLS),
    "log_loss": (
        lambda: classification.log_loss.statistic(TRUTH, probabilities=SHARES, classes=CLASSES),
        by_cells(n_classes=4, smallest=float(np.finfo(np.float64).eps)),
    ),
    "expected_calibration_error": (
        lambda: classification.expected_calibration_error.statistic(TRUTH, probabilities=SHARES, classes=CLASSES),
        by_cells(n_bins=15, label="top"),
    ),
    "macro_f1_drop": (
        lambda: transfer.macro_f1_drop.statistic(TRUTH, within=TRUTH, transferred=CALLED, classes=CLASSES),
        WITHOUT_CELLS,
    ),
    "domain_accuracy": (
        lambda: transfer.domain_accuracy.statistic(ONE_BATCH, predicted=np.repeat("p1", N_CELLS), labels=LABELS),
        None,
    ),
    "nmi": (lambda: clustering.nmi.statistic(CLUSTERS, labels=LABELS), AGREEMENT | {"average": "arithmetic"}),
    "ari": (lambda: clustering.ari.statistic(CLUSTERS, labels=LABELS), AGREEMENT),
    "ami": (lambda: clustering.ami.statistic(CLUSTERS, labels=LABELS), AGREEMENT | {"average": "arithmetic"}),
    "patient_ari": (lambda: clustering.patient_ari.statistic(CLUSTERS, patients=BATCH), AGREEMENT | {"n_labels": 2}),
    "asw": (lambda: clustering.asw.statistic(X, labels=LABELS), by_cells("scipy", distance="cosine")),
    "clisi": (lambda: mixing.clisi.statistic(neighbors(), labels=LABELS), NEAREST),
    "ilisi": (lambda: mixing.ilisi.statistic(neighbors(), batch=BATCH), NEAREST),
    "graph_connectivity": (
        lambda: mixing.graph_connectivity.statistic(neighbors(), labels=LABELS),
        by_cells("scipy", n_neighbors=15, components="strong", neighbors=FOUND),
    ),
    "kbet": (
        lambda: kbet.kbet.statistic(neighbors(), labels=LABELS, batch=ONE_BATCH),
        by_cells(
            "scipy", n_neighbors=48, n_components=100, alpha=0.05, labels_left_out=["NK"], neighbors=FOUND
        ),
    ),
    "silhouette_label": (
        lambda: silhouettes.silhouette_label.statistic(X, labels=LABELS),
        by_cells("scikit-learn", distance="euclidean"),
    ),
    "isolated_labels": (
        lambda: silhouettes.isolated_labels.statistic(X, labels=LABELS, batch=ONE_BATCH),
        by_cells("scikit-learn", distance="euclidean", isolated=["NK"]),
    ),
    "bras": (
        lambda: silhouettes.bras.statistic(X, labels=LABELS, batch=ONE_BATCH),
        by_cells(distance="cosine", labels_left_out=["NK"]),
    ),
    "pcr_batch": (lambda: variance.pcr_batch.statistic(X, batch=BATCH), by_cells(n_components=4)),
    "pcr_comparison": (
        lambda: variance.pcr_comparison.statistic(X, before=OWN[:, :3], batch=BATCH),
        by_cells(n_components=4, n_components_before=3),
    ),
    "pcr_comparison_unclipped": (
        lambda: variance.pcr_comparison_unclipped.statistic(X, before=OWN[:, :3], batch=BATCH),
        by_cells(n_components=4, n_components_before=3),
    ),
    "intra_type_jaccard": (
        lambda: jaccard.intra_type_jaccard.statistic(
            np.tile(X, (5, 1)), own_space=np.tile(OWN, (5, 1)), labels=np.tile(LABELS, 5), batch=np.repeat("p", 240),
            min_cells=80,
        ),
        by_cells("scikit-learn", n_neighbors=15, min_cells=80, n_groups=3, n_cells_in_groups=240),
    ),
    "jaccard_published": (
        lambda: jaccard.jaccard_published.statistic(X, own_space=OWN, batch=BATCH),
        by_cells("scikit-learn", n_neighbors=15),
    ),
    "nmi_leiden": (
        lambda: leiden.nmi_leiden.statistic(clusterings(), labels=LABELS, half=np.arange(N_CELLS) % 2 == 0),
        None,
    ),
    "rogi": (lambda: rogi.rogi.statistic(rogi.Trees(X), labels=LABELS), TREE),
    "rogi_xd": (lambda: rogi.rogi_xd.statistic(rogi.Trees(X), labels=LABELS), TREE),
    "auroc": (
        lambda: novelty.auroc.statistic([1, 2, 3], positive=[False, True, True]),
        by_cells(n_positive=2),
    ),
    "novelty_auroc": (
        lambda: novelty.novelty_auroc.statistic([[1, 2, 3], [3, 2, 1]], labels=["a", "b", "c"], held_out=["b", "c"]),
        by_cells(n_types=2),
    ),
    "gain_absolute": (
        lambda: gains.gain_absolute.statistic(share([1, 2]), frozen=share([1, 1])),
        by_cells(formula="tuned - frozen"),
    ),
    "gain_relative_percent": (
        lambda: gains.gain_relative_percent.statistic(share([1, 2]), frozen=share([1, 1])),
        by_cells(formula="(tuned - frozen) / frozen * 100"),
    ),
    "lcad": (
        lambda: ontology.lcad.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES),
        by_cells("scipy", **RELEASE, mean="misclassified cells"),
    ),
    "lcad_symmetric": (
        lambda: ontology.lcad_symmetric.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES),
        by_cells("scipy", **RELEASE, mean="all cells"),
    ),
    **{
        metric.name: (
            lambda metric=metric: metric.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES),
            by_cells("scipy", **RELEASE, with_root=False, mean="sums over cells"),
        )
        for metric in (ontology.hierarchical_precision, ontology.hierarchical_recall, ontology.hierarchical_f1)
    },
    "hierarchical_f1 with the root": (
        lambda: ontology.hierarchical_f1.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES, with_root=True),
        by_cells("scipy", **RELEASE, with_root=True, mean="sums over cells"),
    ),
    "wang": (
        lambda: semantic.wang.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES),
        by_cells("scipy", **RELEASE, mean="all cells"),
    ),
    "scgraph": (
        lambda: scgraph.scgraph.statistic(TYPE_DISTANCES),
        BY_TYPE | {"correlation": "Pearson, weighted by 1 / distance", "diagonal": False},
    ),
    "scgraph_published": (
        lambda: scgraph.scgraph_published.statistic(TYPE_DISTANCES),
        BY_TYPE | {"correlation": "Pearson", "diagonal": True},
    ),
    "scgraph_ontorwr": (
        lambda: scgraph.scgraph_ontorwr.statistic(TYPE_DISTANCES),
        BY_TYPE | {"correlation": "Pearson", "diagonal": False},
    ),
    "scgraph_ontorwr_spearman": (
        lambda: scgraph.scgraph_ontorwr_spearman.statistic(TYPE_DISTANCES),
        BY_TYPE | {"correlation": "Spearman", "diagonal": False},
    ),
    **{
        metric.name: (lambda metric=metric: metric.statistic(PAIRS), by_cells(**NETWORK))
        for metric in (
            gene_networks.edge_auprc, gene_networks.edge_auroc,
            gene_networks.early_precision, gene_networks.early_precision_ratio,
        )
    },
    **{
        metric.name: (
            lambda metric=metric: metric.statistic(np.arange(4.0)[:, None], **TERM),
            {**by_cells("scikit-learn", n_terms=1), "unit of resampling": "term"},
        )
        for metric in (gene_terms.term_auprc, gene_terms.term_auroc)
    },
    "pearson_delta": (
        lambda: perturbation.pearson_delta.statistic(RESPONSES),
        by_condition(reference="the control"),
    ),
    "pearson_delta_centroid": (
        lambda: perturbation.pearson_delta_centroid.statistic(RESPONSES),
        by_condition(reference="the mean of the training perturbations"),
    ),
    "mae": (lambda: perturbation.mae.statistic(RESPONSES), by_condition()),
    "mse": (lambda: perturbation.mse.statistic(RESPONSES), by_condition()),
    "mae without genes": (
        lambda: perturbation.mae.statistic(RESPONSES.restricted(NO_GENE)),
        by_condition(2, left_out={"why": "no gene is scored", "conditions": ["b"]}),
    ),
    "l2_top1000": (lambda: perturbation.l2_top1000.statistic(RESPONSES), by_condition(n_genes=4)),
    "direction_match": (
        lambda: perturbation.direction_match.statistic(RESPONSES, changed=NO_GENE),
        by_condition(2, left_out={"why": "no gene truly changed", "conditions": ["b"]}),
    ),
    "effect_size_error": (
        lambda: perturbation.effect_size_error.statistic(RESPONSES),
        by_condition(mean_ratio=float(np.mean(perturbation.effect_size_ratios(RESPONSES)))),
    ),
    **{
        metric.name: (
            lambda metric=metric: metric.statistic(PAIRED),
            by_condition(2, fewest_candidates=1, most_candidates=2, left_out=ALONE),
        )
        for metric in (discrimination.pds_l1, discrimination.centroid_accuracy)
    },
    "variance_error": (lambda: discrimination.variance_error.statistic(PAIRED), None),
    "distinct_neighbors": (
        lambda: discrimination.distinct_neighbors.statistic(PAIRED),
        by_cells(unit="perturbation"),
    ),
    **{
        metric.name: (
            lambda metric=metric: metric.statistic(
                GENES[0], predicted=differential.Differential(GENES[1].strength, np.ones((3, 4), dtype=bool)),
                conditions=CONDITIONS, ranked_by="shift",
            ),
            by_condition(
                2, ranked_by="shift", fdr=0.05, left_out={"why": "no gene is truly differential", "conditions": ["b"]}
            ),
        )
        for metric in (differential.de_overlap, differential.de_precision)
    },
    "e_distance": (
        lambda: distributions.e_distance.statistic(TWO_SETS, **DRUGS),
        by_condition(2, distance="Euclidean, unbiased", predicted_cells="shifted"),
    ),
    "mmd": (
        lambda: distributions.mmd.statistic(TWO_SETS, widths=[1.0, 2.0], **DRUGS),
        by_condition(
            2, kernel="rbf of a width given for each condition, U-statistic", predicted_cells="shifted"
        ),
    ),
    **{
        metric.name: (lambda metric=metric: metric.statistic(PER_CELL, GIVEN, cell=CELL), by_cells())
        for metric in (reconstruction.cell_mse, reconstruction.cell_mae, reconstruction.cell_r2)
    },
    "cell_pearson": (
        lambda: reconstruction.cell_pearson.statistic(PER_CELL, GIVEN, cell=CELL),
        by_cells(undefined=1, flat_predictions=1),
    ),
    "centred_pearson": (
        lambda: reconstruction.centred_pearson.statistic(
            PER_CELL.reshape(4, 3), GIVEN.reshape(4, 3), mean=np.zeros(3)
        ),
        by_cells(undefined=1, flat_predictions=1),
    ),
    "gene_r2": (
        lambda: reconstruction.gene_r2.statistic(np.column_stack([X[:, :3], np.ones(N_CELLS)]), OWN),
        by_cells(n_genes=3, undefined=1),
    ),
}  # fmt: skip


def plain(how):
    """Return ``how`` with the names of the packages only, also where one ``how`` holds another."""
    return {
        key: list(value) if key == "packages" else plain(value) if isinstance(value, dict) and "packages" in value
        else value
        for key, value in how.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name, (_, how) in MADE.items() if how is not None])
def test_how_is_complete(name):
    make, expected = MADE[name]
    assert plain(make().how) == expected


@pytest.mark.parametrize("name", list(MADE))
def test_of_as_many_units_as_weights(name):
    made = MADE[name][0]()
    assert made.of_weights(np.ones((2, made.n_cells))) == pytest.approx([made.value()] * 2)


def test_how_of_clusters_names_resolutions():
    half = np.arange(N_CELLS) % 2 == 0
    found = leiden.nmi_leiden.statistic(clusterings(), labels=LABELS, half=half)
    used = found.how.pop("resolution_of_each_half")
    assert set(used) <= {0.5, 1.0}
    assert plain(found.how) == LEIDEN
    for made in (
        leiden.nmi_leiden_oracle.statistic(clusterings(), labels=LABELS),
        leiden.avg_bio.statistic(clusterings(), X=X, labels=LABELS),
    ):
        assert made.how.pop("resolution") in (0.5, 1.0)
        assert plain(made.how) == LEIDEN | {"chosen_by": "the labels"}


def test_how_of_information_says_what_right_predictions_would_score():
    information = semantic.intrinsic_information(MINI)
    found = semantic.resnik.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES, information=information)
    best = found.how.pop("of right predictions")
    assert best == pytest.approx(np.mean([information[MINI.position[term]] for term in TERMS]))
    assert plain(found.how) == by_cells("scipy", **RELEASE, mean="all cells")
    for metric_ in (semantic.lin, semantic.jiang_conrath):
        made = metric_.statistic(TERMS, CALLED_TERMS, lineages=LINEAGES, information=information)
        assert plain(made.how) == by_cells("scipy", **RELEASE, mean="all cells")


def test_how_of_domains_counts_labels_of_both():
    found = MADE["domain_accuracy"][0]()
    # of B and T the eight cells of p1 are right and those of p2 wrong
    assert plain(found.how) == by_cells("scipy", n_labels=2, share=0.5, counted_from=0.5)


def test_how_of_spread_counts_groups_and_genes():
    found = MADE["variance_error"][0]()
    ratio = found.how.pop("ratio")
    assert 1 - min(ratio, 1 / ratio) == pytest.approx(found.value())
    assert plain(found.how) == by_cells(unit="perturbation", n_genes=4, n_groups=2)


def test_networks_are_resampled_by_regulator():
    assert gene_networks.edge_auprc.statistic(PAIRS).n_cells == 2


def test_packages_have_their_versions():
    how = made_with("scipy", k=3)
    assert how == {"packages": {name: version(name) for name in ("scfm-eval", "numpy", "scipy")}, "k": 3}


def test_a_metric_is_what_it_was_declared_as():
    @metric(best=0.0, worst=2.0, chance=1.5, source="10.1000/toy")
    def toy(values):
        return Statistic(lambda weights: weights @ values, n_cells=len(values), how={"k": 1})

    assert (toy.name, toy.best, toy.worst, toy.chance, toy.source) == ("toy", 0.0, 2.0, 1.5, "10.1000/toy")
    assert not toy.higher_is_better
    values = np.array([1.0, 2.0])
    assert toy(values) == toy.statistic(values).value() == 3
    assert toy.statistic(values).how == {"k": 1}
    assert metric(best=1.0, worst=0.0, source="toy")(toy.build).chance is None
    assert metric(best=1.0, worst=0.0, source="toy")(toy.build).higher_is_better


def test_values_among_cells_are_known_to_vary_more_than_weights_say():
    spreads = {name: make().spread for name, (make, _) in MADE.items()}
    half = np.arange(N_CELLS) % 2 == 0
    spreads["nmi_leiden"] = leiden.nmi_leiden.statistic(clusterings(), labels=LABELS, half=half).spread
    spreads["nmi_leiden_oracle"] = leiden.nmi_leiden_oracle.statistic(clusterings(), labels=LABELS).spread
    spreads["avg_bio"] = leiden.avg_bio.statistic(clusterings(), X=X, labels=LABELS).spread
    among = (
        "nmi", "ari", "ami", "patient_ari", "asw", "clisi", "ilisi", "graph_connectivity", "silhouette_label",
        "isolated_labels", "bras", "intra_type_jaccard", "jaccard_published", "nmi_leiden", "nmi_leiden_oracle",
        "avg_bio",
    )  # fmt: skip
    assert {name: spread for name, spread in spreads.items() if spread != 1} == {
        **dict.fromkeys(among, AMONG_CELLS),
        "kbet": 3.0,
    }
    assert AMONG_CELLS == 2

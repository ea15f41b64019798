"""What metrics refuse, and what has no value, is named: which input, what was found in it, and how much of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import (
    clustering,
    differential,
    distributions,
    gene_networks,
    gene_terms,
    inputs,
    jaccard,
    kbet,
    layers,
    leiden,
    novelty,
    ontology,
    reconstruction,
    resampling,
    rogi,
    scgraph,
    semantic,
    silhouettes,
    transfer,
    variance,
    walk,
)
from scfm_eval.metrics.metric import Statistic
from scfm_eval.metrics.neighbors import nearest_neighbors
from tests.metrics.given import (
    BATCH,
    CELL,
    CONDITIONS,
    GIVEN,
    LABELS,
    LINEAGES,
    MINI,
    N_CELLS,
    OWN,
    PER_CELL,
    RESPONSES,
    TERMS,
    X,
    clusterings,
    neighbors,
    share,
)

FEW = np.array(["a", "b"])
HOLES = X.copy()
HOLES[[3, 5, 7], [0, 1, 1]] = np.nan, np.inf, -np.inf
FLAT = np.ones((3, 4))
TABLE = np.arange(8.0).reshape(4, 2)
TERMS_OF = {"members": TABLE > 3, "fold": np.array([[0, 0], [1, 1], [0, 0], [1, 1]])}
CL_LENGTH = len(MINI.terms)


def cells(name, n=N_CELLS, shape="(2,)"):
    return f"{name} of {n} cells", f"shape {shape}"


def pairs(scores, truth, regulator):
    return gene_networks.RankedPairs(np.array(scores, dtype=float), np.array(truth), np.array(regulator))


REFUSED = {
    "matrix of one dimension": (lambda: inputs.as_matrix([1.0, 2]), ("X with one row per cell", "shape (2,)")),
    "matrix of none": (lambda: inputs.finite_matrix(np.empty((0, 3))), ("X with one row per cell", "shape (0, 3)")),
    "matrix by its name": (lambda: inputs.as_matrix([1.0], name="own"), ("own with one row per cell", "shape (1,)")),
    "holes": (lambda: inputs.as_matrix(HOLES), ("finite X", "3 of 48 cells with NaN or infinity")),
    "holes by name": (
        lambda: inputs.finite_matrix(HOLES, name="own"), ("finite own", "3 of 48 cells with NaN or infinity"),
    ),
    "nmi labels": (lambda: clustering.nmi([0, 1, 2], labels=FEW), cells("clusters", 2, "(3,)")),
    "asw labels": (lambda: clustering.asw(X, labels=FEW), cells("labels")),
    "nmi table": (lambda: clustering.nmi(FEW, labels=[["a"], ["b"]]), cells("labels", 2, "(2, 1)")),
    "kbet labels": (lambda: kbet.kbet(neighbors(), labels=FEW, batch=BATCH), cells("labels")),
    "kbet batch": (lambda: kbet.kbet(neighbors(), labels=LABELS, batch=FEW), cells("batch")),
    "isolated table": (
        lambda: silhouettes.isolated_labels(X[:2], labels=[["a"], ["b"]], batch=FEW),
        cells("labels", 2, "(2, 1)"),
    ),
    "isolated batch": (lambda: silhouettes.isolated_labels(X, labels=LABELS, batch=FEW), cells("batch")),
    "silhouettes": (lambda: silhouettes.silhouettes(X, labels=FEW), cells("labels")),
    "pcr batch": (lambda: variance.pcr_batch(X, batch=FEW), cells("batch")),
    "pcr holes": (lambda: variance.pcr_batch(HOLES, batch=BATCH), ("finite X", "3 of 48 cells with NaN or infinity")),
    "pcr holes before": (
        lambda: variance.pcr_comparison(X, before=HOLES, batch=BATCH),
        ("finite before", "3 of 48 cells with NaN or infinity"),
    ),
    "jaccard labels": (
        lambda: jaccard.intra_type_jaccard(X, own_space=OWN, labels=FEW, batch=BATCH), cells("labels"),
    ),
    "jaccard batch": (
        lambda: jaccard.intra_type_jaccard(X, own_space=OWN, labels=LABELS, batch=FEW), cells("batch"),
    ),
    "jaccard published": (lambda: jaccard.jaccard_published(X, own_space=OWN, batch=FEW), cells("batch")),
    "jaccard own space": (
        lambda: jaccard.jaccard_published(X, own_space=HOLES, batch=BATCH),
        ("finite own_space", "3 of 48 cells with NaN or infinity"),
    ),
    "jaccard other cells": (
        lambda: jaccard.jaccard_published(X, own_space=OWN[:9], batch=BATCH), ("own_space of 48 cells", "9 cells"),
    ),
    "leiden half": (
        lambda: leiden.nmi_leiden(clusterings(), labels=LABELS, half=np.ones(3, dtype=bool)),
        ("half: true or false for each of 48 cells", "bool of shape (3,)"),
    ),
    "rogi": (lambda: rogi.rogi(rogi.Trees(X), labels=FEW), cells("labels")),
    "domain": (
        lambda: transfer.domain_accuracy(BATCH, predicted=FEW, labels=LABELS),
        ("predicted domains of 48 cells", "shape (2,)"),
    ),
    "domain labels": (lambda: transfer.domain_accuracy(BATCH, predicted=BATCH, labels=FEW), cells("labels")),
    "bootstrap strata": (
        lambda: resampling.bootstrap_weights(units=range(9), strata=[0, 1], n_resamples=1, seed=0), cells("strata", 9),
    ),
    "bootstrap units": (
        lambda: resampling.bootstrap_weights(units=[[1], [2]], strata=[0, 0], n_resamples=1, seed=0),
        cells("units", 2, "(2, 1)"),
    ),
    "bootstrap donors in two": (
        lambda: resampling.bootstrap_weights(
            units=list("uuvvww"), strata=[0, 1, 0, 1, 0, 0], n_resamples=1, seed=0
        ),
        ("units that lie within one stratum each", "2 in several, e.g. u"),
    ),
    "replicates": (
        lambda: resampling.replicates(share([1, 2, 3]), np.ones((5, 2))), ("weights of 3 cells", "shape (5, 2)"),
    ),
    "replicates of one dimension": (
        lambda: resampling.replicates(share([1, 2, 3]), np.ones(3)), ("weights of 3 cells", "shape (3,)"),
    ),
    "auroc shapes": (
        lambda: novelty.auroc([1.0, 2], positive=[True]),
        ("one score and one truth per cell", "shapes (2,) and (1,), 0 scores NaN"),
    ),
    "auroc NaN": (
        lambda: novelty.auroc([1.0, np.nan], positive=[True, False]),
        ("one score and one truth per cell", "shapes (2,) and (2,), 1 scores NaN"),
    ),
    "auroc tables": (
        lambda: novelty.auroc([[1.0], [2]], positive=[[True], [False]]),
        ("one score and one truth per cell", "shapes (2, 1) and (2, 1), 0 scores NaN"),
    ),
    "novelty": (
        lambda: novelty.novelty_auroc([[1.0, 2]], labels=["a", "b", "c"], held_out=["a"]),
        ("novelty of 3 cells for 1 held-out types", "shape (1, 2)"),
    ),
    "layers": (
        lambda: layers.linear_cka([np.eye(3), np.eye(5), np.eye(4)]), ("layers of the same cells", "3 to 5 cells"),
    ),
    "layers holes": (
        lambda: layers.linear_cka([X, HOLES]), ("finite layer 1", "3 of 48 cells with NaN or infinity"),
    ),
    "genes of distributions": (
        lambda: distributions.energy_distance(X, OWN[:, :3]),
        ("two sets of cells with the same genes", "4 and 3 columns"),
    ),
    "holes of distributions": (
        lambda: distributions.energy_distance(HOLES, X), ("finite X", "3 of 48 cells with NaN or infinity"),
    ),
    "holes of predictions": (
        lambda: distributions.energy_distance(X, HOLES), ("finite Y", "3 of 48 cells with NaN or infinity"),
    ),
    "differential shapes": (
        lambda: differential.Differential(np.zeros((2, 3)), np.ones((2, 2), dtype=bool)),
        ("strength and significance of each gene in each condition", "(2, 3) and (2, 2), 0 NaN"),
    ),
    "differential NaN": (
        lambda: differential.Differential(np.array([[np.nan, 1.0, np.nan]]), np.ones((1, 3), dtype=bool)),
        ("strength and significance of each gene in each condition", "(1, 3) and (1, 3), 2 NaN"),
    ),
    "pairs shapes": (
        lambda: pairs([1, 2], [True, False], [0]),
        ("a score, a truth and a regulator for each pair of genes", "shapes [(1,), (2,)], 0 infinite scores"),
    ),
    "pairs infinite": (
        lambda: pairs([1, np.inf, -np.inf], [True, False, True], [0, 1, 1]),
        ("a score, a truth and a regulator for each pair of genes", "shapes [(3,)], 2 infinite scores"),
    ),
    "pairs none": (
        lambda: pairs([], [], []),
        ("a score, a truth and a regulator for each pair of genes", "shapes [(0,)], 0 infinite scores"),
    ),
    "pairs tables": (
        lambda: pairs([[1.0]], [[True]], [[0]]),
        ("a score, a truth and a regulator for each pair of genes", "shapes [(1, 1)], 0 infinite scores"),
    ),
    "terms shapes": (
        lambda: gene_terms.term_auroc(TABLE, members=TABLE[:2] > 0, fold=TERMS_OF["fold"]),
        ("a score, a truth and a fold for each gene and term", "shapes (4, 2), (2, 2) and (4, 2)"),
    ),
    "terms of one dimension": (
        lambda: gene_terms.term_auroc(TABLE[:, 0], members=TABLE[:, 0] > 3, fold=[0, 1, 0, 1]),
        ("a score, a truth and a fold for each gene and term", "shapes (4,), (4,) and (4,)"),
    ),
    "terms not finite": (
        lambda: gene_terms.term_auroc(np.where(TABLE > 5, np.nan, TABLE), **TERMS_OF),
        ("a score, a truth and a fold for each gene and term", "2 scores that are not finite"),
    ),
    "terms of one kind": (
        lambda: gene_terms.term_auroc(TABLE, members=TABLE > 3, fold=[[0, 0], [0, 1], [1, 0], [1, 0]]),
        ("a score, a truth and a fold for each gene and term", "3 folds with genes of one kind only"),
    ),
    "terms unknown": (
        lambda: ontology.Lineages.of(["CL:1", "CL:2", "CL:3", "CL:4", *TERMS], MINI),
        (f"terms of {MINI.release}", "CL:1, CL:2, CL:3, not in use there"),
    ),
    "terms none": (lambda: ontology.Lineages.of([], MINI), (f"terms of {MINI.release}", "no term")),
    "terms strange": (
        lambda: ontology.lcad([*TERMS, "x"], [*TERMS, "y"], lineages=LINEAGES),
        ("one of 2 terms for each cell", "shape (3,), x"),
    ),
    "terms table": (
        lambda: LINEAGES.codes([TERMS]), ("one of 2 terms for each cell", "shape (1, 2), all terms known"),
    ),
    "terms of no cell": (lambda: LINEAGES.codes([]), ("one of 2 terms for each cell", "shape (0,), all terms known")),
    "terms of other cells": (
        lambda: ontology.lcad(TERMS, TERMS[:1], lineages=LINEAGES),
        ("one true and one predicted term per cell", "2 and 1"),
    ),
    "information": (
        lambda: semantic.lin(TERMS, TERMS, lineages=LINEAGES, information=[1.0, np.nan, np.inf]),
        (f"information content of {CL_LENGTH} terms", "shape (3,), 2 not finite"),
    ),
    "information not finite": (
        lambda: semantic.lin(TERMS, TERMS, lineages=LINEAGES, information=np.full(CL_LENGTH, np.inf)),
        (f"information content of {CL_LENGTH} terms", f"shape ({CL_LENGTH},), {CL_LENGTH} not finite"),
    ),
    "walk": (
        lambda: walk.walk_distances(MINI, ["a", "b", "c", "d", *TERMS]), (f"terms of {MINI.release}", "a, b, c"),
    ),
    "text vectors": (
        lambda: walk.walk_distances(MINI, TERMS, text_vectors=np.ones((3, 2))),
        (f"text vectors of {CL_LENGTH} terms", "shape (3, 2), or a vector that is zero or not finite"),
    ),
    "text vectors of zero": (
        lambda: walk.walk_distances(MINI, TERMS, text_vectors=np.zeros((CL_LENGTH, 2))),
        (f"text vectors of {CL_LENGTH} terms", f"shape ({CL_LENGTH}, 2), or a vector that is zero or not finite"),
    ),
    "graph labels": (
        lambda: scgraph.batch_distances(X, own_space=OWN, labels=FEW, batch=BATCH), cells("labels"),
    ),
    "graph batch": (lambda: scgraph.batch_distances(X, own_space=OWN, labels=LABELS, batch=FEW), cells("batch")),
    "graph own space": (
        lambda: scgraph.batch_distances(X, own_space=HOLES, labels=LABELS, batch=BATCH),
        ("finite own_space", "3 of 48 cells with NaN or infinity"),
    ),
    "responses": (
        lambda: replace(RESPONSES, predicted=FLAT[:2], centroid=np.full((3, 4), np.nan), answered=FEW),
        (
            "finite expression of 3 conditions, truth (3, 4)",
            "predicted (2, 4), answered (2,), centroid with NaN or infinity",
        ),
    ),
    "responses rows": (
        lambda: replace(RESPONSES, conditions=CONDITIONS[:2]),
        ("finite expression of 2 conditions, truth (3, 4)", "another number of rows"),
    ),
    "reconstruction": (
        lambda: reconstruction.cell_mse(PER_CELL, GIVEN[:3], cell=CELL),
        ("true and predicted values of the genes that each cell expresses", "shapes (12,), (3,) and (12,)"),
    ),
    "reconstruction of none": (
        lambda: reconstruction.cell_mse([], [], cell=[]),
        ("true and predicted values of the genes that each cell expresses", "shapes (0,), (0,) and (0,)"),
    ),
    "reconstruction of tables": (
        lambda: reconstruction.cell_mse([[1.0]], [[1.0]], cell=[[0]]),
        ("true and predicted values of the genes that each cell expresses", "shapes (1, 1), (1, 1) and (1, 1)"),
    ),
    "reconstruction NaN": (
        lambda: reconstruction.cell_mse([1.0, np.nan], [1.0, 1.0], cell=[0, 0]),
        ("true and predicted values of the genes that each cell expresses", "values with NaN or infinity"),
    ),
    "reconstruction infinite": (
        lambda: reconstruction.cell_mse([1.0, 1.0], [1.0, np.inf], cell=[0, 0]),
        ("true and predicted values of the genes that each cell expresses", "values with NaN or infinity"),
    ),
    "reconstruction gaps": (
        lambda: reconstruction.cell_mse([1.0, 1.0], [1.0, 1.0], cell=[0, 3]),
        ("true and predicted values of the genes that each cell expresses", "2 cells without a value"),
    ),
    "reconstructed tables": (
        lambda: reconstruction.gene_r2(X, OWN[:, :2]),
        ("true and predicted expression of the same cells and genes", "shapes (48, 4) and (48, 2)"),
    ),
    "reconstructed holes": (
        lambda: reconstruction.gene_r2(X, HOLES), ("finite predicted", "3 of 48 cells with NaN or infinity"),
    ),
    "reconstructed true holes": (
        lambda: reconstruction.gene_r2(HOLES, X), ("finite target", "3 of 48 cells with NaN or infinity"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_refused_is_named(name):
    call, (asked, found) = REFUSED[name]
    with pytest.raises(InvalidInputError) as refused:
        call()
    assert (refused.value.asked, refused.value.found) == (asked, found)
    assert refused.value.remedy


def test_categories_are_sorted_names_and_their_codes():
    codes, names = inputs.as_categories([10, 9, 10], n_cells=3, name="batch")
    np.testing.assert_array_equal(codes, [0, 1, 0])
    assert names.tolist() == ["10", "9"]
    assert codes.dtype == np.int64


def test_matrices_are_centred_copies_in_double_precision():
    given = np.array([[1, 2], [3, 6]], dtype=np.float32)
    made = inputs.as_matrix(given)
    np.testing.assert_array_equal(made, [[-1, -2], [1, 2]])
    assert made.dtype == np.float64
    np.testing.assert_array_equal(inputs.finite_matrix([["1"]]), [[1.0]])
    np.testing.assert_array_equal(given, [[1, 2], [3, 6]])


def test_a_statistic_has_no_how_of_its_own():
    assert Statistic(lambda weights: weights[:, 0], n_cells=1).how == {}
    assert nearest_neighbors(X, k=3).n_cells == N_CELLS

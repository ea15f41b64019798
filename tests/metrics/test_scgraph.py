"""scGraph and scGraph-OntoRWR: golden values without the diagonal, and what noise, oracles and faults give."""

from __future__ import annotations

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.decomposition import PCA

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.permutation import type_orders
from scfm_eval.metrics.scgraph import (
    TypeDistances,
    batch_distances,
    ontology_distances,
    scgraph,
    scgraph_ontorwr,
    scgraph_ontorwr_spearman,
    scgraph_published,
)
from scfm_eval.metrics.walk import visits, walk_distances
from scfm_eval.ontology import packaged, read_obo
from tests.metrics.conftest import GOLDEN

MINI = read_obo(GOLDEN / "ontology_graph" / "mini_cl.obo")
INPUT = dict(np.load(GOLDEN / "scgraph_ontorwr" / "input.npz"))
WALK = json.loads((GOLDEN / "scgraph_ontorwr" / "expected.json").read_text())
BATCHES = json.loads((GOLDEN / "scgraph" / "expected.json").read_text())


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(GOLDEN / "scgraph" / "input.h5ad")


@pytest.fixture(scope="module")
def keys(cells):
    batch = cells.obs["batch"].to_numpy().astype(str)
    own = np.zeros((cells.n_obs, 10))
    expression = np.asarray(cells.X, dtype=np.float64)
    for name in np.unique(batch):
        own[batch == name] = PCA(10, svd_solver="full").fit_transform(expression[batch == name])
    return {"own_space": own, "labels": cells.obs["cell_type"].to_numpy().astype(str), "batch": batch}


def random_distances(n_types, rng):
    points = rng.normal(size=(2, n_types, 10))
    first, second = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in points)
    return TypeDistances(tuple(map(str, range(n_types))), first, second)


@pytest.mark.parametrize("embedding", ["X_model", "X_2d", "X_noise"])
@pytest.mark.parametrize(("trim", "key"), [(0.05, "trim_0_05"), (0.2, "trim_0_20")])
def test_scgraph_is_golden(cells, keys, embedding, trim, key):
    found = batch_distances(cells.obsm[embedding], trim=trim, min_cells_in_batch=1, **keys)
    assert list(found.types) == BATCHES["intermediate"]["types"]
    assert found.how["batches_too_small"] == BATCHES["intermediate"]["skipped_batches"]
    assert found.how["types_too_small"] == BATCHES["intermediate"]["ignored_types"]
    corrected, published = (BATCHES[s]["values"][embedding][key] for s in ("corrected", "reference"))
    assert scgraph(found) == pytest.approx(corrected["Corr-Weighted"], abs=5e-5)
    assert scgraph_published(found) == pytest.approx(published["Corr-PCA"], abs=5e-5)
    if trim == 0.05:
        consensus = np.array(BATCHES["intermediate"]["consensus_trim_0_05"], dtype=np.float64)
        np.testing.assert_allclose(found.reference, consensus, atol=5e-5)


@pytest.mark.parametrize("embedding", ["X", "X_noise"])
@pytest.mark.parametrize(("n_dimensions", "key"), [(16, "dim_16"), (49, "dim_49"), (256, "dim_49")])
def test_ontorwr_is_golden(embedding, n_dimensions, key):
    found = ontology_distances(INPUT[embedding], terms=INPUT["labels"], ontology=MINI)
    assert list(found.types) == WALK["intermediate"]["used_types"]
    assert found.how["types_too_small"] == WALK["intermediate"]["ignored_types"]
    walked = replace(found, reference=walk_distances(MINI, found.types, n_dimensions=n_dimensions))
    expected = WALK["values"][embedding][key]
    assert scgraph_ontorwr(walked) == pytest.approx(expected["corrected_mean_pearson_without_diagonal"], abs=1e-6)
    spearman = expected["corrected_mean_spearman_without_diagonal"]
    assert scgraph_ontorwr_spearman(walked) == pytest.approx(spearman, abs=1e-6)
    assert scgraph_published(walked) == pytest.approx(expected["reference_mean_pearson_with_diagonal"], abs=1e-6)


def test_the_walk_is_golden():
    found = visits(MINI.neighbors())
    first = MINI.position["CL:0000895"]
    for term, value in WALK["intermediate"]["Q_row_of_first_label"].items():
        assert found[first, MINI.position[term]] == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_permuted_types_land_on_the_golden_chance():
    found = ontology_distances(INPUT["X"], terms=INPUT["labels"], ontology=MINI)
    chance = WALK["chance_by_permuting_type_names_500"]
    values = [scgraph_ontorwr(found.permuted(order)) for order in type_orders(len(found.types))[:500]]
    error = 3 * chance["without_diagonal_sd"] / np.sqrt(500)
    assert np.mean(values) == pytest.approx(chance["without_diagonal_mean"], abs=2 * error)
    assert np.std(values) == pytest.approx(chance["without_diagonal_sd"], rel=0.15)


def test_unrelated_distances_correlate_through_their_diagonal_only():
    rng = np.random.default_rng(0)
    made = [random_distances(6, rng) for _ in range(200)]
    assert np.mean([scgraph_published(one) for one in made]) > 0.8
    for metric in (scgraph, scgraph_ontorwr, scgraph_ontorwr_spearman):
        assert abs(np.mean([metric(one) for one in made])) < 0.06


def test_equal_distances_reach_the_best():
    one = random_distances(8, np.random.default_rng(1))
    same = replace(one, reference=3 * one.embedding)
    for metric in (scgraph, scgraph_published, scgraph_ontorwr, scgraph_ontorwr_spearman):
        assert metric(same) == pytest.approx(1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-3, 1e3))
def test_order_names_and_scale_mean_nothing(seed, factor):
    rng = np.random.default_rng(seed)
    X, terms = INPUT["X"].astype(np.float64), INPUT["labels"]
    plain = ontology_distances(X, terms=terms, ontology=MINI)
    order = rng.permutation(len(X))
    moved = ontology_distances(factor * X[order] + 5, terms=terms[order], ontology=MINI)
    for metric in (scgraph_ontorwr, scgraph_ontorwr_spearman):
        assert metric(moved) == pytest.approx(metric(plain), abs=1e-6)
    shuffled = rng.permutation(len(plain.types))
    both = TypeDistances(
        tuple(plain.types[i] for i in shuffled),
        plain.embedding[np.ix_(shuffled, shuffled)],
        plain.reference[np.ix_(shuffled, shuffled)],
    )
    assert scgraph(both) == pytest.approx(scgraph(plain), abs=1e-9)


def test_rotation_means_nothing_without_trimming():
    turned = INPUT["X"] @ ortho_group.rvs(INPUT["X"].shape[1], random_state=0)
    plain, other = (ontology_distances(X, terms=INPUT["labels"], ontology=MINI, trim=0.0) for X in (INPUT["X"], turned))
    assert scgraph_ontorwr(other) == pytest.approx(scgraph_ontorwr(plain), abs=1e-5)


def test_weights_draw_types():
    statistic = scgraph_ontorwr.statistic(ontology_distances(INPUT["X"], terms=INPUT["labels"], ontology=MINI))
    expected = WALK["values"]["X"]["dim_49"]["per_type_pearson_without_diagonal"]
    for i, value in enumerate(expected.values()):
        assert statistic.of_weights(np.eye(statistic.n_cells)[[i]])[0] == pytest.approx(value, abs=1e-5)
    assert statistic.how["drawn"] == "types"


def test_types_count_in_batches_where_they_have_ten_cells(cells, keys):
    few = (keys["batch"] == "b1") & (keys["labels"] == "B cell")
    assert few.sum() == 5
    moved = keys | {"own_space": keys["own_space"] + 100 * few[:, None]}
    plain, other = (batch_distances(cells.obsm["X_model"], **known).reference for known in (keys, moved))
    np.testing.assert_allclose(other, plain)
    plain, other = (
        batch_distances(cells.obsm["X_model"], min_cells_in_batch=5, **known).reference for known in (keys, moved)
    )
    assert np.nanmax(np.abs(other - plain)) > 0.05


def test_a_type_of_small_batches_only_has_no_value_and_is_named(cells, keys):
    labels = keys["labels"].astype(object)
    labels[keys["batch"] == "small"] = "only there"
    found = scgraph.statistic(batch_distances(cells.obsm["X_model"], **(keys | {"labels": labels.astype(str)})))
    assert found.how["types_without_value"] == ["only there"]
    assert found.how["n_types"] == 8


def test_too_little_is_undefined(keys):
    small = {key: values[:90] for key, values in keys.items()}
    with pytest.raises(UndefinedMetricError, match="no batch has 100 cells"):
        batch_distances(np.ones((90, 2)), **small)
    with pytest.raises(UndefinedMetricError, match="3 types"):
        scgraph_ontorwr(random_distances(3, np.random.default_rng(0)))
    flat = TypeDistances(tuple("abcde"), 1 - np.eye(5), random_distances(5, np.random.default_rng(0)).reference)
    with pytest.raises(UndefinedMetricError, match="no type's distances to the others vary"):
        scgraph_ontorwr(flat)


def test_edges_weigh_by_text_vectors_when_these_are_given():
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=4), (len(MINI.terms), 1))
    terms = MINI.terms[:8]
    np.testing.assert_allclose(walk_distances(MINI, terms, text_vectors=same), walk_distances(MINI, terms), atol=1e-9)
    other = walk_distances(MINI, terms, text_vectors=rng.normal(size=(len(MINI.terms), 4)))
    assert np.abs(other - walk_distances(MINI, terms)).max() > 0.01
    with pytest.raises(InvalidInputError, match="text vectors of 50 terms"):
        walk_distances(MINI, terms, text_vectors=same[:3])
    with pytest.raises(InvalidInputError, match="CL:none"):
        walk_distances(MINI, ["CL:none"])


def test_the_whole_ontology_keeps_256_dimensions_and_puts_siblings_near():
    cd4, cd8, neuron = 0, 1, 2
    found = walk_distances(packaged(), ["CL:0000624", "CL:0000625", "CL:0000540"])
    assert found[cd4, cd8] < found[cd4, neuron]
    np.testing.assert_allclose(found, found.T)


def test_types_of_ten_cells_and_batches_of_a_hundred_count_and_all_is_said():
    rng = np.random.default_rng(0)
    labels = np.array([*"a" * 30, *"b" * 30, *"c" * 30, *"d" * 10, *"a" * 7, *"e" * 3])
    batch = np.repeat(["b1", "b2"], [100, 10])
    X, own = rng.normal(size=(2, 110, 3))
    found = batch_distances(X, own_space=own, labels=labels, batch=batch, trim=0.0)
    assert found.types == ("a", "b", "c", "d")
    assert found.how == {"trim": 0.0, "n_batches": 1, "batches_too_small": ["b2"], "types_too_small": ["e"]}
    whole, within = (
        np.array([space[(labels == name) & where].mean(axis=0) for name in "abcd"])
        for space, where in ((X, np.full(110, True)), (own, batch == "b1"))
    )
    np.testing.assert_allclose(found.embedding, np.linalg.norm(whole[:, None] - whole[None], axis=2))
    near = np.linalg.norm(within[:, None] - within[None], axis=2)
    np.testing.assert_allclose(found.reference, near / near.max(axis=0))
    assert -1 <= scgraph(found) <= 1
    assert batch_distances(X, own_space=own, labels=labels, batch=batch).how["trim"] == 0.05


def test_distances_of_an_ontology_say_which_and_how_trimmed():
    labels, X = np.array([*INPUT["labels"], *["CL:0000000"] * 3]), np.concatenate([INPUT["X"], INPUT["X"][:3]])
    found = ontology_distances(X, terms=labels, ontology=MINI)
    assert found.how == {"trim": 0.2, "types_too_small": ["CL:0000000", "CL:0000451"], "ontology": MINI.release}


def test_a_type_without_a_value_leaves_the_mean():
    made = random_distances(6, np.random.default_rng(0))
    reference = made.reference.copy()
    reference[2, :] = reference[:, 2] = np.nan
    statistic = scgraph.statistic(replace(made, reference=reference))
    assert statistic.how["types_without_value"] == ["2"]
    others = [0, 1, 3, 4, 5]
    small = TypeDistances(tuple("01345"), *(part[np.ix_(others, others)] for part in (made.embedding, made.reference)))
    assert statistic.value() == pytest.approx(scgraph(small))
    np.testing.assert_allclose(statistic.of_weights(np.eye(6))[others], scgraph.statistic(small).of_weights(np.eye(5)))
    assert np.isnan(statistic.of_weights(np.eye(6))[2])

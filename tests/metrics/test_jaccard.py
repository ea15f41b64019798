import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.jaccard import intra_type_jaccard, jaccard_published
from scfm_eval.metrics.metric import UndefinedMetricError

EMBEDDINGS = pytest.mark.parametrize("name", ["latent", "latent_types_only", "latent_noise", "latent_rotated"])


@EMBEDDINGS
@pytest.mark.parametrize("k", [15, 6])
def test_published_golden(name, k, jaccard_golden):
    found = jaccard_published(
        getattr(jaccard_golden, name), own_space=jaccard_golden.X_pca_batch, batch=jaccard_golden.batch, n_neighbors=k
    )
    assert found == pytest.approx(jaccard_golden.expected["values"][name][f"reference_k{k}"], abs=1e-9)


@EMBEDDINGS
def test_corrected_golden_of_every_group(name, jaccard_golden):
    golden = jaccard_golden
    statistic = intra_type_jaccard.statistic(
        getattr(golden, name),
        own_space=golden.X_pca_batch,
        labels=golden.labels,
        batch=golden.batch,
        n_neighbors=14,
        min_cells=20,
    )
    expected = golden.expected["values"][name]["corrected_within_batch_and_label"]
    assert statistic.value() == pytest.approx(expected["mean_adjusted"], abs=1e-9)
    groups = np.char.add(np.char.add(golden.batch, "|"), golden.labels.astype(str))
    only = np.array([groups == group for group in expected["groups"]], dtype=float)
    adjusted = [group["adjusted"] for group in expected["groups"].values()]
    np.testing.assert_allclose(statistic.of_weights(only), adjusted, atol=1e-9)
    assert statistic.how["n_cells_in_groups"] == sum(group["n"] for group in expected["groups"].values())


def blobs(n_cells=480):
    rng = np.random.default_rng(0)
    labels, batch = np.repeat(["B", "T"], n_cells // 2), np.tile(["p1", "p2"], n_cells // 2)
    return rng.normal(size=(n_cells, 5)), {"labels": labels, "batch": batch}


def test_same_structure_is_best_and_separated_types_without_structure_are_at_chance():
    own, keys = blobs()
    assert intra_type_jaccard(3 * own + 7, own_space=own, **keys) == pytest.approx(intra_type_jaccard.best)
    types_only = 50 * (keys["labels"] == "B")[:, None] + np.random.default_rng(1).normal(size=own.shape)
    assert intra_type_jaccard(types_only, own_space=own, **keys) == pytest.approx(intra_type_jaccard.chance, abs=0.02)


def test_small_groups_are_left_out_and_none_is_undefined():
    own, keys = blobs()
    keys["labels"] = keys["labels"].copy()
    keys["labels"][:60] = "T"
    how = intra_type_jaccard.statistic(own, own_space=own, **keys).how
    assert (how["n_groups"], how["n_cells_in_groups"]) == (2, 300)
    with pytest.raises(UndefinedMetricError, match="500 cells"):
        intra_type_jaccard(own, own_space=own, min_cells=500, **keys)
    with pytest.raises(UndefinedMetricError, match="batch p2 has 10 cells"):
        jaccard_published(own, own_space=own, batch=np.repeat(["p1", "p2"], [470, 10]))


def test_other_cells_are_refused():
    own, keys = blobs()
    with pytest.raises(InvalidInputError, match="479"):
        intra_type_jaccard(own, own_space=own[:-1], **keys)


def test_groups_are_large_enough_for_neighbours_whatever_is_asked():
    rng = np.random.default_rng(0)
    own, labels = rng.normal(size=(33, 3)), np.repeat(["B", "T"], [16, 17])
    keys = {"labels": labels, "batch": np.repeat("p1", 33), "min_cells": 5}
    how = intra_type_jaccard.statistic(own, own_space=own, **keys).how
    assert (how["n_groups"], how["n_cells_in_groups"]) == (1, 17)
    assert intra_type_jaccard.statistic(own, own_space=own, n_neighbors=14, **keys).how["n_groups"] == 2
    only = np.repeat("p1", 15)
    assert jaccard_published(own[:15], own_space=own[:15], batch=only) == 1


def adjusted_by_pairs(own, embedded, n_neighbors):
    """Jaccard index of two symmetric neighbour graphs, less what their densities alone give."""
    graphs = []
    for space in (own, embedded):
        distances = np.linalg.norm(space[:, None] - space[None], axis=2)
        near = np.argsort(distances, axis=1)[:, 1 : n_neighbors + 1]
        graph = np.zeros(distances.shape, dtype=bool)
        graph[np.arange(len(space))[:, None], near] = True
        graphs.append(graph | graph.T)
    pairs = len(own) * (len(own) - 1)
    first, second = (graph.sum() / pairs for graph in graphs)
    chance = first * second / (first + second - first * second)
    found = (graphs[0] & graphs[1]).sum() / (graphs[0] | graphs[1]).sum()
    return (found - chance) / (1 - chance)


def test_equals_its_definition_over_pairs():
    rng = np.random.default_rng(1)
    own = rng.normal(size=(60, 3))
    embedded = own + 0.7 * rng.normal(size=own.shape)
    labels = np.repeat(["B", "T"], 30)
    found = intra_type_jaccard(
        embedded, own_space=own, labels=labels, batch=np.repeat("p1", 60), n_neighbors=6, min_cells=20
    )
    groups = [slice(0, 30), slice(30, 60)]
    assert found == pytest.approx(np.mean([adjusted_by_pairs(own[of], embedded[of], 6) for of in groups]))

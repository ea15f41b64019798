"""Walks on an ontology: the stationary visits, weights of edges from texts, and both ways to find components."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import walk as module
from scfm_eval.metrics.walk import visits, walk_distances
from scfm_eval.ontology import read_obo
from tests.metrics.conftest import GOLDEN

MINI = read_obo(GOLDEN / "ontology_graph" / "mini_cl.obo")
TERMS = MINI.terms[3:12]
N = len(MINI.terms)


def weighted(vectors):
    """Edges of the ontology, each with half of one plus the cosine of its ends."""
    edges = MINI.neighbors().toarray()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(edges > 0, (1 + unit @ unit.T) / 2, 0.0)


def distances_of(edges, n_dimensions):
    """Distances of the leading components of the logarithm of all visits, solved and not iterated."""
    n = len(edges)
    steps = edges / edges.sum(axis=1, keepdims=True)
    stationary = 0.7 * np.linalg.inv(np.eye(n) - 0.3 * steps)
    left, values, _ = np.linalg.svd(np.log(stationary + 1 / n**2) - np.log(1 / n**2))
    coordinates = (left * np.sqrt(values))[:, : min(n_dimensions, n - 1)]
    rows = [MINI.position[term] for term in TERMS]
    return cdist(coordinates[rows], coordinates[rows])


def test_visits_are_the_stationary_ones():
    edges = np.array([[0, 1, 0, 0], [1, 0, 3, 0], [0, 3, 0, 0], [0, 0, 0, 0]], dtype=float)
    steps = np.array([[0, 1, 0, 0], [0.25, 0, 0.75, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    found = visits(sparse.csr_array(edges))
    np.testing.assert_allclose(found, 0.7 * np.linalg.inv(np.eye(4) - 0.3 * steps), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_walk_stops_when_little_changes():
    steps, found = np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(2)
    for _ in range(20):
        following = 0.3 * steps @ found + 0.7 * np.eye(2)
        change, found = np.linalg.norm(following - found), following
        if change < 1e-4:
            break
    np.testing.assert_allclose(visits(sparse.csr_array(steps)), found, rtol=1e-14)


def test_the_walk_takes_49_steps_at_most(monkeypatch):
    monkeypatch.setattr(module, "_TOLERANCE", 0.0)
    monkeypatch.setattr(module, "RESTART", 0.01)
    steps, found = np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(2)
    for _ in range(49):
        found = 0.99 * steps @ found + 0.01 * np.eye(2)
    np.testing.assert_allclose(visits(sparse.csr_array(steps)), found, rtol=1e-12)


@pytest.mark.parametrize("n_dimensions", [3, 20, 500])
def test_distances_are_of_the_leading_components(n_dimensions):
    expected = distances_of(MINI.neighbors().toarray(), n_dimensions)
    np.testing.assert_allclose(walk_distances(MINI, TERMS, n_dimensions=n_dimensions), expected, atol=2e-3)
    vectors = np.random.default_rng(0).normal(size=(N, 4))
    found = walk_distances(MINI, TERMS, n_dimensions=n_dimensions, text_vectors=vectors)
    np.testing.assert_allclose(found, distances_of(weighted(vectors), n_dimensions), atol=2e-3)
    np.testing.assert_allclose(
        walk_distances(MINI, TERMS, n_dimensions=n_dimensions, text_vectors=7 * vectors), found, atol=1e-9
    )


def test_a_large_ontology_has_the_same_components(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(N, 4))
    dense = walk_distances(MINI, TERMS, n_dimensions=6, text_vectors=vectors)
    monkeypatch.setattr(module, "_SMALL", N - 1)
    np.testing.assert_allclose(walk_distances(MINI, TERMS, n_dimensions=6, text_vectors=vectors), dense, atol=1e-9)
    monkeypatch.setattr(module, "_SMALL", N)
    np.testing.assert_array_equal(walk_distances(MINI, TERMS, n_dimensions=6, text_vectors=vectors), dense)


def test_all_256_dimensions_are_taken_unless_fewer_are_asked_for():
    np.testing.assert_array_equal(walk_distances(MINI, TERMS), walk_distances(MINI, TERMS, n_dimensions=N))
    assert module.N_DIMENSIONS == 256


@pytest.mark.parametrize(
    "vectors",
    [np.ones(N), np.where(np.arange(N)[:, None] == 3, np.inf, np.ones((N, 2))), np.ones((N + 1, 2)), np.eye(N)[:, 1:]],
)
def test_texts_without_a_direction_are_refused(vectors):
    with pytest.raises(InvalidInputError) as refused:
        walk_distances(MINI, TERMS, text_vectors=vectors)
    assert refused.value.found == f"shape {vectors.shape}, or a vector that is zero or not finite"


def test_components_of_a_large_ontology_are_the_same_every_time(monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 10)
    vectors = np.random.default_rng(0).normal(size=(N, 4))
    first, second = (walk_distances(MINI, TERMS, n_dimensions=6, text_vectors=vectors) for _ in range(2))
    np.testing.assert_array_equal(first, second)

"""Kernels on neighbours against the same definitions written row by row and pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.sparse import block_diag, csr_array

from scfm_eval.metrics import kernels as module
from scfm_eval.metrics.kernels import diffusion_map, fuzzy_connectivities, perplexity_kernel
from scfm_eval.metrics.neighbors import Neighbors, nearest_neighbors


def membership_of_row(distances, *, overall_mean):
    """Memberships of one cell's neighbours, the cell itself left out."""
    positive = distances[distances > 0]
    rho = positive.min() if len(positive) else 0.0
    excess = np.maximum(distances - rho, 0.0)[1:]

    def surplus(log_sigma):
        return np.exp(-excess / np.exp(log_sigma)).sum() - np.log2(len(distances))

    solvable = surplus(-30.0) < 0 < surplus(30.0)
    sigma = np.exp(brentq(surplus, -30.0, 30.0, xtol=1e-14)) if solvable else 0.0
    sigma = max(sigma, 1e-3 * (distances.mean() if rho > 0 else overall_mean))
    return np.exp(-excess / sigma)


def fuzzy_by_rows(neighbors):
    n_cells = neighbors.n_cells
    directed = np.zeros((n_cells, n_cells))
    for cell in range(n_cells):
        found = membership_of_row(neighbors.distances[cell], overall_mean=neighbors.distances.mean())
        directed[cell, neighbors.indices[cell, 1:]] = found
    return directed + directed.T - directed * directed.T


def test_memberships_equal_the_definition_row_by_row(mixture):
    neighbors = nearest_neighbors(mixture.X[:80], k=15)
    found = fuzzy_connectivities(neighbors)
    np.testing.assert_allclose(found.toarray(), fuzzy_by_rows(neighbors), atol=1e-9)
    assert isinstance(found, csr_array)


@pytest.mark.parametrize("nearest", [0.0, 0.5, 2.0])
def test_many_neighbours_at_one_distance_have_a_least_width(nearest):
    # nobody is a neighbour of his neighbours, so that each membership is seen as it is
    n = 30
    indices = (np.arange(n)[:, None] + np.arange(9)) % n
    row = np.array([0.0, *[nearest] * 5, nearest + 0.001, nearest + 0.002, nearest + 4])
    neighbors = Neighbors(indices, row * (1 + np.arange(n)[:, None] % 3))
    found = fuzzy_connectivities(neighbors).toarray()
    np.testing.assert_allclose(found, fuzzy_by_rows(neighbors), atol=1e-9)
    assert 0.01 < found[0, 7] < 0.9


def test_duplicates_belong_together_fully():
    neighbors = nearest_neighbors(np.zeros((12, 2)), k=6)
    directed = np.zeros((12, 12))
    directed[np.arange(12)[:, None], neighbors.indices[:, 1:]] = 1
    np.testing.assert_array_equal(fuzzy_connectivities(neighbors).toarray(), np.maximum(directed, directed.T))


def test_perplexity_kernel_row_by_row():
    distances = np.sort(
        np.random.default_rng(0).exponential(size=(6, 20)) * [[1], [10], [100], [0.1], [3], [7]], axis=1
    )

    def shares(row, beta):
        kernel = np.exp(-(row - row[0]) * beta)
        return kernel / kernel.sum()

    def surplus(log_beta, row):
        p = shares(row, np.exp(log_beta))
        return np.exp(-np.sum(p * np.log(np.maximum(p, 1e-300)))) - 7

    expected = [shares(row, np.exp(brentq(surplus, -15, 15, args=(row,), xtol=1e-14))) for row in distances]
    np.testing.assert_allclose(perplexity_kernel(distances, perplexity=7), expected, rtol=1e-7)
    assert perplexity_kernel(distances, perplexity=7).sum(axis=1) == pytest.approx(1)


def graph(n, seed):
    """A connected weighted graph: a ring and some chords."""
    rng = np.random.default_rng(seed)
    made = np.zeros((n, n))
    made[np.arange(n), (np.arange(n) + 1) % n] = rng.uniform(0.5, 1, size=n)
    made[rng.integers(n, size=2 * n), rng.integers(n, size=2 * n)] = rng.uniform(0.1, 0.9, size=2 * n)
    made = np.maximum(made, made.T)
    np.fill_diagonal(made, 0)
    return csr_array(made)


def diffused(weights, n_components):
    """Eigenvectors of the transition matrix, each times λ / (1 − λ), those of λ = 1 as they are."""
    density = weights.sum(axis=0)
    kernel = weights / density[:, None] / density[None, :]
    root = np.sqrt(kernel.sum(axis=0))
    values, vectors = np.linalg.eigh(kernel / root[:, None] / root[None, :])
    largest = np.argsort(-np.abs(values))[:n_components]
    largest = largest[np.argsort(-values[largest])]
    values, vectors = values[largest], vectors[:, largest]
    factor = np.array([1.0 if value > 1 - 1e-9 else value / (1 - value) for value in values])
    return vectors * factor


def same_up_to_sign(found, expected):
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-7)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-7)


@pytest.mark.parametrize("n_components", [4, 12, 60])
def test_diffusion_equals_its_definition(n_components):
    one = graph(30, seed=0)
    same_up_to_sign(diffusion_map(one, n_components=n_components), diffused(one.toarray(), min(n_components, 29)))


def test_every_piece_of_a_graph_keeps_a_component_of_its_own():
    two = csr_array(block_diag([graph(20, seed=0), graph(16, seed=1)]))
    found, expected = diffusion_map(two, n_components=6), diffused(two.toarray(), 6)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-7)
    pieces = np.repeat([0, 1], [20, 16])
    assert np.abs(found[:, :2]).max() < 1
    np.testing.assert_allclose((found[:, :2] ** 2).sum(axis=0), 1)
    assert (found[pieces == 0] @ found[pieces == 1].T)[0, 0] == pytest.approx(0, abs=1e-7)


def test_large_graphs_have_the_same_leading_components(monkeypatch):
    one = graph(60, seed=2)
    dense = diffusion_map(one, n_components=6)
    monkeypatch.setattr(module, "DENSE_UP_TO", 59)
    sparse = diffusion_map(one, n_components=6)
    assert sparse.shape == (60, 6)
    same_up_to_sign(sparse, dense)
    monkeypatch.setattr(module, "DENSE_UP_TO", 60)
    np.testing.assert_array_equal(diffusion_map(one, n_components=6), dense)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_distances_means_nothing(scale, mixture):
    neighbors = nearest_neighbors(mixture.X[:60], k=15)
    scaled = Neighbors(neighbors.indices, neighbors.distances * scale)
    expected = fuzzy_connectivities(neighbors).toarray()
    np.testing.assert_allclose(fuzzy_connectivities(scaled).toarray(), expected, atol=1e-9)
    shares = perplexity_kernel(neighbors.distances[:, 1:], perplexity=5)
    np.testing.assert_allclose(perplexity_kernel(scaled.distances[:, 1:], perplexity=5), shares, atol=1e-9)


def test_components_of_a_large_graph_are_the_same_every_time(monkeypatch):
    monkeypatch.setattr(module, "DENSE_UP_TO", 10)
    one = graph(60, seed=2)
    np.testing.assert_array_equal(diffusion_map(one, n_components=6), diffusion_map(one, n_components=6))


def test_pieces_that_hardly_hang_together_do_not_blow_up():
    two = block_diag([graph(20, seed=0), graph(16, seed=1)]).tolil()
    two[3, 25] = two[25, 3] = 1e-15
    found = diffusion_map(csr_array(two), n_components=6)
    apart = diffusion_map(csr_array(block_diag([graph(20, seed=0), graph(16, seed=1)])), n_components=6)
    assert np.abs(found[:, :2]).max() <= 1
    np.testing.assert_allclose(found @ found.T, apart @ apart.T, atol=1e-6)

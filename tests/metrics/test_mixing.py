import numpy as np
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import mixing as module
from scfm_eval.metrics.kernels import perplexity_kernel
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.mixing import clisi, graph_connectivity, ilisi, lisi
from scfm_eval.metrics.neighbors import Neighbors, nearest_neighbors


@pytest.fixture(scope="module")
def golden_neighbors(integration_golden):
    return nearest_neighbors(integration_golden.X, k=90)


@pytest.mark.parametrize("key", ["labels", "batch"])
def test_golden_lisi_of_the_first_cells(key, integration_golden, golden_neighbors):
    codes = np.unique(getattr(integration_golden, key), return_inverse=True)[1]
    expected = integration_golden.expected["corrected"][f"lisi_{key.removesuffix('s')}_first5"]
    np.testing.assert_allclose(lisi(golden_neighbors, codes=codes)[:5], expected, atol=1e-4)


def test_golden_panel(integration_golden, golden_neighbors):
    expected = integration_golden.expected["reference_scib_metrics"]["X"]
    labels, batch = integration_golden.labels, integration_golden.batch
    assert clisi(golden_neighbors, labels=labels) == pytest.approx(expected["clisi"], abs=1e-4)
    assert ilisi(golden_neighbors, batch=batch) == pytest.approx(expected["ilisi"], abs=1e-4)
    found = graph_connectivity(golden_neighbors, labels=labels)
    assert found == pytest.approx(expected["graph_connectivity"], abs=1e-9)


def test_kernel_has_the_perplexity_that_was_asked_for():
    distances = np.sort(
        np.random.default_rng(0).exponential(size=(50, 89)) * 10.0 ** np.arange(-25, 25)[:, None], axis=1
    )
    shares = perplexity_kernel(distances, perplexity=30)
    np.testing.assert_allclose(np.exp(-np.sum(shares * np.log(shares + 1e-300), axis=1)), 30, rtol=1e-9)
    assert (np.diff(shares, axis=1) <= 0).all()


def test_equal_distances_share_alike():
    np.testing.assert_allclose(perplexity_kernel(np.full((1, 12), 3.0), perplexity=4), 1 / 12)
    np.testing.assert_allclose(perplexity_kernel(np.zeros((1, 12)), perplexity=4), 1 / 12)


def test_lisi_of_a_collapsed_embedding_counts_the_neighbours():
    codes = np.arange(12) % 2
    # of the 11 others, 5 are of the cell's own category and 6 of the other
    np.testing.assert_allclose(lisi(nearest_neighbors(np.zeros((12, 2)), k=12), codes=codes), 121 / (25 + 36))


def test_separate_types_are_pure_and_random_batches_mix(mixture):
    neighbors = nearest_neighbors(mixture.X, k=90)
    far_apart = nearest_neighbors(
        mixture.X + 100 * (mixture.labels[:, None] == np.unique(mixture.labels)) @ np.eye(4, 6), k=40
    )
    assert lisi(far_apart, codes=np.unique(mixture.labels, return_inverse=True)[1]) == pytest.approx(1)
    random = np.random.default_rng(9).choice(["p1", "p2"], size=mixture.n_cells)
    assert ilisi(neighbors, batch=random) > 0.9
    assert ilisi(neighbors, batch=mixture.labels) < 0.5


def test_fewer_cells_than_ninety_use_all_and_say_so():
    X, batch = np.random.default_rng(0).normal(size=(30, 3)), np.tile(["p1", "p2"], 15)
    how = ilisi.statistic(nearest_neighbors(X, k=90), batch=batch).how
    assert (how["n_neighbors"], how["perplexity"]) == (30, 10)
    with pytest.raises(UndefinedMetricError, match="8 cells"):
        ilisi(nearest_neighbors(X[:8], k=90), batch=batch[:8])


def ring(n_cells):
    """A directed ring: each cell knows the next one only."""
    cells = np.arange(n_cells)
    indices = np.column_stack([cells, (cells + 1) % n_cells])
    return Neighbors(np.resize(indices, (n_cells, 2)), np.tile([0.0, 1.0], (n_cells, 1)))


def test_connectivity_follows_the_direction_of_edges(monkeypatch):
    monkeypatch.setattr("scfm_eval.metrics.mixing.CONNECTIVITY_NEIGHBORS", 2)
    # the ring closes for no label alone, so each of its cells is a piece by itself: 1/6 and 1/2
    labels = np.array(["B"] * 6 + ["T"] * 2)
    assert graph_connectivity(ring(8), labels=labels) == pytest.approx((1 / 6 + 1 / 2) / 2)


def test_weights_move_the_median_but_not_the_neighbourhoods(mixture):
    neighbors = nearest_neighbors(mixture.X, k=90)
    repeats = np.random.default_rng(0).integers(3, size=mixture.n_cells)
    codes = np.unique(mixture.batch, return_inverse=True)[1]
    found = ilisi.statistic(neighbors, batch=mixture.batch).of_weights(repeats[None].astype(float))
    assert found[0] == pytest.approx((np.median(np.repeat(lisi(neighbors, codes=codes), repeats)) - 1) / 2)


@pytest.mark.parametrize("at_once", [1, 7, 239])
def test_blocks_do_not_change_lisi(at_once, mixture, monkeypatch):
    neighbors, codes = nearest_neighbors(mixture.X, k=30), np.unique(mixture.batch, return_inverse=True)[1]
    whole = lisi(neighbors, codes=codes)
    monkeypatch.setattr(module, "BLOCK_CELLS", at_once)
    np.testing.assert_allclose(lisi(neighbors, codes=codes), whole, rtol=1e-12)


def test_nine_cells_are_a_neighbourhood_and_perplexity_is_a_third_rounded_down():
    X = np.random.default_rng(0).normal(size=(11, 3))
    for n in (9, 10, 11):
        how = ilisi.statistic(nearest_neighbors(X[:n], k=90), batch=["p1", "p2", *["p1"] * (n - 2)]).how
        assert (how["n_neighbors"], how["perplexity"]) == (n, 3)


def test_connectivity_is_of_the_largest_piece_wherever_it_lies(monkeypatch):
    monkeypatch.setattr(module, "CONNECTIVITY_NEIGHBORS", 2)
    # pieces of the first label: 0; 1 and 2 and 3; of the second: 4 and 5; 6 and 7 (a tie)
    indices = np.array([[0, 4], [1, 2], [2, 3], [3, 1], [4, 5], [5, 4], [6, 7], [7, 6]])
    statistic = graph_connectivity.statistic(Neighbors(indices, np.zeros((8, 2))), labels=["a"] * 4 + ["b"] * 4)
    assert statistic.value() == pytest.approx((3 / 4 + 2 / 4) / 2)
    only = np.eye(8)
    np.testing.assert_array_equal(statistic.of_weights(only), [0, 1, 1, 1, 1, 1, 0, 0])


def test_connectivity_takes_fifteen_neighbours(mixture):
    for k in (15, 40):
        found = graph_connectivity.statistic(nearest_neighbors(mixture.X, k=k), labels=mixture.labels)
        assert found.how["n_neighbors"] == 15
        assert found.value() == graph_connectivity(nearest_neighbors(mixture.X, k=15), labels=mixture.labels)
    with pytest.raises(InvalidInputError, match="the 15 nearest cells"):
        graph_connectivity(nearest_neighbors(mixture.X, k=14), labels=mixture.labels)
    with pytest.raises(InvalidInputError, match="the 90 nearest cells"):
        ilisi(nearest_neighbors(mixture.X, k=89), batch=mixture.batch)


@pytest.mark.parametrize(
    ("metric", "key", "name"),
    [(clisi, "labels", "label"), (ilisi, "batch", "batch"), (graph_connectivity, "labels", "labels")],
)
def test_keys_of_other_cells_are_refused_by_name(metric, key, name, mixture):
    with pytest.raises(InvalidInputError) as refused:
        metric(nearest_neighbors(mixture.X, k=90), **{key: ["a", "b"]})
    assert (refused.value.asked, refused.value.found) == (f"{name} of 240 cells", "shape (2,)")


def test_lisi_is_one_over_the_squared_shares_at_a_third_of_the_neighbours():
    X, codes = np.random.default_rng(0).normal(size=(11, 3)), np.array([0, 1, 2, 0, 1, 2, 2, 0, 0, 1, 2])
    neighbors = nearest_neighbors(X, k=11)
    weights = perplexity_kernel(neighbors.distances[:, 1:], perplexity=3)
    shares = [
        [row[codes[near[1:]] == code].sum() for code in range(3)]
        for row, near in zip(weights, neighbors.indices, strict=True)
    ]
    np.testing.assert_allclose(lisi(neighbors, codes=codes), 1 / np.square(shares).sum(axis=1))

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import neighbors as module
from scfm_eval.metrics.neighbors import nearest_neighbors


def test_neighbours_are_those_of_the_full_distance_matrix(mixture):
    found = nearest_neighbors(mixture.X, k=20)
    distances = cdist(mixture.X, mixture.X)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1)[:, :20])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :20], atol=1e-12)
    assert found.how["exact"] is True


def test_the_cell_itself_is_first_even_among_duplicates_and_ties_go_by_position():
    X = np.array([[0.0], [0.0], [1.0], [0.0], [-1.0]])
    found = nearest_neighbors(X, k=4)
    np.testing.assert_array_equal(found.indices, [[0, 1, 3, 2], [1, 0, 3, 2], [2, 0, 1, 3], [3, 0, 1, 2], [4, 0, 1, 3]])
    np.testing.assert_array_equal(found.distances[:, 0], 0)


def test_the_cell_itself_is_first_among_more_duplicates_than_candidates():
    found = nearest_neighbors(np.zeros((80, 2)), k=5)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(80))
    assert all(len(set(row)) == 5 for row in found.indices)


def test_cells_far_from_the_origin_keep_their_neighbours(mixture):
    near = nearest_neighbors(mixture.X, k=15)
    far = nearest_neighbors(mixture.X + 1e6, k=15)
    np.testing.assert_array_equal(near.indices, far.indices)


def test_first_takes_fewer_and_refuses_more(mixture):
    found = nearest_neighbors(mixture.X, k=20)
    np.testing.assert_array_equal(found.first(5).indices, found.indices[:, :5])
    with pytest.raises(InvalidInputError, match="k=21"):
        found.first(21)


def test_fewer_cells_than_k_give_all_of_them():
    found = nearest_neighbors(np.arange(7.0)[:, None], k=90)
    assert found.n_neighbors == found.first(50).n_neighbors == 7


def test_approximate_search_says_so_and_finds_nearly_the_same(mixture, monkeypatch):
    exact = nearest_neighbors(mixture.X, k=15)
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    approximate = nearest_neighbors(mixture.X, k=15)
    assert approximate.how["exact"] is False
    assert "pynndescent" in approximate.how["packages"]
    assert (approximate.indices == exact.indices).mean() > 0.95


def test_input_is_left_alone_and_nan_is_refused(mixture):
    before = mixture.X.copy()
    nearest_neighbors(mixture.X, k=3)
    np.testing.assert_array_equal(mixture.X, before)
    with pytest.raises(InvalidInputError, match="1 of 2 cells"):
        nearest_neighbors(np.array([[0.0], [np.nan]]), k=1)


def test_many_cells_are_searched_approximately_and_ranked_exactly(mixture, monkeypatch):
    asked = {}

    def search(X, *, n_neighbors):
        asked["dtype"], asked["k"] = X.dtype, n_neighbors
        return SimpleNamespace(indices=np.argsort(cdist(X, X), axis=1)[:, n_neighbors - 1 :: -1])

    monkeypatch.setitem(sys.modules, "scib_metrics.nearest_neighbors", SimpleNamespace(pynndescent=search))
    monkeypatch.setattr(module, "EXACT_UP_TO", mixture.n_cells)
    exact = nearest_neighbors(mixture.X, k=15)
    assert exact.how["exact"] is True
    monkeypatch.setattr(module, "EXACT_UP_TO", mixture.n_cells - 1)
    found = nearest_neighbors(mixture.X, k=15)
    assert asked == {"dtype": np.float32, "k": 31}
    np.testing.assert_array_equal(found.indices, exact.indices)
    np.testing.assert_array_equal(found.distances, exact.distances)
    assert (found.how["exact"], list(found.how["packages"])) == (False, ["scfm-eval", "numpy", "pynndescent"])
    assert found.indices.dtype == exact.indices.dtype == np.int64


def test_a_search_that_misses_the_cell_itself_loses_the_last_it_found(monkeypatch):
    X = np.arange(6.0)[:, None]
    others = np.array([[1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 4, 1], [3, 5, 2], [4, 3, 2]])
    monkeypatch.setattr(module, "_exact_candidates", lambda *_, **__: others.copy())
    found = nearest_neighbors(X, k=3)
    np.testing.assert_array_equal(found.indices, np.column_stack([np.arange(6), others[:, :2]]))


@pytest.mark.parametrize("rows", [1, 7])
def test_blocks_do_not_change_neighbours(rows, mixture, monkeypatch):
    whole = nearest_neighbors(mixture.X, k=15)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * (15 + module.SPARE) * 6 * rows)
    found = nearest_neighbors(mixture.X, k=15)
    np.testing.assert_array_equal(found.indices, whole.indices)
    np.testing.assert_array_equal(found.distances, whole.distances)


def test_first_keeps_how_and_names_what_there_is(mixture):
    found = nearest_neighbors(mixture.X, k=20)
    few = found.first(5)
    assert few.how == found.how
    np.testing.assert_array_equal(few.distances, found.distances[:, :5])
    assert found.first(20).n_neighbors == 20
    with pytest.raises(InvalidInputError) as refused:
        found.first(500)
    assert (refused.value.asked, refused.value.found) == ("the 240 nearest cells", "20")
    assert refused.value.remedy == "compute them with k=240"


def test_neighbours_for_scib_metrics_are_copies(mixture, monkeypatch):
    given = SimpleNamespace(NeighborsResults=lambda **parts: SimpleNamespace(**parts))
    monkeypatch.setitem(sys.modules, "scib_metrics.nearest_neighbors", given)
    found = nearest_neighbors(mixture.X, k=5)
    made = found.for_scib_metrics()
    for name in ("indices", "distances"):
        np.testing.assert_array_equal(getattr(made, name), getattr(found, name))
        assert not np.shares_memory(getattr(made, name), getattr(found, name))

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array
from scipy.spatial.distance import pdist
from scipy.stats import chisquare

from scfm_eval.metrics import kbet as module
from scfm_eval.metrics import kernels
from scfm_eval.metrics.kbet import kbet
from scfm_eval.metrics.kernels import diffusion_map, fuzzy_connectivities
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.neighbors import Neighbors, nearest_neighbors


def two_labels_apart(*, mixed, n_cells=240):
    rng = np.random.default_rng(0)
    labels, batch = np.repeat(["B", "T"], n_cells // 2), np.tile(["p1", "p2"], n_cells // 2)
    X = rng.normal(size=(n_cells, 4)) + 30 * (labels == "B")[:, None] + (0 if mixed else 4) * (batch == "p1")[:, None]
    return nearest_neighbors(X, k=50), labels, batch


def test_golden_of_every_label(integration_golden):
    golden = integration_golden
    neighbors = nearest_neighbors(golden.X, k=50)
    expected = golden.expected["corrected"]
    # exact neighbours in float64 leave nothing of the stated tolerance of 0.03 for approximate search
    found = kbet.statistic(neighbors, labels=golden.labels, batch=golden.batch)
    assert kbet(nearest_neighbors(golden.X, k=90), labels=golden.labels, batch=golden.batch) == found.value()
    assert found.value() == pytest.approx(expected["kbet_per_label_without_carry_over"], abs=1e-6)
    names = np.unique(golden.labels)
    only = np.array([golden.labels == name for name in names], dtype=float)
    each = dict(zip(names, found.of_weights(only), strict=True))
    assert each == pytest.approx(expected["kbet_each_without_carry_over"], abs=1e-6)


def test_a_label_does_not_change_the_score_of_another(integration_golden):
    golden = integration_golden
    neighbors = nearest_neighbors(golden.X, k=50)
    split = golden.labels.copy()
    alpha = np.flatnonzero(split == "alpha")
    split[alpha[:10]] = "Alpha minor"
    only_beta = (golden.labels == "beta")[None].astype(float)
    values = [
        kbet.statistic(neighbors, labels=labels, batch=golden.batch).of_weights(only_beta)[0]
        for labels in (golden.labels, split)
    ]
    assert values[0] == values[1]


def test_a_tiny_change_of_the_embedding_changes_little(integration_golden):
    golden = integration_golden
    noise = 2e-7 * np.random.default_rng(0).normal(size=golden.X.shape)
    values = [
        kbet(nearest_neighbors(X, k=50), labels=golden.labels, batch=golden.batch) for X in (golden.X, golden.X + noise)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.005)


def test_mixed_batches_are_accepted_and_separate_ones_rejected():
    neighbors, labels, batch = two_labels_apart(mixed=True)
    assert kbet(neighbors, labels=labels, batch=batch) > 0.85
    neighbors, labels, batch = two_labels_apart(mixed=False)
    assert kbet(neighbors, labels=labels, batch=batch) < 0.1


def test_what_cannot_be_tested_is_named():
    neighbors, labels, batch = two_labels_apart(mixed=True)
    labels = labels.astype("<U8")
    labels[:9] = "rare"
    statistic = kbet.statistic(neighbors, labels=labels, batch=batch)
    assert statistic.how["labels_left_out"] == ["rare"]
    with pytest.raises(UndefinedMetricError, match="no label"):
        kbet(neighbors, labels=batch, batch=batch)
    with pytest.raises(UndefinedMetricError, match="only one batch"):
        kbet(neighbors, labels=labels, batch=np.repeat("p1", len(labels)))


def test_a_label_in_many_small_pieces_is_rejected():
    # cells of a label in 12 clumps of 10: no clump has three neighbourhoods
    rng = np.random.default_rng(0)
    clump = np.repeat(np.arange(12), 10)
    X = rng.normal(size=(120, 2)) + 1000 * clump[:, None]
    graph = fuzzy_connectivities(nearest_neighbors(X, k=8))
    np.testing.assert_array_equal(module._accepted(graph, np.tile([0, 1], 60)), 0)


def test_chi_squared_equals_scipy():
    batch = np.array([0, 0, 0, 1, 1, 2])
    neighborhoods = np.array([[0, 1, 2, 3], [3, 4, 5, 0], [0, 3, 4, 5], [1, 2, 3, 4], [5, 3, 4, 2], [0, 1, 2, 5]])
    counts = [np.bincount(batch[row], minlength=3) for row in neighborhoods]
    expected = [chisquare(row, np.array([3, 2, 1]) / 6 * 4).pvalue for row in counts]
    np.testing.assert_allclose(module._chi_squared_p(batch[neighborhoods], batch), expected)


def test_fuzzy_graph_is_symmetric_and_rows_sum_to_log2_k(mixture):
    neighbors = nearest_neighbors(mixture.X, k=16)
    graph = fuzzy_connectivities(neighbors)
    np.testing.assert_allclose((graph - graph.T).toarray(), 0, atol=1e-15)
    assert graph.diagonal().sum() == 0
    assert graph.max() == pytest.approx(1)
    # before the two directions are joined, row sums are log2(16) = 4, and joining only adds
    assert (graph.sum(axis=1) >= 4 - 1e-6).all()


def test_sparse_and_dense_diffusion_agree(mixture, monkeypatch):
    graph = fuzzy_connectivities(nearest_neighbors(mixture.X, k=15))
    dense = diffusion_map(graph, n_components=20)
    monkeypatch.setattr(kernels, "DENSE_UP_TO", 10)
    sparse = diffusion_map(graph, n_components=20)
    # eigenvectors of equal eigenvalues are free to turn among themselves; distances are not
    np.testing.assert_allclose(pdist(sparse), pdist(dense), atol=1e-6)


def test_the_trivial_component_of_every_piece_has_weight_one():
    piece = csr_array(np.ones((4, 4)) - np.eye(4))
    space = diffusion_map(csr_array(block_diag([piece, piece])), n_components=2)
    # both eigenvalues are 1; their eigenvectors span the two constant vectors of norm 1
    np.testing.assert_allclose(space.T @ space, np.eye(2), atol=1e-9)


def rings(*sizes):
    """Separate rings of cells, each joined to its next five, and alternating batches."""
    n, start = sum(sizes), 0
    graph = np.zeros((n, n))
    for size in sizes:
        cells = start + np.arange(size)
        for step in range(1, 6):
            graph[cells, start + (np.arange(size) + step) % size] = 1
        start += size
    return csr_array(np.maximum(graph, graph.T)), np.arange(n) % 2


@pytest.mark.parametrize(("sizes", "tested"), [((30, 10), 30), ((29, 11), None), ((31, 25, 24), None), ((40,), 40)])
def test_pieces_of_three_neighbourhoods_are_tested_if_they_hold_three_quarters(sizes, tested, monkeypatch):
    graph, batch = rings(*sizes)
    monkeypatch.setattr(module, "fuzzy_connectivities", lambda _: graph)
    n = len(batch)
    neighbors = Neighbors(np.tile(np.arange(50) % n, (n, 1)), np.zeros((n, 50)))
    statistic = kbet.statistic(neighbors, labels=np.repeat("B", n), batch=batch)
    each = statistic.of_weights(np.eye(n))
    expected = np.zeros(n) if tested is None else np.where(np.arange(n) < tested, 1.0, np.nan)
    np.testing.assert_array_equal(each, expected)


def tried_with(graph, batch, monkeypatch):
    """kBET of one label whose cells make up the graph, and the numbers of neighbours that it asked for."""
    asked, search = [], module.nearest_neighbors

    def recorded(space, *, k):
        asked.append(k)
        return search(space, k=k)

    monkeypatch.setattr(module, "fuzzy_connectivities", lambda _: graph)
    monkeypatch.setattr(module, "nearest_neighbors", recorded)
    n = len(batch)
    neighbors = Neighbors(np.tile(np.arange(50) % n, (n, 1)), np.zeros((n, 50)))
    return kbet.statistic(neighbors, labels=np.repeat("B", n), batch=batch), asked


@pytest.mark.parametrize(("n", "k"), [(10, 10), (79, 10), (88, 11), (560, 70), (600, 70)])
def test_a_quarter_of_the_cells_of_a_batch_are_looked_at_ten_to_seventy(n, k, monkeypatch):
    graph, batch = rings(n)
    _, asked = tried_with(graph, batch, monkeypatch)
    assert asked == [k + 1]


def test_nine_cells_are_not_tested_and_one_batch_in_a_piece_neither(monkeypatch):
    graph, batch = rings(9)
    with pytest.raises(UndefinedMetricError, match="no label has 10 cells"):
        tried_with(graph, batch, monkeypatch)
    graph, _ = rings(30, 10)
    with pytest.raises(UndefinedMetricError, match="no label has 10 cells"):
        tried_with(graph, np.repeat([0, 1], [30, 10]), monkeypatch)

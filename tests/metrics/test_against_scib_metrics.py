"""scib-metrics as the second implementation, on the same exact neighbours."""

import numpy as np
import pytest

from scfm_eval.metrics import integration as panel
from scfm_eval.metrics.neighbors import nearest_neighbors


@pytest.mark.parametrize("kind", ["mixture", "noise", "shuffled"])
def test_panel_equals_scib_metrics(kind, mixture):
    import scib_metrics as scib

    rng = np.random.default_rng(0)
    X = rng.normal(size=mixture.X.shape) if kind == "noise" else mixture.X
    labels = rng.permutation(mixture.labels) if kind == "shuffled" else mixture.labels
    batch, before = mixture.batch, mixture.X + 2 * (mixture.batch == "p1")[:, None]
    ours, first = nearest_neighbors(X, k=90), {}
    for k in (15, 50, 90):
        first[k] = ours.first(k).for_scib_metrics()
    pairs = {
        "silhouette_label": (panel.silhouette_label(X, labels=labels), scib.silhouette_label(X, labels)),
        "bras": (panel.bras(X, labels=labels, batch=batch), scib.bras(X, labels, batch)),
        "isolated_labels": (
            panel.isolated_labels(X, labels=labels, batch=batch),
            scib.isolated_labels(X, labels, batch),
        ),
        "clisi": (panel.clisi(ours, labels=labels), scib.clisi_knn(first[90], labels)),
        "ilisi": (panel.ilisi(ours, batch=batch), scib.ilisi_knn(first[90], batch)),
        "graph_connectivity": (
            panel.graph_connectivity(ours, labels=labels),
            scib.graph_connectivity(first[15], labels),
        ),
        "pcr_comparison": (
            panel.pcr_comparison(X, before=before, batch=batch),
            scib.pcr_comparison(before, X, batch, categorical=True),
        ),
    }
    for name, (own, published) in pairs.items():
        assert own == pytest.approx(float(published), abs=1e-4), name


@pytest.mark.heavy
def test_kbet_of_each_label_alone_equals_scib_metrics(mixture):
    import scib_metrics as scib

    neighbors = nearest_neighbors(mixture.X, k=50)
    own = panel.kbet.statistic(neighbors, labels=mixture.labels, batch=mixture.batch)
    for label in np.unique(mixture.labels):
        cells = mixture.labels == label
        # every other cell gets a label of its own, which scib-metrics skips as too small: nothing is carried over
        alone = np.where(cells, label, np.char.add("other ", np.arange(mixture.n_cells).astype(str)))
        published = scib.kbet_per_label(neighbors.for_scib_metrics(), mixture.batch, alone)
        # it searches approximately in a float32 space: a few cells at the edge of the test may fall on the other side
        assert own.of_weights(cells[None].astype(float))[0] == pytest.approx(float(published), abs=0.06), label

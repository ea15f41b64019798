"""What holds for the whole integration panel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from scfm_eval.metrics import integration as panel
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.neighbors import nearest_neighbors


def panel_statistics(X, *, labels, batch, before):
    neighbors = nearest_neighbors(X, k=90)
    return {
        "silhouette_label": panel.silhouette_label.statistic(X, labels=labels),
        "bras": panel.bras.statistic(X, labels=labels, batch=batch),
        "isolated_labels": panel.isolated_labels.statistic(X, labels=labels, batch=batch),
        "clisi": panel.clisi.statistic(neighbors, labels=labels),
        "ilisi": panel.ilisi.statistic(neighbors, batch=batch),
        "kbet": panel.kbet.statistic(neighbors, labels=labels, batch=batch),
        "graph_connectivity": panel.graph_connectivity.statistic(neighbors, labels=labels),
        "pcr_batch": panel.pcr_batch.statistic(X, batch=batch),
        "pcr_comparison": panel.pcr_comparison.statistic(X, before=before, batch=batch),
        "intra_type_jaccard": panel.intra_type_jaccard.statistic(
            X, own_space=before, labels=labels, batch=batch, min_cells=17
        ),
        "jaccard_published": panel.jaccard_published.statistic(X, own_space=before, batch=batch),
    }


def values(X, **keys):
    return {name: statistic.value() for name, statistic in panel_statistics(X, **keys).items()}


@pytest.fixture(scope="module")
def keys(mixture):
    before = mixture.X + 2 * (mixture.batch == "p1")[:, None]
    before.flags.writeable = False
    return {"labels": mixture.labels, "batch": mixture.batch, "before": before}


@pytest.fixture(scope="module")
def plain(mixture, keys):
    return values(mixture.X, **keys)


def test_read_only_input_is_accepted_and_left_alone(mixture, keys):
    X = mixture.X.astype(np.float32)
    X.flags.writeable = False
    before = X.copy()
    values(X, **keys)
    np.testing.assert_array_equal(X, before)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_cells_means_nothing(seed, mixture, keys, plain):
    order = np.random.default_rng(seed).permutation(mixture.n_cells)
    assert values(mixture.X[order], **{name: key[order] for name, key in keys.items()}) == pytest.approx(
        plain, abs=1e-6
    )


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_rotating_and_scaling_the_embedding_means_nothing(seed, scale, mixture, keys, plain):
    X = scale * mixture.X @ ortho_group.rvs(mixture.X.shape[1], random_state=seed)
    assert values(X, **keys) == pytest.approx(plain, abs=1e-6)


@settings(max_examples=5, deadline=None)
@given(names=st.permutations(["10", "2", "T cell", "é", "B", "p1", "batch"]))
def test_names_mean_nothing(names, mixture, keys, plain):
    rename = dict(zip([*np.unique(mixture.labels), *np.unique(mixture.batch)], names, strict=True))
    renamed = {name: np.array([rename[value] for value in keys[name]]) for name in ("labels", "batch")}
    assert values(mixture.X, **{**keys, **renamed}) == pytest.approx(plain, abs=1e-6)


def test_labels_and_batch_are_not_interchangeable(mixture, keys, plain):
    swapped = values(mixture.X, labels=keys["batch"], batch=keys["labels"], before=keys["before"])
    differing = {name for name in plain if abs(plain[name] - swapped[name]) > 0.01}
    # the Jaccard index inside (batch, label) groups is symmetric in the two by definition
    assert differing == set(plain) - {"intra_type_jaccard"}


def test_oracle_and_random_embeddings_reach_the_ends(mixture, keys):
    rng = np.random.default_rng(0)
    types = (mixture.labels[:, None] == np.unique(mixture.labels)).astype(float)
    oracle = values(20 * types + rng.normal(scale=0.1, size=types.shape), **keys)
    random = values(rng.normal(size=(mixture.n_cells, 6)), **keys)
    bio = ("silhouette_label", "isolated_labels", "clisi", "graph_connectivity")
    assert all(oracle[name] > 0.95 for name in ("silhouette_label", "isolated_labels"))
    assert random["silhouette_label"] == pytest.approx(0.5, abs=0.02)
    assert all(oracle[name] > random[name] for name in bio)
    assert random["pcr_batch"] < 0.03
    assert random["kbet"] > 0.8
    assert random["intra_type_jaccard"] == pytest.approx(0, abs=0.1)


def test_one_batch_or_one_label_is_undefined_with_a_reason(mixture, keys):
    neighbors, one = nearest_neighbors(mixture.X, k=90), np.repeat("only", mixture.n_cells)
    X, labels, batch = mixture.X, keys["labels"], keys["batch"]
    calls = [
        lambda: panel.silhouette_label(X, labels=one),
        lambda: panel.bras(X, labels=labels, batch=one),
        lambda: panel.isolated_labels(X, labels=labels, batch=one),
        lambda: panel.isolated_labels(X, labels=one, batch=batch),
        lambda: panel.clisi(neighbors, labels=one),
        lambda: panel.ilisi(neighbors, batch=one),
        lambda: panel.kbet(neighbors, labels=labels, batch=one),
        lambda: panel.graph_connectivity(neighbors, labels=one),
        lambda: panel.pcr_batch(X, batch=one),
        lambda: panel.pcr_comparison(X, before=keys["before"], batch=one),
    ]
    for call in calls:
        with pytest.raises(UndefinedMetricError, match=r"only one (label|batch): only"):
            call()


def test_every_statistic_is_a_vectorised_function_of_weights_that_says_how(mixture, keys):
    rng = np.random.default_rng(5)
    weights = rng.integers(3, size=(4, mixture.n_cells)).astype(float)
    shift = (mixture.batch == "p1")[:, None]
    overlapping = 0.2 * mixture.X + shift + rng.normal(size=mixture.X.shape)
    for name, statistic in panel_statistics(overlapping, **{**keys, "before": mixture.X + 20 * shift}).items():
        together = statistic.of_weights(weights)
        apart = [statistic.of_weights(row[None])[0] for row in weights]
        np.testing.assert_allclose(together, apart, atol=1e-12, err_msg=name)
        assert len(np.unique(together)) > 1, name
        np.testing.assert_allclose(statistic.of_weights(2 * np.ones((1, mixture.n_cells)))[0], statistic.value())
        assert {"scfm-eval", "numpy"} <= set(statistic.how["packages"]), name

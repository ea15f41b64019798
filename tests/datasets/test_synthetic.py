"""Simulated cells have the answer that they were made with."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.datasets.catalogue import synthetic_batches, synthetic_perturbations
from scfm_eval.datasets.synthetic import simulate_batches, simulate_perturbations, simulate_transfer


def log_mean(cells, rows):
    X = cells.X[np.flatnonzero(rows)].toarray()
    return np.log((X.sum(axis=0) + 0.5) / X.sum())


def test_every_type_is_in_every_batch_unevenly():
    cells, truth = simulate_batches(seed=0)
    assert cells.shape == (600, 500)
    table = cells.obs.groupby(["batch", "cell_type"], observed=True).size().unstack()
    assert table.shape == (3, 5)
    assert table.to_numpy().min() >= 5
    shares = table.div(table.sum(axis=1), axis=0)
    assert (shares.max() - shares.min()).max() > 0.05
    assert table.sum().idxmin() == truth.types[-1]


def test_the_close_types_are_the_closest():
    distances = simulate_batches(seed=3)[1].type_distances
    others = distances[np.triu_indices(5, 1)]
    assert distances[3, 4] == others.min()
    np.testing.assert_allclose(distances, distances.T)


def test_the_batch_effect_in_the_counts_is_the_one_of_the_truth():
    cells, truth = simulate_batches(seed=1)
    batch, kind = cells.obs["batch"].to_numpy(), cells.obs["cell_type"].to_numpy()
    seen = log_mean(cells, (batch == "batch2") & (kind == "alpha")) - log_mean(
        cells, (batch == "batch1") & (kind == "alpha")
    )
    well_counted = np.asarray(cells.X.mean(axis=0)).ravel() > 1
    shift = truth.batch_shifts[1][well_counted]
    assert np.polyfit(shift, seen[well_counted], 1)[0] == pytest.approx(1, abs=0.15)


def test_types_are_moderately_hard_and_batches_visible():
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cells, _ = simulate_batches(seed=0)
    X = cells.X.toarray()
    embedding = PCA(50, random_state=0).fit_transform(np.log1p(X / X.sum(axis=1, keepdims=True) * 1e4))
    label, batch = cells.obs["cell_type"].to_numpy(), cells.obs["batch"].to_numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    assert 0.85 <= f1_score(label, cross_val_predict(probe, embedding, label, cv=5), average="macro") <= 0.97
    centred = embedding[:, :5] - embedding[:, :5].mean(axis=0)
    between = sum((batch == b).sum() * centred[batch == b].mean(axis=0) ** 2 for b in np.unique(batch))
    assert (between / (centred**2).sum(axis=0)).max() > 0.3


def test_domains_have_the_same_types_another_depth_and_the_shift_of_the_truth():
    cells, truth = simulate_transfer(seed=0)
    assert cells.shape == (600, 500)
    domain, kind = cells.obs["domain"].to_numpy(), cells.obs["cell_type"].to_numpy()
    assert cells.obs.groupby(["domain", "cell_type"], observed=True).size().unstack().to_numpy().min() >= 15
    depth = np.asarray(cells.X.sum(axis=1)).ravel()
    assert depth[domain == "target"].mean() / depth[domain == "source"].mean() == pytest.approx(0.4, abs=0.05)
    seen = log_mean(cells, (domain == "target") & (kind == "alpha")) - log_mean(
        cells, (domain == "source") & (kind == "alpha")
    )
    well_counted = np.asarray(cells.X.mean(axis=0)).ravel() > 1
    assert np.polyfit(truth.batch_shifts[1][well_counted], seen[well_counted], 1)[0] == pytest.approx(1, abs=0.15)
    assert not truth.batch_shifts[0].any()


def test_combinations_are_additive_and_their_effect_is_in_the_counts():
    cells, truth = simulate_perturbations(seed=0)
    at = dict(zip(truth.perturbations, truth.effects, strict=True))
    pairs = [name for name in truth.perturbations if "+" in name]
    assert len(pairs) == 6
    which = cells.obs["perturbation"].to_numpy()
    well_counted = np.asarray(cells.X.mean(axis=0)).ravel() > 1
    for name in pairs:
        first, second = name.split("+")
        np.testing.assert_allclose(at[name], at[first] + at[second])
        assert first in cells.var_names
        seen = log_mean(cells, which == name) - log_mean(cells, which == "control")
        assert np.corrcoef(seen[well_counted], at[name][well_counted])[0, 1] > 0.8


@pytest.mark.parametrize("dataset", [synthetic_batches, synthetic_perturbations])
def test_declarations_load_the_same_cells_each_time(dataset):
    one, two = dataset.load(offline=True), dataset.load(offline=True)
    assert (one.X != two.X).nnz == 0
    assert one.var_names.tolist() == two.var_names.tolist()
    assert tuple(one.obs.columns) == dataset.keys

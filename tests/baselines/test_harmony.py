from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.baselines.harmony import BatchCorrection, Harmony, ridge_shifts
from scfm_eval.baselines.pca import PCA
from scfm_eval.errors import InvalidInputError


def renamed(cells, *, batch=None):
    copy = cells.copy()
    copy.obs_names = [f"again {name}" for name in cells.obs_names]
    if batch is not None:
        copy.obs["batch"] = batch
    return copy


@pytest.fixture
def fitted(cells):
    model = Harmony()
    model.fit(cells)
    return model


def test_takes_batch_out_and_leaves_types(cells, labels, fitted, separation):
    pca = PCA()
    pca.fit(cells)
    before, after, batch = pca.embed(cells), fitted.embed(cells), cells.obs["batch"].to_numpy()
    assert separation(after, batch) < 0.4 * separation(before, batch)
    assert separation(after, labels) > separation(before, labels)


def test_cells_placed_as_unseen_land_near_their_fitted_coordinates(cells, fitted):
    known, unseen = fitted.embed(cells), fitted.embed(renamed(cells))
    assert not np.array_equal(known, unseen)
    error = np.linalg.norm(known - unseen, axis=1) / np.linalg.norm(known, axis=1)
    assert np.median(error) < 0.02
    assert np.quantile(error, 0.95) < 0.1


def test_cells_of_held_out_positions_lose_their_batch(cells, separation):
    model = Harmony()
    model.fit(cells[:150])
    pca = PCA()
    pca.fit(cells[:150])
    test, batch = cells[150:], cells.obs["batch"].to_numpy()[150:]
    assert separation(model.embed(test), batch) < 0.5 * separation(pca.embed(test), batch)


def test_a_batch_that_was_not_fitted_is_not_corrected(cells, fitted):
    pca = PCA()
    pca.fit(cells)
    np.testing.assert_allclose(fitted.embed(renamed(cells, batch="three")), pca.embed(cells), atol=1e-4)


def test_shifts_of_one_cluster_by_hand():
    # one cluster, batches of two cells at 0 and 4, penalty 0.2 * 4 * 0.5 = 0.4 each: intercept 2, shifts
    # -+2 shrunk by 2 / (2 + 0.4)
    points = np.array([[0.0], [0.0], [4.0], [4.0]])
    shifts = ridge_shifts(points, memberships=np.ones((4, 1)), batch=np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(shifts[0, :, 0], [-2 / 1.2, 2 / 1.2])


def test_correction_of_two_far_clusters_by_hand():
    correction = BatchCorrection(centroids=np.eye(2), shifts=np.array([[[0.5, 0.0]], [[0.0, 2.0]]]))
    points = np.array([[10.0, 0.0], [0.0, 10.0], [0.0, 10.0]])
    moved = correction.apply(points, batch=np.array([0, 0, -1]))
    np.testing.assert_allclose(moved, [[9.5, 0.0], [0.0, 8.0], [0.0, 10.0]], atol=1e-6)


def test_one_batch_is_left_as_it_is(cells):
    cells.obs["batch"] = "only"
    model, pca = Harmony(), PCA()
    model.fit(cells)
    pca.fit(cells)
    np.testing.assert_allclose(model.embed(cells), pca.embed(cells), atol=1e-3)


def test_without_batches_it_says_what_to_do(cells):
    del cells.obs["batch"]
    with pytest.raises(InvalidInputError, match="batch key"):
        Harmony().fit(cells)

"""An embedding that counts the rows is told of; a sorted dataset is no such thing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scfm_eval import guards
from tests.guards.asked import answers_of, told_of, toy
from tests.toys import toy_cells

N = 90


def noise(cells, *, width=10):
    """Return rows that know nothing and are a function of the names."""
    return np.stack([np.random.default_rng(list(name.encode())).normal(size=width) for name in cells.obs_names])


def place(cells):
    """Return the row number that the cells had at first, whichever of them are asked for."""
    return np.array([int(name.removeprefix("cell")) for name in cells.obs_names], dtype=float)[:, None]


def a_column(cells):
    return np.hstack([noise(cells), place(cells) / N])


def a_falling_column(cells):
    return np.hstack([noise(cells), np.exp(-place(cells) / N) * 1e-3])


def a_wave(cells):
    angle = place(cells) / N * 6
    return np.hstack([noise(cells, width=3) * 0.1, 9 * np.sin(angle), 9 * np.cos(angle)])


def model(rows_of):
    """Return the class of a model with these rows."""

    class Toy:
        def embed(self, cells):
            return rows_of(cells).astype(np.float32)

    return Toy


def in_order(order):
    """Return the toy cells in another order, named by it."""
    cells = toy()
    names = cells.adata.obs_names
    object.__setattr__(cells, "adata", cells.adata[order].copy())
    cells.adata.obs_names = names
    return cells


@pytest.mark.parametrize(
    ("rows_of", "said"),
    [(a_column, "column 10, of 1 such"), (a_falling_column, "column 10"), (a_wave, "the row beside")],
)
def test_rows_that_count_are_told_of_from_the_store_too(rows_of, said, tmp_path):
    for _ in range(2):
        (told,) = told_of(model(rows_of), toy(), tmp_path)
        assert told.guard == "row_number"
        assert said in told.found
    with guards.without(["row_number"]):
        assert not told_of(model(rows_of), toy(), tmp_path)


def expression(cells):
    return np.log1p(cells.X.toarray())


def depth(cells):
    return np.hstack([noise(cells), np.log(np.asarray(cells.X.sum(axis=1)).reshape(-1, 1))])


@pytest.mark.parametrize("key", ["label", "batch"])
@pytest.mark.parametrize("rows_of", [noise, expression, depth])
def test_cells_sorted_by_label_or_batch_are_no_false_alarm(rows_of, key, tmp_path):
    order = np.argsort(toy().adata.obs[key].to_numpy().astype(str), kind="stable")
    assert not told_of(model(rows_of), in_order(order), tmp_path)


def test_cells_sorted_by_depth_are_no_false_alarm(tmp_path):
    total = np.asarray(toy_cells().X.sum(axis=1)).ravel()
    cells = in_order(np.argsort(total, kind="stable"))
    counts = cells.adata.X.toarray()
    counts[:, 0] = np.arange(N) * 40  # no two of one depth
    cells.adata.X = sparse.csr_matrix(counts)
    assert not told_of(model(depth), cells, tmp_path)
    (told,) = told_of(model(a_column), toy(), tmp_path)
    assert told.guard == "row_number"


def test_replicates_beside_each_other_are_no_false_alarm(tmp_path):
    cells = in_order(np.repeat(np.arange(N // 2), 2))
    assert not told_of(model(expression), cells, tmp_path)


def test_small_labels_in_blocks_are_no_false_alarm(tmp_path):
    cells = toy()
    cells.adata.obs["label"] = [f"clone {i // 3}" for i in range(N)]

    def clones(seen):
        return noise(seen, width=4) * 0.01 + np.stack(
            [np.random.default_rng(int(one) // 3).normal(size=4) for one in place(seen)[:, 0]]
        )

    assert not told_of(model(clones), cells, tmp_path)
    assert answers_of(model(clones), cells, tmp_path).embed(seed=0).shape == (N, 4)

"""An embedding that tells no cell from another is refused; one that hardly does is told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scfm_eval import guards
from scfm_eval.errors import FailedModelError
from scfm_eval.guards import GuardError
from scfm_eval.models.geneformer import UntrainedGeneformer
from scfm_eval.models.scgpt import UntrainedScGPT
from scfm_eval.spread import require_spread, spread
from tests.guards.asked import EMBEDDED, MINIS, QUICK, REAL, answers_of, some_of, told_of, toy

rng = np.random.default_rng(0)
NOISE = rng.normal(size=(90, 16))


def constant(n):
    return np.ones((n, 16)) * np.arange(16)


def constant_within_rounding(n):
    return constant(n) * (1 + 1e-8 * NOISE[:n])


def nearly_equal(n):
    return 100 + 0.01 * NOISE[:n]


def one_direction(n):
    return NOISE[:n, :1] * np.arange(1, 17) + 1e-3 * NOISE[:n]


def three_rows(n):
    return NOISE[np.arange(n) % 3]


def model(rows_of, **stated):
    """Return the class of a model whose rows are those of ``rows_of``, found by name."""

    class Toy:
        matches_by_id = True

        def embed(self, cells):
            return rows_of(cells.n_obs).astype(np.float32)

    return type("Toy", (Toy,), stated)


@pytest.mark.parametrize("rows_of", [constant, constant_within_rounding])
def test_a_constant_embedding_is_refused_from_the_store_too(rows_of, tmp_path):
    for _ in range(2):
        with pytest.raises(FailedModelError, match="one and the same row for all of them"):
            told_of(model(rows_of), toy(), tmp_path)
    with guards.without(["collapsed"]):
        assert not told_of(model(rows_of), toy(), tmp_path)
    cells = toy().adata
    with pytest.raises(GuardError, match="--without-guard collapsed"):
        require_spread(rows_of(90).astype(np.float32), cells, cells.obs, name="toy")


@pytest.mark.parametrize(
    ("rows_of", "said"),
    [
        (nearly_equal, "nearly equal"),
        (one_direction, "16 columns that all say the same"),
        (three_rows, "3.3% of those"),
    ],
)
def test_one_that_nearly_is_is_told_of_from_the_store_too(rows_of, said, tmp_path):
    for _ in range(2):
        told = told_of(model(rows_of), toy(), tmp_path)
        assert [one.guard for one in told] == ["collapsed"]
        assert said in told[0].found
    with guards.without(["collapsed"]):
        assert not told_of(model(rows_of), toy(), tmp_path)


@pytest.mark.parametrize(
    "rows",
    [
        NOISE[:, :1], NOISE[:, :2], np.abs(NOISE) > 1.0, NOISE + 10, np.exp(NOISE[:, :8]),
    ],
)  # fmt: skip
def test_small_and_sparse_ones_are_no_false_alarm(rows):
    cells = toy().adata
    with guards.listening() as told:
        require_spread(rows.astype(np.float32), cells, cells.obs, name="toy")
    assert not told


def test_the_measures_are_those_that_are_known():
    halves = np.concatenate([np.eye(2), -np.eye(2)]).repeat(25, axis=0)
    found = spread(halves)
    assert found.directions == pytest.approx(2)
    assert found.length == pytest.approx(1)
    assert found.distinct == pytest.approx(4 / 100)
    assert spread(np.zeros((5, 3))).size == 0
    assert spread(halves[:, :1] + 3).directions == pytest.approx(1)


@pytest.mark.parametrize("of", QUICK)
@pytest.mark.parametrize("dataset", EMBEDDED)
def test_embedded_datasets_are_no_false_alarm(of, dataset, tmp_path):
    cells = some_of(dataset, n_cells=300)
    if of.__name__ == "Oracle" and "label" not in cells.adata.obs:
        pytest.skip("no labels for the oracle")
    assert not [told for told in told_of(of, cells, tmp_path) if told.guard in ("collapsed", "row_number")]


@pytest.mark.heavy
@pytest.mark.parametrize("of", [*QUICK, *MINIS, UntrainedGeneformer, UntrainedScGPT])
@pytest.mark.parametrize("dataset", REAL)
def test_real_datasets_are_no_false_alarm(of, dataset, tmp_path, real_data: Path):
    assert real_data
    cells = some_of(dataset, n_cells=5000 if of in QUICK else 120)
    if of.__name__ == "Oracle" and "label" not in cells.adata.obs:
        pytest.skip("no labels for the oracle")
    assert not [told for told in told_of(of, cells, tmp_path) if told.guard in ("collapsed", "row_number")]


def test_few_cells_are_only_held_to_be_different(tmp_path):
    few = toy()
    object.__setattr__(few, "adata", few.adata[:20].copy())
    assert not told_of(model(three_rows), few, tmp_path)
    assert answers_of(model(three_rows), few, tmp_path).embed(seed=0).shape == (20, 16)

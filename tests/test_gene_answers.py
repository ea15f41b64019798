"""What a model is asked of genes and of pairs of them: its own names, who is told the truth, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.answers import StoredAnswers
from scfm_eval.baselines.controls import Oracle
from scfm_eval.baselines.genes import CoexpressionPCA
from scfm_eval.cells import Cells, model_view
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.owed import checked_pairs
from scfm_eval.store import Store
from tests.toys import toy_cells

GENES = ("GENE3", "GENE7", "GENE3")
TRUTH = np.array([[True, False], [False, True], [True, False]])


class Pairs:
    """Scores pairs by the lengths of names and the number of cells."""

    def score_gene_pairs(self, cells, *, genes):
        found = np.array([[len(a) + cells.n_obs + int(b[4:]) for b in genes] for a in genes], dtype=np.float64)
        found[0, 1] = np.nan
        return found


class Peeks(Pairs):
    """A model that would like to be told."""

    def tell_genes(self, genes, *, truth):
        raise AssertionError(f"a model was told the truth of {genes}: {truth}")


class Meddles(Pairs):
    """Changes the cells that it is given."""

    def score_gene_pairs(self, cells, *, genes):
        found = super().score_gene_pairs(cells, genes=genes)
        cells.X *= 2
        return found


@pytest.fixture
def answers(tmp_path):
    def of(model):
        dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type")
        cells = Cells(dataset, dataset.load())
        view, _ = model_view(model, card(model), cells, weights=None)
        return StoredAnswers(model, card(model), cells, view, Store(tmp_path), Resident(), None)

    return of


@pytest.mark.parametrize("method", [Pairs, Peeks])
def test_pairs_are_scored_from_the_cells_asked_for_and_kept(answers, method):
    asked = answers(method)
    found = asked.score_gene_pairs(GENES, rows=np.arange(10), seed=0, truth=np.eye(3, dtype=bool))
    assert found.dtype == np.float32
    # GENE3 stands there twice and is asked for once; of itself it says nothing
    assert found[1, 0] == found[1, 2] == 5 + 10 + 3
    assert np.isnan(found[[0, 0, 2], [0, 1, 1]]).all()
    np.testing.assert_array_equal(asked.score_gene_pairs(GENES, rows=np.arange(10), seed=0), found)
    assert asked.from_store == [False]
    assert asked.score_gene_pairs(GENES, rows=np.arange(20), seed=0)[1, 0] == 5 + 20 + 3


def test_cells_stay_as_they_are(answers):
    with pytest.raises(InvalidInputError, match="the model has changed the cells"):
        answers(Meddles).score_gene_pairs(GENES, rows=np.arange(10), seed=0)


def test_a_control_is_told_and_the_store_tells_truths_apart(answers):
    asked = answers(Oracle)
    np.testing.assert_array_equal(asked.embed_genes(GENES, seed=0, truth=TRUTH), TRUTH)
    np.testing.assert_array_equal(asked.embed_genes(GENES, seed=0, truth=~TRUTH), ~TRUTH)


def test_what_learns_has_seen_all_cells(answers):
    found = answers(CoexpressionPCA).embed_genes([f"GENE{i}" for i in range(40)], seed=0)
    assert found.shape == (40, 39)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("scores", "said"),
    [(np.zeros((2, 3)), r"\(2, 3\)"), (np.zeros((2, 2), dtype=int), "int64"), (np.full((2, 2), np.inf), "4 infinite")],
)
def test_what_is_no_score_of_pairs_is_refused(scores, said):
    with pytest.raises(InvalidInputError, match=said):
        checked_pairs(scores, ["A", "B"], name="mine")

"""What cells say of genes without a model: correlations, components, degrees, and the two controls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.genes import CoexpressionPCA, GeneDegree, PearsonCoexpression, SpearmanCoexpression
from scfm_eval.datasets.coexpression import gene_components, pearson, spearman
from scfm_eval.models.card import card
from scfm_eval.models.protocols import GeneEmbedder, GenePairScorer, missing_methods
from tests.toys import toy_cells

BASELINES = [CoexpressionPCA, PearsonCoexpression, SpearmanCoexpression, GeneDegree]
GENES = ["GENE3", "GENE1", "absent", "GENE12"]


@pytest.fixture
def expression():
    counts = np.random.default_rng(0).poisson(0.8, (50, 8)).astype(float)
    counts[:, 7] = 0
    return sparse.csr_matrix(counts)


def test_correlations_are_those_of_the_dense_matrix(expression):
    dense = expression.toarray()[:, :7]
    np.testing.assert_allclose(pearson(expression)[:7, :7], np.corrcoef(dense.T), atol=1e-12)
    np.testing.assert_allclose(spearman(expression)[:7, :7], spearmanr(dense).statistic, atol=1e-12)
    for found in (pearson(expression), spearman(expression)):
        assert np.isnan(found[7]).all()
        assert np.isnan(found[:, 7]).all()


def test_all_components_give_back_the_correlations(expression):
    rows = gene_components(expression[:, :7], n_components=6, seed=0).astype(float)
    products, true = rows @ rows.T * (49 / 50), pearson(expression[:, :7])
    assert np.abs(products - true).max() < np.abs(true - np.eye(7)).max()
    assert gene_components(expression, n_components=100, seed=0).shape == (8, 7)
    np.testing.assert_allclose(gene_components(expression, n_components=3, seed=0)[7], 0, atol=1e-6)


@pytest.mark.parametrize("method", [PearsonCoexpression, SpearmanCoexpression, GeneDegree, Random])
def test_pairs_follow_their_genes(method):
    cells = toy_cells()
    found = method().score_gene_pairs(cells, genes=GENES)
    assert found.shape == (4, 4)
    turned = method().score_gene_pairs(cells, genes=GENES[::-1])
    np.testing.assert_allclose(turned, found[::-1, ::-1], rtol=1e-6)
    if method is not Random:
        assert np.isnan(found[2]).all()
        assert np.isnan(np.diag(found)).all()


def test_genes_of_one_type_go_together():
    found = PearsonCoexpression().score_gene_pairs(toy_cells(), genes=[f"GENE{i}" for i in (0, 1, 30, 31)])
    assert found[0, 1] > found[2, 3]


@pytest.mark.parametrize("method", [CoexpressionPCA, GeneDegree])
def test_vectors_follow_their_genes(method):
    cells = toy_cells()
    before = cells.X.copy()
    made = method()
    made.fit(cells)
    found, turned = made.embed_genes(GENES), made.embed_genes(GENES[::-1])
    assert np.isnan(found[2]).all()
    assert np.isfinite(np.delete(found, 2, axis=0)).all()
    np.testing.assert_allclose(turned[::-1] @ turned[0], found @ found[-1], atol=1e-5)
    assert (before != cells.X).nnz == 0


def test_a_degree_is_one_hot_and_says_nothing_of_who():
    made = GeneDegree()
    made.fit(toy_cells())
    rows = made.embed_genes([f"GENE{i}" for i in range(40)])
    np.testing.assert_array_equal(rows.sum(axis=1), 1)
    assert set(np.unique(rows)) == {0, 1}


@pytest.mark.parametrize("method", BASELINES)
def test_cards_are_complete(method):
    stated = card(method)
    assert (stated.role, stated.gene_ids) == ("baseline", None)
    assert stated.revision
    assert stated.citation
    assert not missing_methods(method, GeneEmbedder) or not missing_methods(method, GenePairScorer)


def test_the_oracle_says_what_it_was_told_and_no_more():
    truth = np.array([[True, False, True], [False, False, False], [True, True, False]])
    oracle = Oracle()
    assert np.isnan(oracle.embed_genes(["A"])).all()
    oracle.tell_genes(["A", "B", "C"], truth=truth)
    np.testing.assert_array_equal(oracle.embed_genes(["C", "A"]), truth[[2, 0]])
    assert np.isnan(oracle.embed_genes(["D"])).all()
    np.testing.assert_array_equal(oracle.score_gene_pairs(None, genes=["C", "A"]), [[0, 1], [1, 1]])
    assert np.isnan(oracle.score_gene_pairs(None, genes=["A", "D"])).sum() == 3


def test_random_depends_on_names_and_seed_only():
    np.testing.assert_array_equal(Random().embed_genes(["A", "B"])[1], Random().embed_genes(["B"])[0])
    assert not np.allclose(Random(seed=0).embed_genes(["A"]), Random(seed=1).embed_genes(["A"]))
    pairs = Random().score_gene_pairs(None, genes=["A", "B"])
    assert pairs[0, 1] != pairs[1, 0]

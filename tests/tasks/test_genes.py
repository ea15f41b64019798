"""Gene level tasks: the probe, controls, missing genes, networks of pairs, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.datasets.gene_sets import load_gene_sets
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import missing_methods
from scfm_eval.tasks.gene_networks import GeneNetwork
from scfm_eval.tasks.gene_probes import _Rotated, fitted, out_of_fold, stratified_folds
from scfm_eval.tasks.genes import GeneFunctions

N_GENES = 120


class Asked:
    """Answers of a class that needs no cells to be loaded for, and remembers what it was asked."""

    def __init__(self, model, cells):
        self.model, self.cells, self.rows, self.seeds = model, cells, None, []

    def can(self, capability):
        return not missing_methods(type(self.model), capability)

    def _tell(self, genes, truth):
        if hasattr(self.model, "tell_genes"):
            self.model.tell_genes(list(genes), truth=truth)

    def embed_genes(self, genes, *, seed, truth=None):
        self.seeds.append(seed)
        self._tell(genes, truth)
        return self.model.embed_genes(list(genes))

    def score_gene_pairs(self, genes, *, rows, seed, truth=None):
        self.seeds.append(seed)
        self._tell(genes, truth)
        self.rows = rows
        return self.model.score_gene_pairs(self.cells, genes=list(genes))


class Lacks(Random):
    """Has a vector for some genes only."""

    def __init__(self, without):
        super().__init__()
        self.without = without

    def embed_genes(self, genes):
        rows = super().embed_genes(genes)
        rows[[gene in self.without for gene in genes]] = np.nan
        return rows


class VectorsOnly:
    """Has vectors of genes, two kinds of which point the same way."""

    def embed_genes(self, genes):
        return np.array([[1.0, 0.1 * i % 0.3] if int(g[1:]) < 6 else [0.1 * i % 0.7, 1.0] for i, g in enumerate(genes)])


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    made = AnnData(sparse.csr_matrix(rng.poisson(2.0, (40, N_GENES)).astype(np.float32)))
    made.var_names = [f"G{i}" for i in range(N_GENES)]
    made.uns["network"] = np.array(
        [[f"G{i}", f"G{j}"] for i in range(5) for j in rng.choice(np.arange(5, 60), 8, False)]
    )
    return made


@pytest.fixture(scope="module")
def gmt(tmp_path_factory):
    rng = np.random.default_rng(1)
    genes = [f"G{i}" for i in range(100)]
    lines = [f"set{k}\tna\t" + "\t".join(rng.choice(genes, 25, replace=False)) for k in range(4)]
    lines += [f"copy\tna\t{lines[0].split(chr(9), 2)[2]}", "small\tna\tG1\tG2", "all\tna\t" + "\t".join(genes)]
    path = tmp_path_factory.mktemp("sets") / "my.gmt"
    path.write_text("\n".join(lines))
    return str(path)


def test_the_probe_is_scikit_learns():
    rng = np.random.default_rng(0)
    X, members = rng.normal(size=(60, 80)), rng.random((60, 2)) < 0.4
    seen, inputs = rng.random((60, 2)) < 0.7, _Rotated.of(X)
    odds = inputs.scores @ fitted(inputs, members, seen=seen, penalty=0.1, start=None)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    for term in range(2):
        rows = seen[:, term]
        own = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(Z[rows], members[rows, term])
        np.testing.assert_allclose(odds[:, term], own.decision_function(Z), atol=1e-3)


def test_folds_spread_each_term_and_no_gene_is_judged_by_what_saw_it():
    rng = np.random.default_rng(0)
    members = rng.random((100, 3)) < 0.3
    fold = stratified_folds(members, n_folds=5, seed=0)
    sizes = np.array([[(members[:, t] & (fold[:, t] == f)).sum() for f in range(5)] for t in range(3)])
    assert np.ptp(sizes, axis=1).max() <= 1
    X, held_out = rng.normal(size=(100, 4)), fold[:, 0] == 0
    altered = members.copy()
    altered[held_out, 0] = ~altered[held_out, 0]
    before, after = (out_of_fold(X, members=truth, fold=fold)[0] for truth in (members, altered))
    chosen = [out_of_fold(X, members=truth, fold=fold)[1][0] for truth in (members, altered)]
    assert chosen[0] == chosen[1]
    np.testing.assert_allclose(before[held_out, 0], after[held_out, 0])


def test_the_oracle_is_best_and_noise_is_chance(cells, gmt):
    task = GeneFunctions(gene_sets=gmt)
    best = task.score(Asked(Oracle(), cells), cells, seeds=[0]).scores
    assert best["auprc"].value > 0.98
    noise = task.score(Asked(Random(), cells), cells, seeds=[0, 1]).scores
    assert noise["auprc"].value == pytest.approx(noise["auprc"].chance, abs=0.08)
    assert noise["auroc"].value == pytest.approx(0.5, abs=0.12)
    assert len(noise["auprc"].per_seed) == 2
    assert noise["auprc"].n_units == 4
    assert noise["coexpression_auprc"].low is not None


def test_missing_genes_are_named_and_stay_in(cells, gmt):
    task = GeneFunctions(gene_sets=gmt)
    found = task.score(Asked(Lacks({"G0", "G1"}), cells), cells, seeds=[0])
    whole = task.score(Asked(Random(), cells), cells, seeds=[0])
    assert found.details["genes_without_vector"] == ["G0", "G1"]
    assert found.details["n_genes"] == whole.details["n_genes"] == 100
    assert any("2 genes without a vector stand at the mean of the others: G0, G1" in note for note in found.notes)
    rows = found.details["terms"]
    assert [row["n_genes"] for row in rows] == [25] * 4
    assert sum(row["n_with_vector"] for row in rows) < 100
    assert np.mean([row["auprc"] for row in rows]) == pytest.approx(found.scores["auprc"].value)
    assert found.details["n_sets_of_size"] == 5
    assert any("1 gene sets with the very genes of another" in note for note in found.notes)


def test_terms_are_drawn_where_there_are_many(cells, gmt):
    found = GeneFunctions(gene_sets=gmt, max_terms=3).score(Asked(Random(), cells), cells, seeds=[0])
    assert found.details["n_terms"] == 3
    assert "3 of 4 gene sets were drawn" in found.notes


@pytest.mark.parametrize(
    ("sizes", "method", "said"),
    [((60, 90), Random(), "0 of 7 gene sets have 60 to 90"), ((20, 500), Lacks({f"G{i}" for i in range(120)}), "none")],
)
def test_what_cannot_be_asked_is_undefined_with_a_reason(cells, gmt, sizes, method, said):
    found = GeneFunctions(gene_sets=gmt, sizes=sizes).score(Asked(method, cells), cells, seeds=[0]).scores
    assert found["auprc"].value is None
    assert not found["auprc"].applies
    assert said in found["auprc"].reason


def test_a_method_that_learns_here_is_held_against_coexpression_too(cells, gmt):
    class Learns(Random):
        def fit(self, cells):
            pass

    found = GeneFunctions(gene_sets=gmt).score(Asked(Learns(), cells), cells, seeds=[0]).scores
    assert found["coexpression_auprc"].value is not None
    assert found["random_auprc"].value is not None


def test_the_release_tells_gene_sets_apart(gmt):
    assert GeneFunctions().reads() == load_gene_sets().release
    assert GeneFunctions(gene_sets=gmt).reads() != GeneFunctions().reads()
    assert "embed_genes" in GeneFunctions().refuses(object)


def test_the_network_itself_is_best_and_noise_is_chance(cells):
    task = GeneNetwork()
    assert task.keys == ("network",)
    best = task.score(Asked(Oracle(), cells), cells, seeds=[0])
    assert [best.scores[name].value for name in ("auprc", "auroc", "ep")] == [1, 1, 1]
    density = best.details["density"]
    assert best.scores["epr"].value == pytest.approx(1 / density)
    assert any(f"a density of {density:.4f}" in note for note in best.notes)
    noise = task.score(Asked(Random(), cells), cells, seeds=[0]).scores
    assert noise["auroc"].value == pytest.approx(0.5, abs=0.15)
    assert noise["ep"].chance == pytest.approx(density)
    assert noise["auprc"].n_units == 5


def test_cosine_stands_in_where_a_model_scores_no_pairs(cells):
    found = GeneNetwork().score(Asked(VectorsOnly(), cells), cells, seeds=[0])
    assert found.details["scores of pairs"] == "cosine of gene vectors"
    assert any("no direction" in note for note in found.notes)
    own = GeneNetwork().score(Asked(Random(), cells), cells, seeds=[0])
    assert own.details["scores of pairs"] == "the model's own"


def test_pairs_without_a_score_are_counted_and_come_last(cells):
    class Silent(Random):
        def score_gene_pairs(self, cells, *, genes):
            return np.full_like(super().score_gene_pairs(cells, genes=genes), np.nan)

    class Half(Random):
        def score_gene_pairs(self, cells, *, genes):
            found = super().score_gene_pairs(cells, genes=genes)
            found[:2] = np.nan
            return found

    half = GeneNetwork().score(Asked(Half(), cells), cells, seeds=[0])
    assert half.details["n_pairs_without_score"] == 2 * (half.details["n_genes"] - 1)
    assert half.scores["auprc"].value is not None
    silent = GeneNetwork().score(Asked(Silent(), cells), cells, seeds=[0]).scores["auprc"]
    assert (silent.value, silent.applies) == (None, False)
    assert "says nothing" in silent.reason


def test_genes_and_cells_are_limited_and_regulators_kept(cells):
    asked = Asked(Random(), cells)
    found = GeneNetwork(max_genes=12, max_cells=10).score(asked, cells, seeds=[0])
    assert found.details["n_genes"] == 12
    assert found.details["n_regulators"] == 5
    assert len(asked.rows) == 10


def test_a_network_of_unknown_genes_is_refused(cells, tmp_path):
    (tmp_path / "mouse.csv").write_text("TF,target\nSox2,Pou5f1\nNanog,Klf4\n")
    task = GeneNetwork(network=str(tmp_path / "mouse.csv"))
    assert task.keys == ()
    with pytest.raises(InvalidInputError, match="0 of whose edges both genes are measured, 2 edges of others"):
        task.check(cells, dataset="mine")
    assert "mouse.csv" in task.reads()
    (tmp_path / "named.csv").write_text("from,to\nSox2,Pou5f1\n")
    with pytest.raises(InvalidInputError, match="a first line from, to"):
        GeneNetwork(network=str(tmp_path / "named.csv")).check(cells, dataset="mine")
    GeneNetwork().check(cells, dataset="mine")
    assert "score_gene_pairs" in GeneNetwork().refuses(object)

"""Layer-wise reconstruction: what holds the expression reaches 1, noise reaches nothing, test cells teach nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.linear_model import Ridge as SklearnRidge

from scfm_eval.datasets.expression import log_normalised
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import Rows
from scfm_eval.models.protocols import Reconstruction, Reconstructor
from scfm_eval.tasks.layer_inputs import combined, layer_weights, principal, principal_reconstruction
from scfm_eval.tasks.native import Native, native_table
from scfm_eval.tasks.reconstruction import LayerwiseReconstruction
from scfm_eval.tasks.ridge import PENALTIES, fit_ridge

RNG = np.random.default_rng(0)
N_CELLS, N_GENES = 240, 60


def made_cells(*, donors=None, labels=True):
    """Counts of cells with three hidden factors."""
    rng = np.random.default_rng(0)
    factors, loadings = rng.normal(size=(N_CELLS, 3)), rng.normal(size=(3, N_GENES)) * 0.7
    counts = rng.poisson(8 * np.exp(factors @ loadings - 0.7)).astype(np.float32)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(N_CELLS)])
    if labels:
        obs["label"] = pd.Categorical(np.where(factors[:, 0] > 0, "high", "low"))
    if donors is not None:
        obs["donor"] = pd.Categorical(donors)
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)]))


class Answers:
    """Fixed layers, and a native reconstruction where there is one."""

    def __init__(self, *layers, native=None):
        self.layers, self.native = [layer.astype(np.float32) for layer in layers], native

    def can(self, capability):
        return capability is not Reconstructor or self.native is not None

    def embed_layers(self, **_):
        return self.layers

    def reconstruct_layers(self, *, rows, **_):
        return self.native(rows)


@pytest.fixture(scope="module")
def cells():
    return made_cells()


@pytest.fixture(scope="module")
def expression(cells):
    return log_normalised(cells.X).toarray()


def noise(width=8, seed=1):
    return np.random.default_rng(seed).normal(size=(N_CELLS, width))


def score(cells, answers, **known):
    return LayerwiseReconstruction(**known).score(answers, cells, seeds=[0])


def test_expression_itself_reaches_the_best(cells, expression):
    wide = np.zeros_like(expression)
    found = score(cells, Answers(wide + noise(N_GENES), expression, wide + noise(N_GENES, seed=2)))
    assert found.scores["probe_r2"].value > 0.999
    assert found.scores["probe_pearson"].value > 0.999
    assert found.details["best_layer"] == [1]
    assert found.details["best_depth"] == [0.5]
    assert found.scores["middle_layer_r2"].value == found.scores["probe_r2"].value
    assert found.scores["last_layer_r2"].value < 0.05
    assert found.details["layer_weights"][1] > 0.95
    assert found.scores["weighted_layers_r2"].value > 0.9
    assert found.details["layers"][1]["label_macro_f1"] > 0.9


def test_noise_reaches_what_permuted_rows_and_the_gene_mean_reach(cells):
    found = score(cells, Answers(noise(), noise(seed=2))).scores
    assert found["probe_r2"].value == pytest.approx(found["permuted_r2"].value, abs=0.03)
    assert found["gene_mean_r2"].value == pytest.approx(0, abs=0.03)
    assert found["probe_r2"].value < 0.02
    assert abs(found["probe_pearson"].value) < 0.15
    assert found["pca_r2"].value > found["random_projection_r2"].value > 0.2


def test_scores_have_intervals_and_a_missing_head_a_reason(cells):
    found = score(cells, Answers(noise())).scores
    assert found["pca_r2"].low < found["pca_r2"].value < found["pca_r2"].high
    assert found["native_mse"].value is None
    assert "reconstruct_layers" in found["native_mse"].reason


def test_test_cells_teach_nothing(cells, expression):
    layers = [expression[:, :5] + noise(5), expression[:, :20]]
    test = LayerwiseReconstruction()._used(cells).within(0)
    spoilt = [layer.copy() for layer in layers]
    for layer in spoilt:
        layer[test] = 1e3 * noise(layer.shape[1], seed=5)[test]
    clean, dirty = (score(cells, Answers(*(layer[:, :5] for layer in made))) for made in (layers, spoilt))
    assert clean.details["best_layer"] == dirty.details["best_layer"]
    assert clean.details["layer_weights"] == dirty.details["layer_weights"]
    for a, b in zip(clean.details["layers"], dirty.details["layers"], strict=True):
        assert a["validation_r2"] == pytest.approx(b["validation_r2"])
        assert a["r2"] > b["r2"]


def native(cells, *, exact):
    """Answer with the target on layer ``exact`` and with noise on the others."""

    def answer(rows):
        counts = sparse.csr_matrix(cells.X[rows])
        target = counts.data.astype(np.float32)
        cell = np.repeat(np.arange(len(rows)), np.diff(counts.indptr))
        layers = np.random.default_rng(0).normal(size=(3, len(target))).astype(np.float32)
        layers[exact] = target
        return Reconstruction(target, cell, layers)

    return answer


def test_a_head_that_gives_back_its_input_is_found(cells):
    found = score(cells, Answers(noise(), noise(), noise(), native=native(cells, exact=1)), n_native=30)
    assert found.scores["native_mse"].value == 0
    assert found.scores["native_mae"].value == 0
    assert found.scores["native_r2"].value == 1
    assert found.scores["native_pearson"].value == pytest.approx(1)
    assert found.scores["native_mean_mse"].value > 1
    assert found.scores["native_last_layer_mse"].value > found.scores["native_mean_mse"].value
    assert found.details["native_best_layer"] == [1]
    assert found.details["layers"][1]["native_mse_sd"] == 0
    assert found.details["layers"][2]["native_mae"] > 1


def test_native_parts_by_hand():
    made = Reconstruction(
        target=np.array([1, 3, 5, 7], dtype=np.float32),
        cell=np.array([0, 0, 1, 2]),
        layers=np.array([[1, 3, 0, 0], [0, 0, 5, 9]], dtype=np.float32),
    )
    parts = Native.of(made, test=np.array([True, False, True]))
    assert parts.best == 1
    assert parts.test.target.tolist() == [1, 3, 7]
    assert parts.test.cell.tolist() == [0, 0, 1]
    assert parts.cell_mean.tolist() == [2, 2, 7]
    assert native_table(parts)[1]["native_mse"] == pytest.approx((5 + 4) / 2)


def test_donors_stay_on_one_side():
    donors = np.repeat([f"d{i}" for i in range(8)], N_CELLS // 8)
    used = LayerwiseReconstruction()._used(made_cells(donors=donors))
    for donor in np.unique(donors):
        assert len(np.unique(used.part[donors == donor])) == 1
        assert len(np.unique(used.inner[donors[used.train] == donor])) <= 1
    few = LayerwiseReconstruction()._used(made_cells(donors=donors > "d3"))
    assert "fewer than three donors" in few.notes[0]


def test_without_labels_and_with_fewer_cells():
    cells = made_cells(labels=False)
    found = score(cells, Answers(noise()), n_cells=100)
    assert found.details["layers"][0]["label_macro_f1"] is None
    assert sum(found.details["n_cells"].values()) == 100
    assert "100 of 240 cells" in found.notes[0]


def test_a_validation_part_that_does_not_vary_leaves_the_other_scores():
    cells = made_cells()
    part = LayerwiseReconstruction()._used(cells).within(1)
    cells.X = sparse.csr_matrix(np.where(part[:, None], 3, cells.X.toarray()).astype(np.float32))
    found = score(cells, Answers(noise(), noise(seed=2)))
    for name in ("probe_r2", "probe_pearson", "permuted_r2"):
        assert found.scores[name].value is None
        assert "no gene varies over the validation cells" in found.scores[name].reason
    assert found.scores["pca_r2"].value > found.scores["last_layer_r2"].value
    assert found.details["best_layer"] == found.details["best_depth"] == [None]


class Learner:
    def fit(self, cells): ...

    def embed_layers(self, cells): ...


def test_a_model_that_would_have_to_be_fitted_first_is_refused():
    assert "it learns from the dataset" in LayerwiseReconstruction().refuses(Learner)
    assert LayerwiseReconstruction().refuses(type("Fixed", (), {"embed_layers": Learner.embed_layers})) == ""


def test_too_few_cells_are_refused(cells):
    with pytest.raises(InvalidInputError, match="5 cells"):
        LayerwiseReconstruction().check(cells[:5], dataset="tiny")


@pytest.mark.parametrize("width", [5, 90])
def test_ridge_is_the_one_of_scikit_learn(width):
    X, Y = RNG.normal(size=(60, width)) * 3 + 2, RNG.normal(size=(60, 4)) * [1, 10, 100, 0.1] + 5
    Y[:, 0] += X[:, 0]
    made = fit_ridge(X, Y, fold=np.arange(60) % 3)
    spread = np.sqrt(X.var(axis=0).mean())
    expected = SklearnRidge(alpha=made.penalty).fit(X / spread, Y)
    np.testing.assert_allclose(made.predict(X), expected.predict(X / spread), rtol=1e-3, atol=1e-3)


def test_the_penalty_is_that_of_refitting_each():
    X = RNG.normal(size=(60, 20))
    Y = X[:, :3] + 2 * RNG.normal(size=(60, 3))
    fold, losses = np.arange(60) % 3, np.zeros(len(PENALTIES))
    scaled, wanted = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0).mean()), Y / Y.std(axis=0)
    for i, penalty in enumerate(PENALTIES):
        for one in range(3):
            seen = fold != one
            fitted = SklearnRidge(alpha=penalty).fit(scaled[seen], wanted[seen])
            losses[i] += ((wanted[~seen] - fitted.predict(scaled[~seen])) ** 2).sum()
    assert fit_ridge(X, Y, fold=fold).penalty == PENALTIES[losses.argmin()]


def test_constant_inputs_and_outputs_give_the_mean():
    Y = np.column_stack([RNG.normal(size=30), np.full(30, 7.0)])
    made = fit_ridge(np.full((30, 4), 3.3), Y, fold=np.arange(30) % 3).predict(np.full((2, 4), 9.0))
    np.testing.assert_allclose(made, np.tile(Y.mean(axis=0), (2, 1)), rtol=1e-5)


def test_principal_components_are_the_best_linear_map(expression):
    train = np.arange(N_CELLS) % 2 == 0
    rows = Rows(expression, np.arange(N_CELLS))
    back = principal_reconstruction(rows, train=train, width=5).values
    values = np.linalg.svd(expression[train] - expression[train].mean(axis=0), compute_uv=False)
    assert ((expression - back)[train] ** 2).sum() == pytest.approx((values[5:] ** 2).sum(), rel=1e-3)
    assert principal(rows, train=train, width=5).values.shape == (N_CELLS, 5)


def test_donors_of_one_fold_are_never_on_both_sides_of_a_penalty(expression, monkeypatch):
    donor = np.repeat(np.arange(6), N_CELLS // 6)
    given = []

    def spy(X, Y, *, fold):
        given.append(fold)
        return fit_ridge(X, Y, fold=fold)

    monkeypatch.setattr("scfm_eval.tasks.layer_inputs.fit_ridge", spy)
    layer_weights([noise(9)], expression, fold=donor // 2)
    assert all(np.array_equal(fold, (donor // 2)[donor > 1]) for fold in given)
    layer_weights([noise(9)], expression, fold=donor // 3)
    assert set(given[-1]) == {0, 1, 2}


def test_combinations_are_as_wide_as_a_layer(expression):
    train, fold = np.arange(N_CELLS) % 3 > 0, np.arange(160) % 3
    layers = [Rows(noise(9, seed=seed), np.arange(N_CELLS)) for seed in (1, 3)]
    joined, weights = combined(layers, train=train, expression=expression[train], fold=fold)
    assert {name: made.values.shape for name, made in joined.items()} == dict.fromkeys(
        ("mean_layers", "weighted_layers", "concatenated_layers"), (N_CELLS, 9)
    )
    assert weights.sum() == pytest.approx(1)


def test_weights_go_to_the_layer_that_knows(expression):
    known = expression[:, :20] - expression[:, :20].mean(axis=0)
    weights = layer_weights([noise(20), known, noise(20, seed=3)], expression, fold=np.arange(N_CELLS) % 3)
    assert weights[1] > 0.9

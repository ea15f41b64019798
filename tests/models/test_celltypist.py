"""CellTypist-style models give what scikit-learn gives, and no class of a file is ever made."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.celltypist import CellTypist
from scfm_eval.models.options import with_options
from scfm_eval.models.protocols import Annotator, Embedder, GeneEmbedder, Pretrained, missing_methods

GENES = ["CD3D", "CD3E", "CD8A", "MS4A1", "CD79A", "NKG7", "GNLY", "LYZ", "S100A8", "FCGR3A", "PPBP", "CST3"]
OTHER = ["ACTB", "MALAT1"]
TYPES = ["B cell", "NK cell", "T cell"]


def made_cells(n_cells: int, *, seed: int) -> AnnData:
    """Cells in which each type has its own genes; two genes more are not in the model but in the totals."""
    generator = np.random.default_rng(seed)
    label = np.arange(n_cells) % len(TYPES)
    mean = np.full((n_cells, 14), 0.7)
    for kind in range(len(TYPES)):
        mean[label == kind, kind * 4 : kind * 4 + 4] = 2.0
    mean[:, 12:] = 40.0
    X = sparse.csr_matrix(generator.poisson(mean).astype(np.float32))
    obs = pd.DataFrame({"label": [TYPES[i] for i in label]}, index=[f"c{i}" for i in range(n_cells)])
    return AnnData(X, obs=obs, var=pd.DataFrame(index=[*GENES, *OTHER]))


def log_normalised(cells: AnnData) -> np.ndarray:
    X = cells.X.toarray().astype(np.float64)
    return np.log1p(X / X.sum(axis=1, keepdims=True) * 1e4)


def scaled(cells: AnnData, scaler: StandardScaler) -> np.ndarray:
    return np.minimum(scaler.transform(log_normalised(cells)[:, : len(GENES)]), 10)


def fitted(kind: str, types: list[str]):
    """Classifier and scaler of scikit-learn, with the genes as CellTypist puts them in."""
    cells = made_cells(90, seed=0)
    cells = cells[cells.obs["label"].isin(types)].copy()
    scaler = StandardScaler(with_mean=kind != "no mean").fit(log_normalised(cells)[:, : len(GENES)])
    labels, X = cells.obs["label"].to_numpy(dtype=object), scaled(cells, scaler)
    if kind == "sgd":
        classifier = SGDClassifier(loss="log_loss", random_state=0).fit(X, labels)
    elif len(types) > 2:
        rest = OneVsRestClassifier(LogisticRegression(C=1.0)).fit(X, labels)
        classifier = LogisticRegression()
        classifier.coef_ = np.vstack([one.coef_ for one in rest.estimators_])
        classifier.intercept_ = np.concatenate([one.intercept_ for one in rest.estimators_])
        classifier.classes_, classifier.n_features_in_ = rest.classes_, len(GENES)
    else:
        classifier = LogisticRegression().fit(X, labels)
    classifier.features = np.array(GENES, dtype=object)
    return classifier, scaler


def written(folder: Path, classifier, scaler, *, name: str = "mine.pkl", protocol: int | None = None) -> Path:
    content = {"Model": classifier, "Scaler_": scaler, "description": {"date": "", "details": "made here"}}
    (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    return folder


CASES = {
    "logistic": ("logistic", TYPES),
    "sgd": ("sgd", TYPES),
    "no mean": ("no mean", TYPES),
    "two classes": ("logistic", TYPES[:2]),
}


@pytest.fixture(scope="module", params=[*CASES])
def trained(request, tmp_path_factory):
    classifier, scaler = fitted(*CASES[request.param])
    return written(tmp_path_factory.mktemp("celltypist"), classifier, scaler), classifier, scaler


@pytest.fixture(scope="module")
def cells():
    return made_cells(30, seed=1)


@pytest.fixture
def parts():
    return fitted("logistic", TYPES)


def decided(classifier, scaler, cells: AnnData) -> np.ndarray:
    scores = classifier.decision_function(scaled(cells, scaler))
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores


def test_card_and_capabilities():
    for capability in (Embedder, Annotator, GeneEmbedder, Pretrained):
        assert missing_methods(CellTypist, capability) == []
    assert card(CellTypist).name == "celltypist"
    assert 'probabilities="each"' in card(CellTypist).definition


def test_decision_values_are_those_of_sklearn(trained, cells):
    folder, classifier, scaler = trained
    expected = decided(classifier, scaler, cells)
    made = CellTypist(weights=folder).embed(cells)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def test_probabilities_and_labels(trained, cells):
    folder, classifier, scaler = trained
    expected = decided(classifier, scaler, cells)
    labels, each = CellTypist(weights=folder, probabilities="each").annotate(cells)
    assert labels.tolist() == classifier.classes_.tolist()
    np.testing.assert_allclose(each, expit(expected), rtol=0, atol=1e-5)
    _, shares = CellTypist(weights=folder).annotate(cells)
    np.testing.assert_allclose(shares, expit(expected) / expit(expected).sum(axis=1, keepdims=True), rtol=0, atol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    for made in (each, shares):
        assert labels[made.argmax(axis=1)].tolist() == classifier.predict(scaled(cells, scaler)).tolist()
    assert np.mean(labels[shares.argmax(axis=1)] == cells.obs["label"]) > 0.6


def test_large_values_are_cut_at_ten(parts, tmp_path, cells):
    classifier, scaler = parts
    scaler.scale_ = scaler.scale_ / 40
    uncut = scaler.transform(log_normalised(cells)[:, : len(GENES)])
    assert (uncut > 10).any()
    assert (uncut < -10).any()
    made = CellTypist(weights=written(tmp_path, classifier, scaler)).embed(cells)
    np.testing.assert_allclose(made, decided(classifier, scaler, cells), rtol=1e-4, atol=1e-3)


def test_the_surest_class_is_ahead_where_numbers_end(parts, tmp_path, cells):
    classifier, scaler = parts
    classifier.intercept_ = np.array([500.0, 700.0, 600.0])
    for how in ("shares", "each"):
        model = CellTypist(weights=written(tmp_path, classifier, scaler), probabilities=how)
        labels, made = model.annotate(cells)
        assert labels[made.argmax(axis=1)].tolist() == labels[model.embed(cells).argmax(axis=1)].tolist()
        assert set(labels[made.argmax(axis=1)]) == {"NK cell"}
        assert made.max() <= 1
    classifier.intercept_ = np.array([-900.0, -2000.0, -3000.0])
    labels, made = CellTypist(weights=written(tmp_path, classifier, scaler)).annotate(cells)
    assert set(labels[made.argmax(axis=1)]) == {"B cell"}
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-6)


def test_a_gene_that_the_cells_lack_counts_as_average(trained, cells):
    """CellTypist leaves it out of the sum: its scaled value is 0."""
    folder, classifier, scaler = trained
    without = cells[:, 1:].copy()
    X = scaled(cells, scaler)
    total = without.X.toarray().sum(axis=1, keepdims=True)
    values = np.log1p(cells.X.toarray()[:, : len(GENES)] / total * 1e4)
    X = np.minimum(scaler.transform(values), 10)
    X[:, 0] = 0
    scores = X @ classifier.coef_.T + classifier.intercept_
    expected = np.hstack([-scores, scores]) if scores.shape[1] == 1 else scores
    np.testing.assert_allclose(CellTypist(weights=folder).embed(without), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(30)), st.integers(1, 29), st.permutations(range(14)))
def test_rows_follow_their_cells(trained, cells, order, kept, genes):
    model, chosen = CellTypist(weights=trained[0]), order[:kept]
    made = model.embed(cells[chosen][:, genes])
    np.testing.assert_allclose(made, model.embed(cells)[chosen], rtol=0, atol=1e-4)


def test_ensembl_ids_are_read_as_symbols(trained, cells):
    from scfm_eval.datasets.genes import to_ensembl

    other = cells.copy()
    other.var_names = to_ensembl([*GENES, *OTHER])
    model = CellTypist(weights=trained[0])
    np.testing.assert_allclose(model.embed(other), model.embed(cells), rtol=0, atol=1e-5)


def test_totals_count_genes_that_the_model_does_not_read(trained, cells):
    model = CellTypist(weights=trained[0])
    assert np.abs(model.embed(cells[:, : len(GENES)]) - model.embed(cells)).max() > 0.1


def test_cells_with_other_genes_are_refused(trained, cells):
    other = cells.copy()
    other.var_names = [f"gene-{i}" if i else "CD3D" for i in range(cells.n_vars)]
    with pytest.raises(InvalidInputError, match="1 of its 12 genes"):
        CellTypist(weights=trained[0]).embed(other)


def test_a_cell_without_genes_is_named(trained, cells):
    X = cells.X.toarray()
    X[4, : len(GENES)] = 0
    X[5] = 0
    empty = AnnData(sparse.csr_matrix(X), obs=cells.obs, var=cells.var)
    with pytest.raises(InvalidInputError, match="c4, c5"):
        CellTypist(weights=trained[0]).embed(empty)
    assert np.isfinite(CellTypist(weights=trained[0], unread="keep").embed(empty)).all()


def test_input_is_left_alone(trained, cells):
    before = cells.copy()
    CellTypist(weights=trained[0]).annotate(cells)
    assert (before.X != cells.X).nnz == 0
    assert cells.var.equals(before.var)


def test_genes_have_the_weights_of_the_classes(trained):
    folder, classifier, _ = trained
    made = CellTypist(weights=folder).embed_genes(["CD8A", "NOSUCH"])
    np.testing.assert_allclose(made[0, -1], classifier.coef_[-1, 2], rtol=1e-6)
    assert made.shape == (2, len(classifier.classes_))
    assert np.isnan(made[1]).all()
    assert CellTypist.vocabulary(folder) == frozenset(GENES)


def arrays(classifier, scaler) -> dict[str, np.ndarray]:
    return {
        "coef": classifier.coef_,
        "intercept": classifier.intercept_,
        "classes": classifier.classes_.astype(str),
        "features": np.array(GENES),
        "mean": scaler.mean_,
        "scale": scaler.scale_,
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_npz_and_pickles_of_all_protocols_are_one(parts, tmp_path, cells, protocol):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    np.savez(tmp_path / "a" / "mine.npz", **arrays(*parts))
    written(tmp_path / "b", *parts, protocol=protocol)
    one, two = (CellTypist(weights=tmp_path / folder).embed(cells) for folder in "ab")
    np.testing.assert_array_equal(one, two)


def test_one_of_several_files_is_named(parts, tmp_path):
    written(written(tmp_path, *parts, name="one.pkl"), *parts, name="two.pkl")
    with pytest.raises(InvalidInputError, match=r"one\.pkl, two\.pkl"):
        CellTypist(weights=tmp_path)
    with pytest.raises(InvalidInputError, match=r"three\.pkl"):
        CellTypist(weights=tmp_path, file="three.pkl")
    assert CellTypist(weights=tmp_path, file="two.pkl").n_parameters == 39
    with pytest.raises(InvalidInputError, match=r"one\.pkl, two\.pkl"):
        CellTypist.sources(tmp_path)
    named = with_options(CellTypist, {"file": "two.pkl"})
    assert [path.name for path in named.sources(tmp_path)] == ["two.pkl"]
    assert named(weights=tmp_path).n_parameters == 39
    assert named.vocabulary(tmp_path) == frozenset(GENES)


FAULTS = {
    r"coefficients \(3, 11\)": lambda a: a.update(coef=a["coef"][:, 1:]),
    r"intercepts \(2,\)": lambda a: a.update(intercept=a["intercept"][1:]),
    r"for 2 classes": lambda a: a.update(classes=a["classes"][1:]),
    r"means \(11,\)": lambda a: a.update(mean=a["mean"][1:]),
    r"scales \(11,\)": lambda a: a.update(scale=a["scale"][1:]),
    r"not positive": lambda a: a.update(scale=a["scale"] * 0),
    r"not finite": lambda a: a.update(coef=a["coef"] * np.nan),
    r"there twice": lambda a: a.update(features=np.array(["CD3D"] * 12)),
    r"no names but a ndarray": lambda a: a.update(features=np.arange(12)),
    r"scale is not a file|KeyError": lambda a: a.pop("scale"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_arrays_that_do_not_fit_are_refused(parts, tmp_path, said):
    changed = arrays(*parts)
    FAULTS[said](changed)
    np.savez(tmp_path / "mine.npz", **changed)
    with pytest.raises(InvalidInputError, match=said):
        CellTypist(weights=tmp_path)


class Hostile:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def test_code_in_a_model_is_not_executed(parts, tmp_path):
    classifier, scaler = parts
    classifier.features = Hostile(tmp_path / "touched")
    with pytest.raises(InvalidInputError, match=r"(posix|nt)\.mkdir; nothing of it was executed"):
        CellTypist(weights=written(tmp_path, classifier, scaler))
    assert not (tmp_path / "touched").exists()


def test_classes_of_the_file_are_never_made(parts, tmp_path, monkeypatch, cells):
    def made(*_):
        raise AssertionError("a class of the file was made")

    folder = written(tmp_path, *parts)
    for kind in (LogisticRegression, StandardScaler):
        monkeypatch.setattr(kind, "__setstate__", made)
    assert CellTypist(weights=folder).embed(cells).shape == (30, 3)


@pytest.mark.parametrize("content", [b"", b"x" * 40, pickle.dumps({"Model": 1}), pickle.dumps([1]), None])
def test_damaged_or_foreign_files_are_refused(parts, tmp_path, content):
    whole = (written(tmp_path, *parts) / "mine.pkl").read_bytes()
    (tmp_path / "mine.pkl").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InvalidInputError, match=r"mine\.pkl"):
        CellTypist(weights=tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError, match=r"no \.pkl and no \.npz"):
        CellTypist(weights=tmp_path)
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    assert not CellTypist.available()
    with pytest.raises(InvalidInputError, match=r"celltypist\.org/models"):
        CellTypist()

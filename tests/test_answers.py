"""What a model is asked beyond an embedding: what it is given, what is checked, what the store tells apart."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.answers import StoredAnswers
from scfm_eval.baselines.perturbation import TrainingMean
from scfm_eval.cells import Cells, model_view
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.geneformer import UntrainedGeneformer
from scfm_eval.models.protocols import FineTuner, FineTuning, LayerEmbedder, Reconstruction
from scfm_eval.provenance import adapter_sha256
from scfm_eval.store import Store
from tests.toys import toy_cells

N = 90


class Knows:
    """Has every capability, and notes what it is asked."""

    asked: list = []  # noqa: RUF012

    def embed(self, cells):
        return np.log1p(cells.X.toarray())

    def embed_layers(self, cells):
        return [np.log1p(cells.X.toarray()), np.ones((cells.n_obs, 40))]

    def embed_genes(self, genes):
        return np.array([[np.nan] * 2 if gene == "GENE3" else [len(gene), 1.0] for gene in genes])

    def reconstruct_layers(self, cells):
        self.asked.append(list(cells.obs_names))
        return Reconstruction(np.ones(2), np.arange(2), np.ones((3, 2)))

    def annotate(self, cells):
        self.asked.append(list(cells.obs))
        return np.array(["one", "two"]), np.full((cells.n_obs, 2), 0.5)

    def perturb(self, cells, *, genes, effect):
        self.asked.append((list(genes), effect))
        return self.embed(cells)

    def fit_perturbations(self, cells):
        self.asked.append(dict(cells.obs["perturbation"].value_counts()))

    def predict_perturbations(self, conditions):
        return np.ones((len(conditions), 40))

    def fine_tune(self, cells, *, labels, validation, validation_labels, how, seed, folder=None):
        assert "label" not in cells.obs
        assert "label" not in validation.obs
        assert not folder.exists()
        self.asked.append((seed, list(labels), list(validation_labels)))
        return {"epochs": how.epochs}

    def predict_labels(self, cells):
        return np.array(["a", "b", "c"]), np.full((cells.n_obs, 3), 1 / 3)


class Short(Knows):
    def predict_perturbations(self, conditions):
        return np.ones((len(conditions), 3))

    def perturb(self, cells, **_):
        return self.embed(cells)[1:]


def perturbed_cells():
    cells = toy_cells()
    cells.obs["perturbation"] = np.array(["control", "GENE1", "GENE2"])[np.arange(N) % 3]
    return cells


@pytest.fixture
def ask(tmp_path):
    Knows.asked.clear()
    dataset = Dataset(
        name="toy", build=perturbed_cells, label_key="cell_type", perturbation_key="perturbation", effect="knockdown"
    )
    cells = Cells(dataset, dataset.load())

    def answers(model=Knows):
        about = card(model)
        view, _ = model_view(model, about, cells, weights=None)
        resident = Resident(device="cpu", precision="float32", offline=True)
        return StoredAnswers(model, about, cells, view, Store(tmp_path), resident, None)

    return answers


def test_can_tells_capabilities_apart(ask):
    assert ask().can(LayerEmbedder)
    assert ask().can(FineTuner)
    assert not ask(TrainingMean).can(LayerEmbedder)


def test_layers_and_gene_vectors_come_back_as_they_were_made(ask):
    layers = ask().embed_layers(seed=0)
    assert [layer.shape for layer in layers] == [(N, 40), (N, 40)]
    genes = ask().embed_genes(["GENE1", "GENE3"], seed=0)
    np.testing.assert_array_equal(np.isnan(genes).any(axis=1), [False, True])


def test_own_labels_are_made_once_without_the_labels_of_the_dataset(ask):
    answers = ask()
    for _ in range(2):
        labels, probabilities = answers.annotate(seed=0)
        assert labels.tolist() == ["one", "two"]
        assert probabilities.shape == (N, 2)
        assert probabilities.dtype == np.float32
    assert Knows.asked == [[]]
    assert list(answers.arrays) == ["annotate"]


def test_reconstruction_and_perturbation_are_of_the_rows_that_were_asked(ask):
    rows = np.array([4, 7])
    assert ask().reconstruct_layers(seed=0, rows=rows).layers.shape == (3, 2)
    assert ask().perturb(seed=0, rows=rows, genes=["GENE1"], effect="knockdown").shape == (2, 40)
    assert Knows.asked == [["cell4", "cell7"], (["GENE1"], "knockdown")]


def test_a_predictor_sees_perturbations_of_training_cells_only(ask):
    train = np.arange(N) % 3 < 2
    assert ask().predict_perturbations(["GENE2"], train=train, seed=0).shape == (1, 40)
    assert Knows.asked == [{"control": 30, "GENE1": 30}]


def test_profiles_of_other_genes_and_rows_of_other_cells_are_refused(ask):
    with pytest.raises(InvalidInputError, match=r"shape \(1, 3\)"):
        ask(Short).predict_perturbations(["GENE2"], train=np.ones(N, dtype=bool), seed=0)
    with pytest.raises(InvalidInputError, match=r"shape \(1, 40\)"):
        ask(Short).perturb(seed=0, rows=np.array([0, 1]), genes=["GENE1"], effect="knockdown")


def test_each_seed_is_a_training_of_its_own_even_on_the_same_parts(ask):
    part = np.arange(N) % 3
    parts = {"train": part == 0, "validation": part == 1, "test": part == 2}
    labels = np.array(["a", "b", "c"])[np.arange(N) // 30]
    answers = ask()
    for seed in (0, 1, 0):
        tuned = answers.fine_tune(labels=labels, **parts, how=FineTuning(epochs=2), seed=seed)
        assert tuned.probabilities.shape == (30, 3)
        assert tuned.history == {"epochs": 2}
    assert [asked[0] for asked in Knows.asked] == [0, 1]
    assert not (answers.store.folder / "unfinished").exists()


def test_the_source_of_an_answer_is_followed_through_all_imports(monkeypatch):
    from scfm_eval import provenance

    read = []
    whole = provenance._imported.__wrapped__
    monkeypatch.setattr(provenance, "_imported", lambda file: read.append(file.name) or whole(file))
    assert adapter_sha256.__wrapped__(TrainingMean) != adapter_sha256.__wrapped__(UntrainedGeneformer)
    assert {"perturbation.py", "perturbation_conditions.py", "expression.py"} <= set(read)
    assert {"geneformer.py", "training.py", "classification.py"} <= set(read)


def always(answer):
    return lambda *_, **__: answer


def spoiled(**answers):
    return type("Spoiled", (Knows,), {name: always(answer) for name, answer in answers.items()})


@pytest.mark.parametrize(
    ("methods", "ask_for", "said"),
    [
        ({"embed_layers": []}, lambda a: a.embed_layers(seed=0), "no layer"),
        ({"embed_layers": [np.ones((N, 2)), np.ones((N, 3))]}, lambda a: a.embed_layers(seed=0), "widths 2, 3"),
        ({"embed_genes": np.ones((1, 2))}, lambda a: a.embed_genes(["GENE1", "GENE2"], seed=0), r"shape \(1, 2\)"),
        ({"embed_genes": np.full((1, 2), np.inf)}, lambda a: a.embed_genes(["GENE1"], seed=0), "infinite"),
        (
            {"reconstruct_layers": Reconstruction(np.ones(2), np.array([-1, 0]), np.ones((1, 2)))},
            lambda a: a.reconstruct_layers(seed=0, rows=np.arange(2)),
            "cells numbered -1 to 0",
        ),
        (
            {"reconstruct_layers": (1, 2)},
            lambda a: a.reconstruct_layers(seed=0, rows=np.arange(2)),
            "no Reconstruction",
        ),
        ({"annotate": (["a", "a"], np.full((N, 2), 0.5))}, lambda a: a.annotate(seed=0), "some of them twice"),
        ({"annotate": (["a", "b"], np.full((N, 3), 1 / 3))}, lambda a: a.annotate(seed=0), r"shape \(90, 3\)"),
        ({"annotate": (["a", "b"], np.full((N, 2), 0.7))}, lambda a: a.annotate(seed=0), "do not sum to 1"),
        ({"annotate": (["a", "b"], np.full((N, 2), np.nan))}, lambda a: a.annotate(seed=0), "not finite"),
    ],
)
def test_an_answer_of_the_wrong_form_is_refused_in_words(ask, methods, ask_for, said):
    with pytest.raises(InvalidInputError, match=said):
        ask_for(ask(spoiled(**methods)))


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"predict_labels": (np.array(["A", "B", "C"]), np.full((30, 3), 1 / 3))}, "never taught: A, B, C"),
        ({"predict_labels": (np.array(["a", "b", "c"]), np.full((1, 3), 1 / 3))}, r"shape \(1, 3\)"),
        ({"predict_labels": (np.array(["a", "b", "c"]), np.full((30, 3), np.nan))}, "not finite"),
        ({"predict_labels": (np.array(["a", "a", "c"]), np.full((30, 3), 1 / 3))}, "some of them twice"),
        ({"fine_tune": None}, "no dictionary"),
        ({"fine_tune": {"loss": np.float32(1)}}, "not JSON serializable"),
    ],
)
def test_a_fine_tuned_model_that_says_something_else_is_refused_in_words(ask, methods, said):
    part = np.arange(N) % 3
    parts = {"train": part == 0, "validation": part == 1, "test": part == 2}
    labels = np.array(["a", "b", "c"])[np.arange(N) // 30]
    with pytest.raises(InvalidInputError, match=said):
        ask(spoiled(**methods)).fine_tune(labels=labels, **parts, how=FineTuning(), seed=0)


def test_the_first_answer_of_each_kind_can_be_found_in_the_store(ask):
    answers = ask()
    embedding = answers.embed(seed=0)
    answers.embed(seed=1)
    answers.predict_perturbations(["GENE1"], train=np.ones(N, dtype=bool), seed=0)
    assert list(answers.arrays) == ["embed", "predict_perturbations, learned from training cells"]
    np.testing.assert_array_equal(answers.store.find(answers.arrays["embed"]).arrays[0], embedding)

"""Each fit says what it saw: a fault in any of them is refused, and what is right is not."""

from __future__ import annotations

import ast
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scfm_eval
from scfm_eval import guards
from scfm_eval.answers import StoredAnswers
from scfm_eval.baselines.controls import Random
from scfm_eval.baselines.pca import PCA
from scfm_eval.baselines.perturbation import TrainingMean
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.synthetic import simulate_perturbations
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate
from scfm_eval.fits import Fit, Rows, fitted, together, unseen
from scfm_eval.guards import GuardError
from scfm_eval.store import Store
from scfm_eval.tasks import annotation, probes
from scfm_eval.tasks.gene_probes import out_of_fold, stratified_folds
from scfm_eval.tasks.predictions import packed
from tests.guards.faults import commit
from tests.toys import toy_cells


class Layered:
    """Gives layers, and can be fine-tuned."""

    def embed(self, cells):
        return np.log1p(cells.X.toarray())

    def embed_layers(self, cells):
        return [self.embed(cells), self.embed(cells) ** 2]

    def fine_tune(self, *_, labels, **__):
        self.classes = np.unique(labels)
        return {"epochs": [{"epoch": 0, "validation_macro_f1": 0.5, "validation_loss": 1.0}], "chosen_epoch": 0}

    def predict_labels(self, cells):
        return self.classes, np.full((cells.n_obs, len(self.classes)), 1 / len(self.classes), dtype=np.float32)


class FrozenGenes:
    """Gives vectors of cells and of genes."""

    def embed(self, cells):
        return Random().embed(cells)

    def embed_genes(self, genes):
        return Random().embed_genes(genes)


def perturbed_cells():
    return simulate_perturbations(seed=0)[0]


def joined_cells():
    cells = toy_cells(n_cells=120)
    cells.obs["domain"] = np.where(np.arange(120) < 60, "source", "target")
    return cells


TOY = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
PERTURBED = Dataset(name="perturbed", build=perturbed_cells, perturbation_key="perturbation")
JOINED = Dataset(name="joined", build=joined_cells, label_key="cell_type", domain_key="domain")
TASKS = {
    "annotation": ("annotation", "Annotation", {"n_folds": 2}),
    "few_shot": ("few_shot", "FewShot", {"n_folds": 2, "n_draws": 1}),
    "zero_shot": ("zero_shot", "ZeroShotAnnotation", {"n_folds": 2, "n_draws": 1}),
    "novelty": ("novelty", "NovelTypes", {}),
    "finetuning": ("finetuning", "FineTunedAnnotation", {}),
    "transfer": ("transfer", "Transfer", {"n_folds": 2}),
    "reconstruction": ("reconstruction", "LayerwiseReconstruction", {"n_genes": 20}),
    "perturbation": ("perturbation", "Perturbation", {"splits": ("single",), "n_folds": 2, "max_cells": 20}),
}
KEYS = "            for key in keys:\n                seen.obs[key] = self.cells.adata.obs[key]"
FAULTS = [
    ("annotation", PCA, "tasks.out_of_fold", "seed=seed, train=train)", "seed=seed)", "the fit of pca"),
    ("annotation", Random, "tasks.out_of_fold", "(name, cells[train],", "(name, cells,", "the choice of C|the scaling"),
    (
        "annotation",
        PCA,
        "answers",
        "cells = self.view if train is None else",
        "cells = self.view if True else",
        "the fit of pca",
    ),
    ("few_shot", Random, "tasks.few_shot", "(plain, by=train)", "(plain, by=train | test)", "the scaling of a probe"),
    ("few_shot", Random, "tasks.few_shot", "few = (rank >= 0) & (rank < k)", "few = rank < k", "the probe by log"),
    ("few_shot", PCA, "tasks.few_shot", "seed=seed, train=train)", "seed=seed)", "the fit of pca"),
    ("zero_shot", Random, "tasks.zero_shot", "train=train), by=train)", "train=train), by=test)", "the scaling"),
    (
        "novelty",
        Random,
        "tasks.novelty",
        "logistic_regression(cells[train], asked",
        "logistic_regression(cells, asked",
        "C|scaling",
    ),
    (
        "novelty",
        Random,
        "tasks.novelty",
        "similarity(cells[train], asked)",
        "similarity(cells, asked)",
        "the means of the classes",
    ),
    ("novelty", PCA, "tasks.novelty", "seed=seed, train=train)", "seed=seed)", "the fit of pca"),
    ("finetuning", Layered, "tasks.finetuning", "delayed(kind)(cells[train],", "delayed(kind)(cells,", "C|scaling"),
    (
        "finetuning",
        Layered,
        "tasks.finetuning",
        "run.split.validation, run.split.test)",
        "run.split.test, run.split.test)",
        "the choice of the epoch of layered",
    ),
    (
        "finetuning",
        Layered,
        "tasks.finetuning",
        "in (run.split.train, ",
        "in (run.split.train | run.split.test, ",
        "fine-tuning of layered",
    ),
    (
        "finetuning",
        Layered,
        "answers",
        "self.view[validation].copy()\n",
        "self.view[validation | test].copy()\n",
        "the choice of the epoch",
    ),
    ("finetuning", Layered, "answers", "= self.view[train].copy(), ", "= self.view.copy(), ", "fine-tuning of layered"),
    ("transfer", PCA, "tasks.transfer", "seed=seed, train=source)", "seed=seed)", "the fit of pca"),
    (
        "transfer",
        Random,
        "tasks.transfer",
        "(cells[source], cells[target]",
        "(cells, cells[target]",
        "the means of the classes",
    ),
    ("transfer", Random, "tasks.transfer", "(of_domain, by=~test)", "(of_domain, by=test)", "the scaling of a probe"),
    ("transfer", Random, "tasks.transfer", "(cells[train], cells[test]", "(cells, cells[test]", "C|scaling"),
    ("reconstruction", Layered, "tasks.reconstruction", "shown = kept[train]", "shown = kept", "highly variable genes"),
    (
        "reconstruction",
        Layered,
        "tasks.reconstruction",
        "expression[used.train], lambda",
        "expression, lambda",
        "means of genes",
    ),
    (
        "reconstruction",
        Layered,
        "tasks.reconstruction",
        "expression)[used.within(1)], choice",
        "expression)[used.within(0)], choice",
        "the choice of the layer",
    ),
    ("reconstruction", Layered, "tasks.reconstruction", "(rows[train], rows[test]", "(rows, rows[test]", "C|scaling"),
    (
        "reconstruction",
        Layered,
        "tasks.layer_inputs",
        "_fitted_components(X[train], width=width)\n    return",
        "_fitted_components(X, width=width)\n    return",
        "principal components",
    ),
    (
        "reconstruction",
        Layered,
        "tasks.layer_inputs",
        '"the scaling of a layer", layer[train]',
        '"the scaling of a layer", layer',
        "the scaling of a layer",
    ),
    (
        "perturbation",
        TrainingMean,
        "tasks.perturbation",
        "train=fold.training_cells(table), seed",
        "train=table.code > -2, seed",
        "the fit of training_mean",
    ),
    (
        "perturbation",
        TrainingMean,
        "answers",
        "seen = self.view[train].copy()\n" + KEYS + "[train]",
        "seen = self.view.copy()\n" + KEYS,
        "the fit of training_mean",
    ),
    (
        "perturbation",
        FrozenGenes,
        "tasks.perturbation_heads",
        "condition for condition in fold.train if",
        "condition for condition in (*fold.train, *fold.test) if",
        "scaling of a head|penalty",
    ),
]
DATASETS = {"perturbation": PERTURBED, "transfer": JOINED}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    # boosted trees take most of the time, and have a test of their own
    monkeypatch.setattr(annotation, "_PROBES", {"": probes.logistic_regression, "knn_": probes.nearest_neighbors})

    def run(name, model):
        module, task, parameters = TASKS[name]
        asked = getattr(importlib.import_module(f"scfm_eval.tasks.{module}"), task)(**parameters)
        dataset = DATASETS.get(name, TOY)
        resident = Resident(device="cpu", precision="float32", offline=True)
        return evaluate(asked, model, Cells(dataset, dataset.load()), store=Store(tmp_path), resident=resident)

    return run


@pytest.mark.parametrize(("name", "made"), sorted({(fault[0], fault[1]) for fault in FAULTS}, key=str))
def test_what_is_right_is_not_refused(ask, name, made):
    found = ask(name, made)
    assert not found.failure
    allowed = [finding for finding in found.findings if finding.guard == "test_cells"]
    assert bool(allowed) == ((name, made) == ("transfer", PCA))


@pytest.mark.parametrize(("name", "made", "module", "instead_of", "write", "saw"), FAULTS)
def test_a_fit_that_saw_test_cells_is_refused_and_named(ask, monkeypatch, name, made, module, instead_of, write, saw):
    commit(monkeypatch, f"scfm_eval.{module}", instead_of=instead_of, write=write)
    with pytest.raises(GuardError, match=rf"({saw}).* saw \d+ of the \d+ .* that are scored") as caught:
        ask(name, made)
    assert "--without-guard test_cells" in str(caught.value)


def test_it_is_switched_off_by_its_name(ask, monkeypatch):
    commit(monkeypatch, "scfm_eval.tasks.out_of_fold", instead_of="seed=seed, train=train)", write="seed=seed)")
    with guards.without(["test_cells"]):
        assert ask("annotation", PCA).scores["accuracy"].value is not None
    with pytest.raises(GuardError), guards.without(["duplicates"]):
        ask("annotation", PCA)


def test_an_answer_from_the_store_is_checked_as_one_that_was_just_made(ask, monkeypatch):
    with monkeypatch.context() as once:
        once.setattr(StoredAnswers, "_saw", lambda *given: {given[1]: packed(np.ones(90, dtype=bool))})
        with pytest.raises(GuardError, match="the fit saw 45 of the 45 cells"):
            ask("annotation", PCA)
    with pytest.raises(GuardError, match="the fit saw 45 of the 45 cells"):
        ask("annotation", PCA)


def test_genes_are_held_out_like_cells(monkeypatch):
    rng = np.random.default_rng(0)
    members = rng.random((60, 3)) < 0.4
    fold = stratified_folds(members, n_folds=3, seed=0)
    out_of_fold(rng.normal(size=(60, 4)), members=members, fold=fold)
    faulty = commit(
        monkeypatch,
        "scfm_eval.tasks.gene_probes",
        instead_of="training = pairs[~held_out.ravel()]",
        write="training = pairs",
    )
    with pytest.raises(GuardError, match="the choice of C saw 60 of the 60 pairs of a gene and a term"):
        faulty.out_of_fold(rng.normal(size=(60, 4)), members=members, fold=fold)


def sides(n_train=40, n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    rows = Rows(X, np.arange(n) + 100, labels=np.where(X[:, 0] > 0, "p", "n"))
    return rows[:n_train], rows[n_train:]


def test_a_penalty_that_was_chosen_by_the_test_cells_is_known_by_them():
    train, test = sides()
    said = [probes.logistic_regression(train, test, seed=seed)[1] for seed in (0, 1)]
    best = fitted("the choice of C", test, lambda rows: len(rows) > len(said))
    with pytest.raises(GuardError, match="the choice of C saw 20 of the 20 cells"):
        unseen(said[1].resting_on(best.fits))


@pytest.mark.parametrize("probe", [probes.logistic_regression, probes.nearest_neighbors, probes.boosted_trees])
def test_a_probe_records_all_training_cells_and_no_others(probe):
    train, test = sides()
    _, said = probe(train, test.labelled(None), seed=0)
    assert set(said.ids) == set(test.ids)
    assert set().union(*(fit.saw for fit in said.fits)) == set(train.ids)
    chosen = [fit.saw for fit in said.fits if fit.name == "the choice of C"]
    assert not chosen or sorted(np.concatenate(chosen)) == sorted(train.ids)


def test_ids_are_cut_with_their_values_and_cannot_part():
    rows, _ = sides()
    few = rows[rows.values[:, 0] > 0]
    np.testing.assert_array_equal(few.values, rows.values[few.ids - 100])
    assert set(few.labels) == {"p"}
    with pytest.raises(InvalidInputError, match="40 and 39"):
        replace(rows, ids=rows.ids[1:])
    with pytest.raises(InvalidInputError, match="none"):
        _ = rows.labelled(None).known_labels


def test_what_rests_on_a_fit_remembers_it_through_others():
    train, test = sides()
    first = fitted("the first", train[:10], lambda rows: rows.values.mean(axis=0))
    second = fitted("the second", first.on(train[20:], lambda X: X - first.made), lambda rows: rows.values.std())
    said = second.on(test, lambda X: X / second.made)
    assert [fit.name for fit in said.fits] == ["the first", "the second"]
    assert unseen(said) is said.values
    with pytest.raises(GuardError, match="the first saw 1 of the 1 cells"):
        unseen(second.on(train[:1], lambda X: X))
    assert unseen(second.on(train[15:16], lambda X: X)).shape == (1, 4)
    assert len(together(said.fits, said.fits)) == 2


def test_ids_of_other_things_are_not_compared():
    with pytest.raises(InvalidInputError, match="the fit saw genes, and cells are scored"):
        unseen(Rows(np.ones(2), np.arange(2), fits=(Fit("the fit", np.arange(2), "genes"),)))


def test_what_may_have_been_seen_is_told_and_not_refused():
    rows = Rows(np.ones(3), np.arange(3), fits=(Fit("the fit", np.arange(2)),)).allowed("as it is asked")
    with guards.listening() as told:
        unseen(rows)
    assert [str(finding) for finding in told] == ["test_cells: the fit saw cells that are scored (as it is asked)"]
    with guards.listening() as told, guards.without(["test_cells"]):
        unseen(rows)
    assert not told


KNOWN_FITS = {
    # given to `fitted` where they are used
    "gene_probes": {"fitted", "of"},
    "layer_inputs": {"_components", "layer_weights"},
    "perturbation_heads": {"_decomposed", "_taught", "_components"},
    "probes": {"fit"},
    "ridge": {"_spectrum", "fit_ridge", "_losses"},
    # of all cells, none of which is held out
    "integration": {"_components"},
    "ontology_scores": {"_own_space"},
}
"""Functions that fit outside a call of ``fitted``; the vectors of genes are standardised without any of their terms."""


def test_every_fit_of_a_task_is_made_where_it_is_recorded():
    """What fits or decomposes stands inside a call of ``fitted``, or in a function that one is given."""
    alone = []
    for file in sorted((Path(scfm_eval.__file__).parent / "tasks").glob("*.py")):
        known = KNOWN_FITS.get(file.stem, set())
        for call, functions, is_recorded in _calls(ast.parse(file.read_text(encoding="utf-8"))):
            if call in {"fit", "fit_transform", "svd", "eigh", "nnls", "minimize"} and not (
                is_recorded or functions & known
            ):
                alone.append((file.stem, sorted(functions)))
    assert alone == []


def _calls(tree):
    def walk(node, functions, is_recorded):
        if isinstance(node, ast.FunctionDef):
            functions = functions | {node.name}
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield name, functions, is_recorded
            is_recorded = is_recorded or name == "fitted"
        for child in ast.iter_child_nodes(node):
            yield from walk(child, functions, is_recorded)

    yield from walk(tree, frozenset(), False)

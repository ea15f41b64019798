"""Names, files and stored embeddings are found; what is not there is answered with the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.__main__ import main
from scfm_eval.discovery import dataset_names, find_dataset, find_model, model_names
from scfm_eval.environment import environment, machine
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.report import schema


def test_every_declared_model_is_importable_under_its_own_name():
    cards = {name: card(find_model(name)) for name in model_names()}
    assert {"geneformer", "scgpt", "hvg", "pca", "harmony", "scvi", "scanvi", "scanorama", "random", "oracle"} <= set(
        cards
    )
    assert all(about.name == name for name, about in cards.items())
    assert all(about.licence != "not stated" for name, about in cards.items() if about.role == "model")


def test_every_declared_dataset_is_importable_under_its_own_name_and_cited():
    declared = {name: find_dataset(name) for name in dataset_names()}
    assert {"pbmc68k_reduced", "pbmc3k", "pancreas", "immune_human", "norman2019", "aorta", "bones"} <= set(declared)
    assert all(dataset.name == name for name, dataset in declared.items())
    assert all(dataset.citation for name, dataset in declared.items() if not name.startswith("synthetic"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("genefromer", "geneformer"),
        ("mine.py", "no file"),
        ("broken.py:Model", "fails to import"),
        ("good.py:Other", "the file has Model"),
        ("gone.npz", "gone.npz"),
    ],
)
def test_a_model_that_is_not_there_is_answered_with_what_is(tmp_path, monkeypatch, spec, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "good.py").write_text("class Model:\n    def embed(self, cells): ...\n")
    with pytest.raises(InvalidInputError, match=said):
        find_model(spec)


def test_a_dataset_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(InvalidInputError, match="pbmc3k"):
        find_dataset("pmbc3k")


def test_stored_embeddings_and_classes_in_files_are_models(tmp_path):
    np.savez(tmp_path / "mine.npz", embedding=np.ones((2, 3)), cell_ids=np.array(["a", "b"]))
    assert card(find_model(str(tmp_path / "mine.npz"))).name == "mine"
    (tmp_path / "own.py").write_text("class Own:\n    gene_ids = 'ensembl'\n    def embed(self, cells): ...\n")
    assert card(find_model(f"{tmp_path / 'own.py'}:Own")).gene_ids == "ensembl"


def test_a_dataset_may_be_declared_in_a_file(tmp_path):
    (tmp_path / "cells.py").write_text(
        "from scfm_eval.datasets.dataset import Dataset\nmine = Dataset(name='mine', label_key='kind')\n"
    )
    assert find_dataset(f"{tmp_path / 'cells.py'}:mine").name == "mine"


def test_the_environment_states_versions_and_machine_but_no_host(tmp_path):
    found = environment(tmp_path, workers=2)
    assert {"numpy", "torch", "scanpy", "scib-metrics"} <= set(found["packages"])
    assert found["git"] == {"commit": None, "dirty": None}
    assert set(machine()) == {"kind", "cpu", "cores", "memory_bytes", "gpu"}


def test_the_command_line_lists_and_prints_the_schema(capsys):
    assert main(["list"]) == 0
    assert "geneformer" in capsys.readouterr().out
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema()


@pytest.mark.parametrize(
    "arguments", [["html", "-o"], ["report", "-o"], ["export", "--format", "md", "-o"], ["rank", "--figure"]]
)
def test_the_command_line_never_writes_over_what_it_reads(arguments, tmp_path, capsys):
    report = tmp_path / "r.json"
    report.write_text("{}")
    command, *options = arguments
    assert main([command, str(report), *options, str(report)]) == 2
    assert "it is one of the reports that are read" in capsys.readouterr().err
    assert report.read_text() == "{}"


def test_the_command_line_refuses_what_is_no_report(tmp_path, capsys):
    assert main(["show", str(tmp_path / "gone.json")]) == 2
    assert "asked: a report" in capsys.readouterr().err

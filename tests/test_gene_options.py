"""The options of the gene level reach the tasks that they concern, and bad files are refused before anything runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.plugin import _check_gene_level
from scfm_eval.selection import Run
from scfm_eval.tasks.gene_networks import GeneNetwork
from scfm_eval.tasks.genes import GeneFunctions


def config(**named):
    options = {"--ontology": "", "--gene-sets": "", "--network": "", "--offline": True} | named
    return SimpleNamespace(getoption=options.__getitem__)


def test_a_task_takes_the_source_that_is_named_for_it():
    run = Run(config(**{"--gene-sets": "my.gmt", "--network": "net.csv"}))
    assert run.task(SimpleNamespace(task=GeneFunctions(max_terms=7))) == GeneFunctions(gene_sets="my.gmt", max_terms=7)
    assert run.task(SimpleNamespace(task=GeneNetwork())).keys == ()
    assert Run(config()).task(SimpleNamespace(task=GeneNetwork())).keys == ("network",)
    assert run.task(SimpleNamespace()) is None


@pytest.mark.parametrize("option", ["--gene-sets", "--network"])
def test_a_file_that_cannot_be_read_is_refused_first(tmp_path, option):
    with pytest.raises(InvalidInputError, match="FileNotFoundError"):
        _check_gene_level(config(**{option: str(tmp_path / "none")}))
    _check_gene_level(config())


@pytest.mark.parametrize(("option", "name"), [("--gene-sets", "proteinatlas"), ("--network", "collectri")])
def test_a_download_is_not_made_offline(tmp_path, monkeypatch, option, name):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    with pytest.raises(InvalidInputError, match="without the network"):
        _check_gene_level(config(**{option: name}))

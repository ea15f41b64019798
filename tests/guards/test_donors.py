"""Cells of one donor on both sides: told where cells had to be split, refused where donors were to stay whole."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval import guards
from scfm_eval.datasets.splits import Parts, Split
from scfm_eval.guards import GuardError
from scfm_eval.tasks.clustering import Clustering
from scfm_eval.tasks.few_shot import FewShot
from scfm_eval.tasks.finetuning import FineTunedAnnotation
from scfm_eval.tasks.novelty import NovelTypes
from scfm_eval.tasks.sides import Sides, require_sides_apart
from tests.guards.faults import commit
from tests.tasks.given import Given, blobs, cells_with
from tests.tasks.test_finetuning import tuned

LABELS = np.repeat(["a", "b", "c"], 40)
ONE, TWO, MANY = (
    np.repeat("d0", 120),
    np.array(["d0", "d1"])[np.arange(120) % 2],
    np.char.add("d", (np.arange(120) % 6).astype(str)),
)


def told(task, donors, *, answers=None, labels=LABELS):
    keys = {"label": labels} | ({} if donors is None else {"donor": donors})
    with guards.listening() as found:
        task.score(answers or Given(blobs(labels, noise=0.3)), cells_with(**keys), seeds=[0])
    return [finding for finding in found if finding.guard == "donors"]


def by_cell(labels, *, donors, n_folds, seed):
    """Split by cell, and say that donors were kept whole."""
    del donors, seed
    return Split(fold=np.arange(len(labels)) % n_folds, unit="donor", n_folds=n_folds)


@pytest.mark.parametrize("task", [FewShot(n_draws=1), NovelTypes()])
def test_one_donor_on_both_sides_is_told(task):
    (finding,) = told(task, ONE)
    assert finding.found == "cells of 1 donors are on both sides of the split: d0"
    assert finding.remedy == "scores do not speak of other donors"


@pytest.mark.parametrize("donors", [MANY, None])
@pytest.mark.parametrize("task", [FewShot(n_draws=1), NovelTypes()])
def test_whole_donors_and_none_are_no_fault(task, donors):
    assert told(task, donors) == []


def test_two_donors_are_too_few_for_three_parts():
    labels = np.array(["a", "b", "c", "d"])[np.arange(400) % 4]
    (finding,) = told(FineTunedAnnotation(), np.resize(TWO, 400), answers=tuned(), labels=labels)
    assert "d0, d1" in finding.found


def test_a_phenotype_that_is_read_beside_cells_of_the_same_donor_is_told():
    with guards.listening() as found:
        cells = cells_with(label=LABELS, donor=MANY, phenotype=np.array(["ill", "well"])[np.arange(120) % 2])
        Clustering().score(Given(blobs(LABELS, noise=0.3)), cells, seeds=[0])
    assert [finding.asked for finding in found if finding.guard == "donors"] == ["phenotypes by a probe"]


def test_a_split_by_donor_that_is_none_is_refused(monkeypatch):
    monkeypatch.setattr("scfm_eval.tasks.labelled.folds", by_cell)
    with pytest.raises(GuardError, match=r"(?s)cells of 6 donors are on both sides .* --without-guard donors"):
        told(FewShot(n_draws=1), MANY)
    with guards.without(["donors"]):
        assert told(FewShot(n_draws=1), MANY) == []


def test_parts_by_donor_that_are_none_are_refused(monkeypatch):
    labels = np.array(["a", "b", "c", "d"])[np.arange(400) % 4]

    def parts(labels, *, donors, seed):
        del donors, seed
        part = np.arange(len(labels)) % 10
        return Parts(part > 1, part == 1, part == 0, "donor")

    monkeypatch.setattr("scfm_eval.tasks.finetuning.parts", parts)
    with pytest.raises(GuardError, match="keep all cells of a donor on one side"):
        told(FineTunedAnnotation(), np.resize(MANY, 400), answers=tuned(), labels=labels)


def test_the_check_looks_at_the_cells_and_not_at_what_is_said_of_them():
    cells = cells_with(label=LABELS, donor=MANY)
    train = np.isin(MANY, ["d0", "d1", "d2"])
    require_sides_apart(cells, [Sides(train, ~train)], unit="donor", asked="a test")
    one_more = train | (np.arange(120) == 3)
    with pytest.raises(GuardError, match="cells of 1 donors are on both sides of the split: d3"):
        require_sides_apart(cells, [Sides(one_more, ~one_more), Sides(train, ~train)], unit="donor", asked="a test")


def test_copies_on_both_sides_of_a_split_of_a_task_are_refused(monkeypatch):
    counts = np.random.default_rng(0).poisson(3.0, size=(120, 60)).astype(np.float32)
    cells = AnnData(sparse.csr_matrix(counts), obs=cells_with(label=LABELS).obs)
    doubled = AnnData(sparse.csr_matrix(np.repeat(counts[:60], 2, axis=0)), obs=cells.obs)
    task, answers = FewShot(n_draws=1), Given(blobs(LABELS, noise=0.3))
    task.score(answers, cells, seeds=[0])
    with pytest.raises(GuardError, match="have a copy or near copy in training"):
        task.score(answers, doubled, seeds=[0])
    with guards.without(["duplicates"]):
        task.score(answers, doubled, seeds=[0])
    unasked = {"instead_of": "        known.require_apart(cells, splits, asked=self.name)\n", "write": ""}
    faulty = commit(monkeypatch, "scfm_eval.tasks.few_shot", **unasked)
    faulty.FewShot(n_draws=1).score(answers, doubled, seeds=[0])

"""Predictions in a report: what was said of which cell reads back the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.datasets.splits import parts
from scfm_eval.models.protocols import Embedder
from scfm_eval.tasks import probes
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.finetuning import FineTunedAnnotation
from scfm_eval.tasks.predictions import packed, prediction_details, predictions, unpacked
from scfm_eval.tasks.transfer import Transfer
from tests.export.made import result
from tests.tasks.given import Given, blobs, cells_with


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_mask_reads_back_the_same(mask):
    assert unpacked(packed(np.array(mask)), n_cells=len(mask)).tolist() == mask


@pytest.mark.parametrize("n_classes", [2, 256, 300])
def test_predictions_read_back_the_same(n_classes):
    classes = np.array([f"type{i:03}" for i in range(n_classes)])
    rng = np.random.default_rng(0)
    tested = np.arange(1000) % 3 > 0
    truth, said = (rng.choice(classes, tested.sum()) for _ in range(2))
    details = json.loads(json.dumps(prediction_details(truth, said, classes=classes, tested=tested)))
    found = predictions(result(details=details))
    assert found.rows.tolist() == np.flatnonzero(tested).tolist()
    assert np.array(found.classes)[found.codes].tolist() == said.tolist()
    assert found.n_cells == 1000


def test_the_confusion_matrix_is_that_of_the_predictions():
    truth, said = np.array(["a", "a", "b"]), np.array(["a", "b", "b"])
    made = prediction_details(truth, said, classes=np.array(["a", "b"]), tested=np.array([True, False, True, True]))
    assert made["confusion_matrix"] == [[1, 1], [0, 1]]
    assert made["per_class"]["a"]["recall"] == 0.5


def shares_right(scored, truth):
    """Return the rows that were predicted, and the share of them that is right."""
    told = predictions(result(details=scored.details))
    return told.rows, float(np.mean(np.array(told.classes)[told.codes] == truth[told.rows]))


def test_annotation_keeps_what_it_says_of_each_labelled_cell(monkeypatch):
    monkeypatch.setattr("scfm_eval.tasks.annotation._PROBES", {"": probes.logistic_regression})
    truth = np.array(["a", "b", "c"])[np.arange(120) % 3]
    cells = cells_with(label=truth)
    cells.obs.loc[cells.obs_names[:30], "label"] = np.nan
    scored = Annotation().score(Given(blobs(truth, noise=0.7)), cells, seeds=[0, 1])
    rows, right = shares_right(scored, truth)
    assert rows.tolist() == list(range(30, 120))
    assert 0.4 < right < 1
    assert right == pytest.approx(scored.scores["accuracy"].per_seed[0])


def test_fine_tuned_annotation_keeps_what_is_said_of_the_test_cells_of_the_first_seed(monkeypatch):
    monkeypatch.setattr(probes, "boosted_trees", probes.nearest_neighbors)
    truth = np.array(["a", "b"])[np.arange(200) % 2]
    answers = Given(blobs(truth, noise=0.7))
    answers.can = lambda capability: capability is Embedder
    scored = FineTunedAnnotation().score(answers, cells_with(label=truth), seeds=[0, 1])
    rows, right = shares_right(scored, truth)
    assert rows.tolist() == np.flatnonzero(parts(truth, donors=None, seed=0).test).tolist()
    assert right == pytest.approx(scored.scores["accuracy"].per_seed[0])


def test_transfer_keeps_what_it_says_of_the_target():
    truth, domain = np.array(["a", "b", "c"])[np.arange(120) % 3], np.repeat(["source", "target"], 60)
    scored = Transfer().score(Given(blobs(truth, noise=0.7)), cells_with(label=truth, domain=domain), seeds=[0])
    rows, right = shares_right(scored, truth)
    assert rows.tolist() == list(range(60, 120))
    assert right == pytest.approx(scored.scores["accuracy"].value)


def test_a_report_without_predictions_has_none():
    assert predictions(result()) is None

"""What reaches a model, what a model owes, and what makes an array anew."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scfm_eval.baselines.controls import normal_by_id
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.joined import joined
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import clock, evaluate
from scfm_eval.models.card import card
from scfm_eval.owed import checked
from scfm_eval.provenance import adapter_sha256, weights_hash
from scfm_eval.store import Store
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.integration import BatchIntegration
from scfm_eval.tasks.throughput import Throughput
from tests.toys import toy_cells


@pytest.fixture
def cells():
    dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
    return Cells(dataset, dataset.load())


@pytest.fixture
def judge(cells, tmp_path):
    def run(model, *, task=None, **known):
        store, resident = Store(tmp_path / "store"), Resident(device="cpu", precision="float32", offline=True)
        return evaluate(task or BatchIntegration(), model, cells, store=store, resident=resident, **known)

    return run


class Plain:
    seen: list = []  # noqa: RUF012

    def embed(self, cells):
        Plain.seen.append(cells)
        return np.log1p(cells.X.toarray())


class Learns(Plain):
    fitted: list = []  # noqa: RUF012

    def fit(self, cells):
        Learns.fitted.append(list(cells.obs_names))


class LearnsLabels(Plain):
    fitted: list = []  # noqa: RUF012

    def fit_with_labels(self, cells, *, labels):
        LearnsLabels.fitted.append((list(cells.obs_names), list(labels)))


@pytest.fixture(autouse=True)
def _forget():
    for log in (Plain.seen, Learns.fitted, LearnsLabels.fitted):
        log.clear()


def test_a_model_sees_counts_and_batch_and_no_label(judge, cells):
    judge(Plain)
    seen, again = Plain.seen
    assert list(again.obs) == list(seen.obs) == ["batch"]
    assert not seen.var.columns.size
    assert not seen.uns
    assert not seen.obsm
    np.testing.assert_array_equal(seen.X.toarray(), cells.adata.X.toarray())


def test_what_learns_here_never_sees_a_test_cell(judge, cells):
    judge(Learns, task=Annotation(n_folds=3))
    assert len(Learns.fitted) == 3
    assert all(len(names) == 60 for names in Learns.fitted)
    left_out = [set(cells.adata.obs_names) - set(names) for names in Learns.fitted]
    assert set().union(*left_out) == set(cells.adata.obs_names)


def test_labels_of_training_cells_are_all_that_is_given(judge, cells):
    judge(LearnsLabels, task=Annotation(n_folds=3))
    truth = cells.adata.obs["label"].astype(str)
    assert len(LearnsLabels.fitted) == 3
    for names, labels in LearnsLabels.fitted:
        assert len(names) == 60
        assert list(truth[names]) == labels


def test_a_method_that_learns_labels_is_refused_where_they_are_scored(judge):
    with pytest.raises(InvalidInputError, match="learns from labels"):
        judge(LearnsLabels)


def test_a_transductive_method_is_refused_where_test_cells_must_stay_unseen(judge):
    class Transductive(Plain):
        transductive = True

    with pytest.raises(InvalidInputError, match="seen the test cells"):
        judge(Transductive, task=Annotation())


def test_only_a_control_may_ask_for_labels():
    class Peeks(Plain):
        sees = ("label",)

    with pytest.raises(InvalidInputError, match="only a control may"):
        card(Peeks)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("name", 5), ("role", "Model"), ("gene_ids", "entrez"), ("needs", "batch"), ("revision", 2)],
)
def test_a_card_that_makes_no_sense_is_refused(attribute, value):
    with pytest.raises(InvalidInputError, match=attribute):
        card(type("Odd", (Plain,), {attribute: value}))


def test_the_result_says_what_was_judged(judge, cells):
    found = judge(Plain, name="plain")
    assert (found.model.name, found.dataset.n_cells, found.readable.counts) == ("plain", 90, 1.0)
    assert found.dataset.sha256 == cells.sha256
    assert found.seconds["score"] > 0
    assert found.seconds["forward"] > 0
    assert not found.from_store
    assert judge(Plain, name="plain").from_store


def test_the_same_seed_gives_the_same_scores(judge, cells, tmp_path):
    first = judge(Plain)
    again = evaluate(BatchIntegration(), Plain, cells, store=Store(tmp_path / "new"), resident=Resident())
    assert first.scores == again.scores


@pytest.mark.parametrize(
    ("embedding", "found"),
    [
        (np.zeros((3, 2)), r"shape \(3, 2\)"),
        (np.zeros(90), r"shape \(90,\)"),
        (np.zeros((90, 2), dtype=int), "int64"),
        (np.full((90, 2), np.nan), "90 rows with NaN"),
        (None, "object"),
    ],
)
def test_an_embedding_that_is_not_what_a_model_owes_is_refused(cells, embedding, found):
    with pytest.raises(InvalidInputError, match=found):
        checked(embedding, cells.adata, name="toy")


def test_a_table_in_another_order_is_refused(cells):
    table = pd.DataFrame(np.ones((90, 2)), index=cells.adata.obs_names[::-1])
    with pytest.raises(InvalidInputError, match="reindex"):
        checked(table, cells.adata, name="toy")
    assert checked(table[::-1], cells.adata, name="toy").dtype == np.float32


def test_an_edited_adapter_makes_its_embeddings_anew(tmp_path):
    def load(text):
        (tmp_path / "mine.py").write_text(text)
        spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
        module = sys.modules["mine"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Mine

    first = adapter_sha256(load("class Mine:\n    def embed(self, cells): return 1\n"))
    assert adapter_sha256(load("class Mine:\n    def embed(self, cells): return 1\n")) == first
    assert adapter_sha256(load("class Mine:\n    def embed(self, cells): return 22\n")) != first


def test_other_weights_make_embeddings_anew(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = [weights_hash(Plain, tmp_path), weights_hash(Plain, file)]
    file.write_bytes(b"two")
    assert weights_hash(Plain, tmp_path) != first[0]
    assert weights_hash(Plain, file) != first[1]
    assert weights_hash(Plain, None) is None


def test_throughput_is_timed_and_refuses_what_learns(cells):
    result, call = clock(Throughput(n_cells=8, n_rounds=3), Plain, cells, name="plain", resident=Resident())
    assert result.scores["cells_per_second"].value > 0
    assert result.scores["growth"].low <= result.scores["growth"].value <= result.scores["growth"].high
    assert call().shape[0] == 8
    assert "its cost is its training" in Throughput().refuses(Learns)


def test_a_pretraining_leak_is_noted(judge):
    class Saw(Plain):
        pretrained_on = ("toy",)

    found = judge(Saw)
    assert found.model.saw_dataset_in_pretraining
    (told,) = found.findings
    assert (told.guard, told.found.partition(" ")[2]) == ("pretraining", "saw toy in pretraining")
    assert not found.notes


@pytest.mark.parametrize(
    ("known", "saw"),
    [
        ({"path": Path("toy.h5ad")}, True),
        ({"name": "other"}, False),
        ({"name": "mine", "path": Path("mine.h5ad")}, None),
    ],
)
def test_nobody_knows_whether_a_file_of_the_user_holds_cells_of_the_pretraining(cells, tmp_path, known, saw):
    class Saw(Plain):
        pretrained_on = ("toy",)

    given = Cells(replace(cells.dataset, **known), cells.adata)
    found = evaluate(BatchIntegration(), Saw, given, store=Store(tmp_path / "store"), resident=Resident())
    assert found.model.saw_dataset_in_pretraining is saw
    assert repr(found) == f"<Result: batch_integration of saw on {given.dataset.name}>"


def test_two_datasets_joined_are_a_file_of_the_user_where_one_is(cells):
    own = replace(cells.dataset, name="own", path=Path("own.h5ad"))
    assert joined(cells.dataset, own).is_own_file
    assert not joined(cells.dataset, replace(own, path=None)).is_own_file


class Memorises:
    """Knows the label of every cell that it was ever fitted on."""

    known: dict

    def __init__(self):
        self.known = {}

    def fit_with_labels(self, cells, *, labels):
        self.known.update(zip(cells.obs_names, labels, strict=True))

    def embed(self, cells):
        return np.array([[float(self.known.get(name) == kind) for kind in "abc"] for name in cells.obs_names])


def test_a_method_forgets_the_folds_that_it_learned_before(judge):
    found = judge(Memorises, task=Annotation(n_folds=3))
    assert found.scores["macro_f1"].value < 0.5
    assert found.model.trained_here


def test_a_model_that_changes_its_cells_has_no_scores(judge):
    class Normalises:
        def embed(self, cells):
            cells.X.data = np.log1p(cells.X.data)
            return cells.X.toarray()

    found = judge(Normalises)
    assert "changed the cells" in found.failure
    assert {record.value for record in found.scores.values()} == {None}


def test_two_classes_of_one_name_and_file_share_no_embedding(judge):
    class Twin(Plain):
        def embed(self, cells):
            return normal_by_id(cells.obs_names, seed=0, width=4)

    assert judge(Plain, name="one").scores["ari"].value > 0.9
    assert judge(Twin, name="one").scores["ari"].value < 0.2


def test_code_beside_the_class_counts_as_the_adapter(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "beside_the_class.py").write_text("VALUE = 1\n")
    (tmp_path / "mine.py").write_text(
        "from beside_the_class import VALUE\nclass Mine:\n    def embed(self, cells): ...\n"
    )
    spec = importlib.util.spec_from_file_location("mine_too", tmp_path / "mine.py")
    module = sys.modules["mine_too"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    first = adapter_sha256(module.Mine)
    (tmp_path / "beside_the_class.py").write_text("VALUE = 2\n")
    adapter_sha256.cache_clear()
    assert adapter_sha256(module.Mine) != first


def test_weights_that_are_not_there_or_not_taken_are_refused(judge, tmp_path):
    with pytest.raises(InvalidInputError, match="takes no `weights`"):
        judge(Plain, weights=tmp_path)

    class Takes(Plain):
        def __init__(self, *, weights=None):
            self.weights = weights

    with pytest.raises(InvalidInputError, match="no such file"):
        judge(Takes, weights=tmp_path / "gone")

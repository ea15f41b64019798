"""Ensembles: the majority of all members' neighbours decides, in any order, each embedding as it would alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.baselines.controls import Oracle
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate
from scfm_eval.models.card import card
from scfm_eval.models.ensemble import ensemble
from scfm_eval.provenance import adapter_sha256
from scfm_eval.selection import Run
from scfm_eval.store import Store
from scfm_eval.tasks import annotation, probes
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.clustering import Clustering
from scfm_eval.tasks.few_shot import FewShot
from scfm_eval.tasks.integration import BatchIntegration
from scfm_eval.tasks.novelty import NovelTypes
from scfm_eval.tasks.throughput import Throughput
from tests.tasks.given import Given, cells_with
from tests.toys import toy_cells


class Plain:
    """Counts, and how often each class embedded."""

    name = "plain"
    revision = "1"
    licence = "MIT"
    calls: ClassVar[list[str]] = []

    def embed(self, cells):
        Plain.calls.append(type(self).name)
        return np.log1p(cells.X.toarray())


class Half(Plain):
    name = "half"
    licence = "GPL-3.0"

    def embed(self, cells):
        return super().embed(cells)[:, :12]


class Learns(Half):
    name = "learns"
    needs = ("batch",)
    n_parameters = 3

    def fit(self, cells):
        assert cells.n_obs < 90


class Weighed(Plain):
    name = "weighed"
    gene_ids = "symbol"

    def __init__(self, *, weights, seed=0):
        self.n_parameters, self.loaded_share = 5, 0.5
        self.seed, self.weights_sha256 = seed, str(weights)

    def embed(self, cells):
        return super().embed(cells)[:, :5]


class Mute:
    def fit(self, cells): ...


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    Plain.calls.clear()
    quick = {"": probes.nearest_neighbors, "knn_": probes.nearest_neighbors}
    monkeypatch.setattr("scfm_eval.tasks.annotation._PROBES", quick)


@pytest.fixture
def cells():
    dataset = Dataset(name="toy", build=toy_cells, label_key="cell_type", batch_key="lane")
    return Cells(dataset, dataset.load())


@pytest.fixture
def resident():
    return Resident(device="cpu", precision="float32", offline=True)


@pytest.fixture
def judge(cells, resident, tmp_path):
    def run(model, *, task=None, **known):
        store = Store(tmp_path / "store")
        return evaluate(task or Annotation(n_folds=3), model, cells, store=store, resident=resident, **known)

    return run


class Together:
    """Answers of members whose embeddings are known."""

    def __init__(self, *embeddings):
        self.each = [Given(embedding) for embedding in embeddings]

    def members(self):
        return self.each


def pooled(*votes):
    return annotation._pooled([{"knn_": np.array(vote, dtype=float) / 10} for vote in votes])["knn_"]


def decided(shares):
    return annotation._Predictions.of(shares, np.array(["a", "b", "c"])).labels.tolist()


def test_votes_are_added_up_and_the_first_label_wins_a_tie():
    # votes of ten neighbours for a, b, c, by cell
    first = [[6, 4, 0], [5, 5, 0], [0, 1, 9], [3, 7, 0]]
    second = [[0, 9, 1], [4, 6, 0], [5, 0, 5], [7, 3, 0]]
    shares = pooled(first, second)
    np.testing.assert_allclose(shares, [[0.3, 0.65, 0.05], [0.45, 0.55, 0], [0.25, 0.05, 0.7], [0.5, 0.5, 0]])
    assert decided(shares) == ["b", "b", "c", "a"]


def test_a_majority_of_votes_may_differ_from_that_of_the_members():
    assert [decided(np.array(votes)) for votes in ([[6, 4, 0]], [[6, 4, 0]], [[0, 10, 0]])] == [["a"], ["a"], ["b"]]
    assert decided(pooled([[6, 4, 0]], [[6, 4, 0]], [[0, 10, 0]])) == ["b"]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_of_members_decides_nothing(data):
    votes = st.integers(0, 10).flatmap(lambda a: st.integers(0, 10 - a).map(lambda b: [a, b, 10 - a - b]))
    members = data.draw(st.lists(st.lists(votes, min_size=4, max_size=4), min_size=2, max_size=5))
    again = data.draw(st.permutations(members))
    np.testing.assert_array_equal(pooled(*members), pooled(*again))
    totals = np.sum(members, axis=0)
    assert decided(pooled(*members)) == [("a", "b", "c")[row.argmax()] for row in totals]


def test_neighbours_of_every_member_vote():
    cells = cells_with(label=np.array(["a", "b"])[np.arange(40) % 2])
    right = np.eye(2)[np.arange(40) % 2] + np.random.default_rng(0).normal(scale=0.01, size=(40, 2))
    wrong = np.ones((40, 1)) * [1.0, 2.0]
    found = Annotation(n_folds=2).score(Together(right, wrong, right), cells, seeds=[0, 1])
    assert found.scores["knn_accuracy"].value == 1.0
    assert len(found.scores["knn_accuracy"].per_seed) == 2
    assert sum(np.diag(found.details["confusion_matrix"])) == 40


def test_scores_that_need_one_embedding_do_not_apply(judge):
    found = judge(ensemble([Plain, Half]))
    assert found.scores["knn_macro_f1"].value > 0.9
    for name in ("macro_f1", "accuracy", "log_loss"):
        record = found.scores[name]
        assert record.value is None
        assert not record.applies
        assert "no one embedding" in record.reason


def test_an_ensemble_of_one_is_its_member(judge):
    alone, one = judge(Half), judge(ensemble([Half]))
    assert one.model.name == "half"
    for name, record in alone.scores.items():
        assert one.scores[name] == record


def test_an_ensemble_of_twice_the_same_rows_has_the_same_neighbours(judge):
    class Copy(Half):
        name = "copy"

    both, alone = judge(ensemble([Half, Copy])), judge(Half)
    assert both.scores["knn_macro_f1"].value == alone.scores["knn_macro_f1"].value
    assert both.pairing == alone.pairing


def test_nothing_is_embedded_twice_and_one_model_is_resident(judge, resident):
    judge(Plain)
    judge(Half)
    Plain.calls.clear()
    found = judge(ensemble([Half, Plain]), seeds=(0, 1))
    assert not Plain.calls
    assert found.from_store
    judge(ensemble([Half, Learns]))
    assert resident.loads == ["plain", "half", "learns", "learns", "learns"]


def test_the_record_speaks_of_all_members(judge, tmp_path):
    (tmp_path / "w.txt").write_text("x")
    found = judge(ensemble([Weighed, Learns]), member_weights={"weighed": tmp_path / "w.txt"})
    assert found.model.name == "learns+weighed"
    assert found.model.revision == "1 + 1"
    assert found.model.licence == "GPL-3.0 + MIT"
    assert (found.model.n_parameters, found.model.loaded_share) == (8, 0.5)
    assert found.model.trained_here
    assert found.model.parameters == {"learns": {}, "weighed": {"seed": 0}}
    assert len(found.model.weights_sha256) == 64
    assert set(found.arrays) == {"embed, learned from training cells of learns", "embed of weighed"}
    assert found.seconds["forward"] >= 0
    assert "learns reads 100.0% of the genes with 100.0% of the counts" in found.notes
    assert found.model.saw_dataset_in_pretraining is None


def test_members_that_saw_the_dataset_are_named(judge):
    class Saw(Half):
        name = "saw"
        pretrained_on = ("toy",)

    found = judge(ensemble([Plain, Saw]))
    assert found.model.saw_dataset_in_pretraining is True
    assert "saw saw toy in pretraining" in [told.found for told in found.findings]


def test_its_layout_is_left_out_with_a_reason(judge):
    found = judge(ensemble([Plain, Half]), layouts=True)
    assert "layout" not in found.details
    assert "no layout: it has no embedding of its own" in found.notes


def test_an_edited_member_is_another_ensemble():
    assert adapter_sha256(ensemble([Plain, Half])) != adapter_sha256(ensemble([find_model("hvg"), find_model("pca")]))


@pytest.mark.parametrize("task", [BatchIntegration(), Clustering(), FewShot(), NovelTypes(), Throughput()])
def test_other_tasks_refuse_it_in_words(task):
    assert "no method embed" in task.refuses(ensemble([Plain, Half]))


def test_annotation_refuses_a_member_that_would_have_seen_test_cells():
    class Aligns(Plain):
        name = "aligns"
        transductive = True

    assert "cannot place cells" in Annotation().refuses(ensemble([Half, Aligns]))
    assert Annotation().refuses(ensemble([Plain, Half])) == ""


def test_its_card_joins_those_of_its_members():
    made = card(ensemble([Learns, Plain]))
    assert (made.name, made.role, made.needs) == ("learns+plain", "model", ("batch",))
    assert made.trained_here
    assert card(find_model("pca+hvg")).role == "baseline"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "no member"),
        ([Plain, Mute], "mute has no method embed"),
        ([Plain, Oracle], "shown the labels"),
        ([Plain, Half, Plain], "two members named plain"),
        ([ensemble([Plain, Half]), Learns], "no method embed"),
    ],
)
def test_what_cannot_vote_is_refused(members, said):
    with pytest.raises(InvalidInputError, match=said):
        ensemble(members)


def test_members_without_an_organism_in_common_are_refused():
    human = type("Human", (Half,), {"name": "human", "organisms": ("Homo sapiens",)})
    mouse = type("Mouse", (Half,), {"name": "mouse", "organisms": ("Mus musculus",)})
    both = type("Both", (Half,), {"name": "both", "organisms": ("Mus musculus", "Homo sapiens")})
    assert card(ensemble([both, human, Plain])).organisms == ("Homo sapiens",)
    with pytest.raises(InvalidInputError, match="no organism in common"):
        ensemble([human, both, mouse])


def test_weights_may_be_given_for_a_member(tmp_path):
    np.savez(tmp_path / "mine.npz", embedding=np.ones((2, 3)), cell_ids=np.array(["x", "y"]))
    options = {"--model": [f"{tmp_path / 'mine.npz'} + pca"], "--option": [], "keyword": ""}
    run = Run(SimpleNamespace(getoption=options.get))
    assert {"mine+pca", "mine", "pca", "scgpt"} <= run.named


class TestSpecs:
    @pytest.mark.parametrize("spec", ["pca+hvg", "hvg + pca", " hvg  +  pca "])
    def test_installed_names(self, spec):
        made = find_model(spec)
        assert made.name == "hvg+pca"
        assert [member.name for member in made.members] == ["hvg", "pca"]

    def test_files_need_blanks(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "c++").mkdir()
        np.savez(tmp_path / "c++" / "emb+pca.npz", embedding=np.ones((2, 3)), cell_ids=np.array(["x", "y"]))
        (tmp_path / "own.py").write_text("class Own:\n    def embed(self, cells): ...\n")
        assert find_model("c++/emb+pca.npz").name == "emb+pca"
        assert find_model("c++/emb+pca.npz:embedding").name == "emb+pca-embedding"
        assert find_model("own.py:Own + c++/emb+pca.npz + pca").name == "emb+pca+own+pca"

    def test_the_wrong_one_is_named(self):
        with pytest.raises(InvalidInputError, match="'genefromer'"):
            find_model("pca+genefromer")
        with pytest.raises(InvalidInputError, match="no_change has no method embed"):
            find_model("pca + no_change")

"""Zero-shot annotation: a model's own labels beside those of a dataset, by hand, by an oracle and by faulty models."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.hvg import HVG
from scfm_eval.cells import Cells
from scfm_eval.datasets.catalogue import pbmc68k_reduced
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate
from scfm_eval.models.langcell import LangCell
from scfm_eval.models.protocols import Annotator, missing_methods
from scfm_eval.ontology import load_ontology
from scfm_eval.store import Store
from scfm_eval.tasks.few_shot import FewShot
from scfm_eval.tasks.own_labels import OwnLabels
from scfm_eval.tasks.zero_shot import ZeroShotAnnotation
from tests.tasks.given import Given, blobs, cells_with

LABELS = np.array(["B cell", "T cell", "monocyte"])[np.arange(90) % 3]
CD4, CD8 = "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"


class Says:
    """Answers with labels of its own."""

    def __init__(self, own, probabilities):
        self.own, self.probabilities = own, np.asarray(probabilities, dtype=np.float32)

    def can(self, capability):
        return not missing_methods(type(self), capability)

    def annotate(self, *, seed):
        own = self.own[seed] if isinstance(self.own, dict) else self.own
        return np.array(own), self.probabilities


class Embeds(Given):
    def can(self, capability):
        return not missing_methods(type(self), capability)


def certain(said, own):
    return np.eye(len(own))[[own.index(name) for name in said]]


def score(labels, answers, *, seeds=(0,), **keys):
    return ZeroShotAnnotation().score(answers, cells_with(label=labels, **keys), seeds=list(seeds))


def told(own, labels, **terms):
    return OwnLabels.of(own, labels, ontology=load_ontology(), terms=terms)


def value(scored, name):
    return scored.scores[name].value


def test_the_right_labels_reach_the_best():
    own = ["T cells", "B Cell", "CL:0000576", "neuron"]
    said = {"B cell": "B Cell", "T cell": "T cells", "monocyte": "CL:0000576"}
    found = score(LABELS, Says(own, certain([said[label] for label in LABELS], own)))
    distance = found.scores.pop("lcad_symmetric")
    assert distance.value == 0
    assert {record.value for record in found.scores.values()} == {1}
    assert set(ZeroShotAnnotation.headline) == {"lcad_symmetric", *found.scores} - {
        "matched_balanced_accuracy",
        "matched_accuracy",
    }
    assert found.details["own_labels"] == {
        "T cells": "T cell",
        "B Cell": "B cell",
        "CL:0000576": "monocyte",
        "neuron": "neuron",
    }
    assert found.details["without_counterpart"] == {}
    assert found.notes == []


def test_scores_by_hand():
    """Monocytes have no counterpart and are called T; of 4 B one is called T, of 4 T one is called neuron."""
    labels = np.repeat(["B cell", "T cell", "monocyte"], [4, 4, 2])
    said = ["B cell"] * 3 + ["T cell"] + ["T cell"] * 3 + ["neuron"] + ["T cell"] * 2
    own = ["B cell", "T cell", "neuron"]
    found = score(labels, Says(own, certain(said, own)))
    b, t = 2 * 3 / (4 + 3), 2 * 3 / (4 + 6)
    assert value(found, "macro_f1") == pytest.approx((b + t + 0) / 3)
    assert value(found, "accuracy") == pytest.approx(6 / 10)
    assert value(found, "balanced_accuracy") == pytest.approx((3 / 4 + 3 / 4 + 0) / 3)
    t = 2 * 3 / (4 + 4)
    assert value(found, "matched_macro_f1") == pytest.approx((b + t) / 2)
    assert value(found, "matched_accuracy") == pytest.approx(6 / 8)
    assert found.details["without_counterpart"] == {"monocyte": 2}
    assert found.notes == [
        "the model has no label for monocyte (2 cells): errors in macro_f1, left out of matched_macro_f1",
        "1 cells were given a label that none of the dataset's cells has",
    ]


def test_probabilities_of_labels_that_mean_one_are_added_up():
    # both kinds of T cell together are likelier than the B cell, and neither is alone
    shares = np.tile([0.4, 0.3, 0.3], (90, 1))
    found = score(LABELS, Says(["B cell", CD4, CD8], shares))
    assert found.details["own_labels"] == {"B cell": "B cell", CD4: "T cell", CD8: "T cell"}
    assert value(found, "accuracy") == pytest.approx(1 / 3)
    assert found.details["confusion_matrix"][found.details["classes"].index("T cell")] == [0, 30, 0]


def test_a_coarse_label_is_an_error_and_one_class_when_matched():
    labels = np.array(["B cell", CD4, CD8])[np.arange(90) % 3]
    own = ["B cell", "T cell"]
    found = score(labels, Says(own, certain(np.where(labels == "B cell", "B cell", "T cell"), own)))
    assert value(found, "macro_f1") == pytest.approx(1 / 3)
    assert value(found, "matched_macro_f1") == value(found, "matched_accuracy") == 1
    assert 0 < value(found, "lcad_symmetric") < 4
    assert found.details["not_told_apart"] == {"T cell": [CD4, CD8]}
    assert found.notes[0] == (
        f"T cell does not tell {CD4} and {CD8} apart: an error in macro_f1, one class in matched_macro_f1"
    )


def test_which_label_stands_for_which():
    alone = told(["T cell"], [CD4, "B cell"])
    assert alone.meant.tolist() == [CD4]  # nothing else in the dataset is a T cell
    exact = told(["T cell"], ["T cell", CD4])
    assert exact.meant.tolist() == ["T cell"]
    assert exact.common_of == {"T cell": "T cell", CD4: "T cell"}
    by_term = told(["CL:0000084"], ["T lymphocyte", CD4])
    assert by_term.meant.tolist() == ["T lymphocyte"]
    finer = told([CD4], ["T cell", "B cell"])
    assert finer.meant.tolist() == ["T cell"]
    stated = told(["monocyte"], ["cluster 7", "B cell"], **{"cluster 7": "CL:0000576"})
    assert stated.meant.tolist() == ["cluster 7"]
    spelled = told(["mono a", "mono b"], ["mono a", "mono b"], **{"mono a": "CL:0000576", "mono b": "CL:0000576"})
    assert spelled.meant.tolist() == ["mono a", "mono b"]
    assert set(spelled.several) == set()


def test_labels_of_another_world_have_no_score():
    found = score(LABELS, Says(["one", "two"], certain(["one"] * 90, ["one", "two"])))
    for record in found.scores.values():
        assert record.value is None
        assert record.reason == "no label of the dataset has a counterpart among the model's own labels"
        assert not record.applies
    assert "no label for B cell (30 cells), T cell (30 cells), monocyte (30 cells)" in found.notes[0]


def test_labels_without_terms_have_no_distances():
    labels = np.array(["kind 1", "kind 2"])[np.arange(40) % 2]
    found = score(labels, Says(["kind 1", "kind 2"], certain(labels, ["kind 1", "kind 2"])))
    assert value(found, "macro_f1") == 1
    assert found.scores["lcad_symmetric"].reason == "no label of the dataset has a term"


def test_guesses_land_on_chance():
    rng = np.random.default_rng(0)
    labels = np.array(["B cell", "T cell", "monocyte"])[np.arange(900) % 3]
    own = ["B cell", "T cell", "monocyte"]
    found = score(labels, Says(own, certain(rng.choice(own, 900), own))).scores
    for name in ("macro_f1", "matched_macro_f1", "accuracy", "lcad_symmetric"):
        assert found[name].low < found[name].chance < found[name].high


def test_noise_is_at_chance_and_the_oracle_is_right_with_one_known_cell():
    noise = score(LABELS, Embeds(np.random.default_rng(0).normal(size=(90, 6))))
    assert value(noise, "macro_f1") == pytest.approx(noise.scores["macro_f1"].chance, abs=0.08)
    assert noise.notes == ["it brings no labels: the scores are those of one known cell of each type"]
    oracle = score(LABELS, Embeds(blobs(LABELS, noise=0.01, width=3)))
    assert value(oracle, "macro_f1") == value(oracle, "matched_macro_f1") == 1
    assert value(oracle, "lcad_symmetric") == 0


def test_one_known_cell_is_the_first_shot_of_the_few_shot_task():
    answers, cells = Embeds(blobs(LABELS, noise=0.5)), cells_with(label=LABELS)
    here = ZeroShotAnnotation().score(answers, cells, seeds=[0, 1]).scores["macro_f1"]
    there = FewShot().score(answers, cells, seeds=[0, 1]).scores["macro_f1_1"]
    assert here.per_seed == there.per_seed
    assert (here.low, here.high) == (there.low, there.high)


def test_both_kinds_are_paired_over_the_same_resamples():
    own = ["B cell", "T cell", "monocyte"]
    said = score(LABELS, Says(own, certain(LABELS, own))).scores["accuracy"]
    one = score(LABELS, Embeds(blobs(LABELS, noise=0.3))).scores["accuracy"]
    assert len(said.replicates) == len(one.replicates)
    assert said.n_units == one.n_units


def test_cells_without_a_label_are_left_out_and_donors_are_drawn():
    labels = LABELS.astype(object)
    labels[:9] = None
    own = ["B cell", "T cell", "monocyte"]
    donors = np.repeat([f"d{i}" for i in range(9)], 10)
    found = score(labels, Says(own, certain(LABELS, own)), donor=donors)
    assert value(found, "accuracy") == 1
    assert found.scores["accuracy"].n_units == 9
    assert found.notes == ["9 unlabelled cells were left out"]


def test_labels_that_change_with_the_seed_are_refused():
    own = {0: ["B cell", "T cell", "monocyte"], 1: ["T cell", "B cell", "monocyte"]}
    with pytest.raises(InvalidInputError, match="others for the seed in place 1"):
        score(LABELS, Says(own, certain(LABELS, own[0])), seeds=(0, 1))


def test_who_can_take_part():
    class Plain:
        def embed(self, cells): ...

    class Baseline(Plain):
        role = "baseline"

    class Transductive(Baseline):
        transductive = True

    class Names(Plain):
        def annotate(self, cells): ...

    class NotYet(Names):
        @classmethod
        def lacks_labels(cls):
            return "it has no texts; give some"

    refuses = ZeroShotAnnotation().refuses
    assert refuses(Names) == refuses(Baseline) == ""
    assert "no method annotate" in refuses(Plain)
    assert "seen the test cells" in refuses(Transductive)
    assert refuses(NotYet) == "it has no texts; give some"
    assert missing_methods(Names, Annotator) == []


def test_the_ontology_is_part_of_the_pairing(tmp_path):
    obo = tmp_path / "small.obo"
    obo.write_text("format-version: 1.2\n\n[Term]\nid: CL:0000000\nname: cell\n")
    assert ZeroShotAnnotation().reads() != ZeroShotAnnotation(ontology=str(obo)).reads()


class Markers:
    """Names a blood cell by the genes that it is known for."""

    markers = {  # noqa: RUF012
        "B cell": ("CD79A", "MS4A1"),
        "T cells": ("CD3D", "IL32"),
        "natural killer cell": ("NKG7", "GNLY"),
        "CD14-positive monocyte": ("S100A8", "S100A9"),
        "dendritic cell": ("HLA-DRA", "CST3"),
        "neuron": ("MALAT1",),
    }

    def annotate(self, cells):
        expressed = np.log1p(cells.to_df().clip(upper=50))
        votes = np.stack(
            [expressed.reindex(columns=list(genes), fill_value=0).mean(axis=1) for genes in self.markers.values()]
        )
        shares = np.exp(votes.T)
        return np.array(list(self.markers)), shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def claims():
    path = Path(__file__).parents[2] / "benchmarks" / "test_annotation_zero_shot.py"
    spec = importlib.util.spec_from_file_location("zero_shot_claims", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judged(claims, tmp_path_factory):
    cells = Cells(pbmc68k_reduced, pbmc68k_reduced.load())
    kept = {"store": Store(tmp_path_factory.mktemp("store")), "resident": Resident(device="cpu", offline=True)}
    models = (Markers, HVG, Random, Oracle)
    return {model: evaluate(claims.task, model, cells, **kept) for model in models}


def test_the_claims_hold_where_they_must(claims, judged):
    claims.test_names_types_better_than_chance(judged[Markers])
    claims.test_names_types_better_than_noise(judged[Markers], judged[Random])
    claims.test_labels_themselves_are_read_from_one_cell(judged[Oracle])
    claims.test_noise_is_at_chance(judged[Random])
    claims.test_has_not_regressed(judged[Markers], judged[Markers])


def test_the_claims_fall_where_they_must(claims, judged):
    with pytest.raises(AssertionError):
        claims.test_names_types_better_than_chance(judged[Random])
    with pytest.raises(AssertionError):
        claims.test_names_types_better_than_noise(judged[Random], judged[Markers])
    with pytest.raises(AssertionError):
        claims.test_names_types_better_than_one_known_cell_with_hvg(judged[HVG], judged[Oracle])


def test_a_result_tells_of_labels_and_is_paired(judged):
    found = judged[Markers]
    assert len({result.pairing for result in judged.values()}) == 1
    assert found.details["own_labels"]["CD14-positive monocyte"] == "CD14+ Monocyte"
    assert found.details["own_labels"]["B cell"] == "CD19+ B"
    assert "T cells" in found.details["not_told_apart"]
    assert found.details["without_counterpart"] == {"CD34+": 13}
    assert found.scores["matched_macro_f1"].value > found.scores["macro_f1"].value


def test_without_text_vectors_langcell_is_refused_before_anything_is_loaded(claims, tmp_path):
    with pytest.raises(InvalidInputError, match=r"no text vectors[\s\S]*text_vectors"):
        evaluate(
            claims.task,
            LangCell,
            Cells(pbmc68k_reduced, pbmc68k_reduced.load()),
            store=Store(tmp_path),
            resident=Resident(device="cpu"),
        )


def test_a_label_without_a_term_is_not_said_to_be_unknown_to_the_model():
    labels = np.array(["T lymphs", "B cell", "monocyte"])[np.arange(90) % 3]
    own = ["T cell", "B cell"]
    found = score(labels, Says(own, certain(np.where(labels == "B cell", "B cell", "T cell"), own)))
    assert found.notes[0].startswith("the model has no label for monocyte (30 cells): errors")
    assert found.notes[1].startswith(
        "no Cell Ontology term is known for T lymphs (30 cells), and no label of the model"
    )
    assert "ontology=COLUMN" in found.notes[1]
    (covered,) = [note for note in found.notes if note.startswith("lcad_symmetric is over 60 of 90 labelled cells")]
    assert "left out, without a Cell Ontology term: T lymphs (30 cells); state the terms: ontology=COLUMN" in covered


def test_baselines_say_of_which_cells_the_distances_are_too():
    labels = np.array(["T lymphs", "B cell", "monocyte"])[np.arange(90) % 3]
    notes = score(labels, Embeds(blobs(labels, noise=0.1))).notes
    assert any("over 60 of 90 labelled cells" in note for note in notes)

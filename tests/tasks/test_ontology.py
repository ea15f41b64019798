"""Ontology: the oracle reaches the best, noise lands on chance, labels without a term are named and counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.scanorama import Scanorama
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import Rows
from scfm_eval.metrics.ontology import lcad
from scfm_eval.metrics.permutation import type_orders
from scfm_eval.metrics.scgraph import TypeDistances, scgraph
from scfm_eval.models.protocols import LabelTrainable
from scfm_eval.ontology import load_ontology, map_labels
from scfm_eval.tasks.ontology import OntologyConsistency
from scfm_eval.tasks.ontology_scores import Called
from tests.metrics.conftest import GOLDEN

MINI = str(GOLDEN / "ontology_graph" / "mini_cl.obo")
TYPES = (
    "naive B cell",
    "memory B cells",
    "CD4-positive, alpha-beta T cell",
    "CD8-positive, alpha-beta T cell",
    "monocyte",
)


class Known:
    """Answers with one embedding for all seeds and folds."""

    def __init__(self, embedding, *, learns_labels=False):
        self.embedding, self.learns_labels = np.asarray(embedding, dtype=np.float32), learns_labels

    def can(self, capability):
        return self.learns_labels and capability is LabelTrainable

    def embed(self, *, seed, train=None):
        return self.embed_rows(seed=seed, train=train).values

    def embed_rows(self, *, seed, train=None):
        assert seed == 0
        assert train is not None or not self.learns_labels
        return Rows(self.embedding, np.arange(len(self.embedding)))


def typed(n_cells, *, types=TYPES, **keys):
    rng = np.random.default_rng(0)
    labels = np.array(types, dtype=object)[np.arange(n_cells) % len(types)]
    counts = rng.poisson(2 + 6 * (np.arange(30) // 6 == (np.arange(n_cells) % len(types))[:, None]))
    obs = pd.DataFrame({"label": pd.Categorical(labels)}, index=[f"c{i}" for i in range(n_cells)])
    for key, values in keys.items():
        obs[key] = pd.Categorical(values)
    return AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)


def score(cells, embedding, **known):
    return OntologyConsistency(ontology=MINI).score(Known(embedding, **known), cells, seeds=[0])


@pytest.fixture(scope="module")
def cells():
    return typed(300, batch=np.repeat(["x", "y"], 150))


def test_labels_themselves_reach_the_best(cells):
    found = score(cells, Oracle().embed(cells)).scores
    assert found["lcad_symmetric"].value == 0
    for name in ("hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "wang", "lin", "lin_intrinsic"):
        assert found[name].value == pytest.approx(1)
        assert found[name].how["null"]["p_value"] < 0.03
    assert found["lcad"].value is None
    assert "no cell is misclassified" in found["lcad"].reason
    assert found["resnik"].value == pytest.approx(found["resnik"].how["of right predictions"])


def test_noise_lands_on_chance(cells):
    found = score(cells, Random().embed(cells)).scores
    for name in ("lcad_symmetric", "lcad", "hierarchical_f1", "wang", "resnik", "lin", "jiang_conrath_intrinsic"):
        record = found[name]
        assert record.low <= record.chance <= record.high, name
        assert "expected counts" in record.how["chance"]
    for name in ("scgraph", "scgraph_ontorwr", "scgraph_ontorwr_spearman"):
        assert abs(found[name].chance) < 0.4
        assert found[name].how["null_of_cells"]["n_permutations"] == 20
        assert found[name].how["chance"].startswith("mean of null_of_cells, first seed")
        assert found[name].how["null"]["mean"] == pytest.approx(0, abs=0.1)
    assert found["scgraph_published"].chance > 0.5


def test_the_expression_itself_has_the_geometry_of_its_batches(cells):
    found = score(cells, np.log1p(cells.X.toarray()))
    record = found.scores["scgraph"]
    assert record.value > 0.8
    assert record.how["null"]["p_value"] < 0.05
    assert record.how["n_types"] == found.details["n_types"] == 5
    assert record.low <= record.value <= record.high
    assert not any("without batches" in note for note in found.notes)
    assert found.details["ontology"] == load_ontology(MINI).release
    assert found.details["nulls"]["lcad_symmetric"]["null"]["n_permutations"] == 1000
    assert found.details["terms"]["memory B cells"] == {"term": "CL:0000787", "name": "memory B cell", "how": "name"}


def test_what_scgraph_compares_is_kept(cells):
    embedding = np.log1p(cells.X.toarray())
    found = score(cells, embedding)
    kept = found.details["type_distances"]
    assert kept["types"] == sorted(TYPES)
    distances, reference = (np.array(kept[name]) for name in ("embedding", "reference"))
    for matrix in (distances, reference):
        assert matrix.shape == (5, 5)
        np.testing.assert_array_equal(np.diag(matrix), 0)
        np.testing.assert_allclose(matrix.max(axis=0), 1)
    again = scgraph(TypeDistances(tuple(TYPES), distances, reference))
    assert again == pytest.approx(found.scores["scgraph"].value, abs=0.01)
    assert score(cells, 7 * embedding).details["type_distances"]["embedding"] == kept["embedding"]


def test_without_a_comparison_no_distances_are_kept():
    cells = typed(60)
    found = score(cells, np.log1p(cells.X.toarray()))
    assert found.scores["scgraph"].value is None
    assert "type_distances" not in found.details


def test_pairs_that_no_batch_has_are_null():
    kinds = np.arange(300) % len(TYPES)
    cells = typed(300, batch=np.where(kinds < 3, "x", "y"))
    reference = score(cells, np.log1p(cells.X.toarray())).details["type_distances"]["reference"]
    place = {name: i for i, name in enumerate(sorted(TYPES))}
    assert reference[place[TYPES[0]]][place[TYPES[4]]] is None
    assert reference[place[TYPES[0]]][place[TYPES[1]]] is not None


def test_one_cell_more_wrong_costs_its_distance():
    cells = typed(300)
    labels = cells.obs["label"].to_numpy().astype(str)
    seen = labels.copy()
    seen[:1] = "monocyte"
    one_hot = (seen[:, None] == np.array(TYPES)).astype(float)
    assert labels[0] == "naive B cell"
    found = score(cells, one_hot).scores["lcad_symmetric"]
    to_mononuclear_leukocyte = 5 + 2
    assert found.value == pytest.approx(to_mononuclear_leukocyte / 300)


def test_labels_without_a_term_are_named_and_counted():
    cells = typed(360, types=(*TYPES, "debris"))
    labels = cells.obs["label"].to_numpy().astype(str)
    seen = np.where((labels == "monocyte") & (np.arange(360) < 60), "debris", labels)
    one_hot = (seen[:, None] == np.unique(labels)).astype(float)
    found = score(cells, one_hot)
    assert found.details["unmapped"] == {"debris": 60}
    assert found.details["predicted_without_term"] == 10
    assert any("debris (60 cells)" in note and "10 other cells" in note for note in found.notes)
    depth_of_monocyte = 4
    assert found.scores["lcad_symmetric"].value == pytest.approx(10 * depth_of_monocyte / 300)
    assert found.scores["hierarchical_precision"].value == pytest.approx(1)
    assert found.scores["hierarchical_recall"].value < 1
    assert found.scores["lcad_symmetric"].how["n_types"] == 5
    assert found.scores["scgraph"].how["n_types"] == 6


def test_nulls_from_counts_are_those_of_relabelled_cells():
    rng = np.random.default_rng(0)
    labels, predicted = rng.choice([*TYPES, "debris"], size=(2, 200))
    ontology = load_ontology(MINI)
    mapping = map_labels(np.unique(labels), ontology)
    kept = labels != "debris"
    called = Called.of(labels[kept], [predicted[kept]], mapping=mapping, ontology=ontology)
    types = np.array(called.lineages.types)
    every_pair = lcad.statistic(np.repeat(types, 6), np.tile(types, 6), lineages=called.lineages)
    movable = called.lineages.codes(called.types)
    for counts, order in zip(called.permuted_counts[:20], type_orders(5)[:20], strict=True):
        exchanged = dict(zip(types[movable[order]], types[movable], strict=True)) | {ontology.root: ontology.root}
        relabelled = [exchanged[term] for term in called.runs[0]]
        expected = lcad(called.truth, relabelled, lineages=called.lineages)
        assert every_pair.of_weights(counts[None])[0] == pytest.approx(expected)
    assert called.independent_counts.sum() == called.counts.sum() == kept.sum()


def test_labels_of_one_term_are_one_type():
    cells = typed(300, types=(*TYPES, "memory B-cell"))
    found = score(cells, Oracle().embed(cells))
    assert found.details["n_types"] == 5
    assert any("memory B cells and memory B-cell are one type" in note for note in found.notes)
    assert found.scores["lcad_symmetric"].value == 0


def test_a_column_of_the_dataset_decides():
    ids = np.array(["CL:0000788", "CL:0000787", "CL:0000624", "CL_0000625", np.nan], dtype=object)
    names = ("p", "q", "r", "s", "monocyte")
    cells = typed(200, types=names, ontology=ids[np.arange(200) % 5])
    OntologyConsistency(ontology=MINI).check(cells, dataset="d")
    found = score(cells, Oracle().embed(cells)).details["terms"]
    assert {label: known["how"] for label, known in found.items()} == dict.fromkeys("pqrs", "given") | {
        "monocyte": "name"
    }
    several = typed(200, types=names, ontology=ids[np.arange(200) % 2])
    with pytest.raises(InvalidInputError, match="one ontology term for each label"):
        OntologyConsistency(ontology=MINI).check(several, dataset="d")


@pytest.mark.parametrize(
    ("types", "found"),
    [
        (("alpha", "beta", "gamma"), "0 terms, and labels that no ontology term matches: alpha, beta, gamma"),
        (("monocyte", "platelet", "beta"), "2 terms, and labels that no ontology term matches: beta"),
        (("monocyte", "Monocytes", "platelet"), "2 terms, and no other label"),
    ],
)
def test_too_few_terms_are_refused_before_anything_is_computed(types, found):
    with pytest.raises(InvalidInputError, match=found):
        OntologyConsistency(ontology=MINI).check(typed(60, types=types), dataset="d")


def test_a_bad_ontology_is_refused(tmp_path):
    (tmp_path / "bad.obo").write_text("[Term]\nid: CL:1\nis_a: CL:2\n")
    with pytest.raises(InvalidInputError, match="CL:2"):
        OntologyConsistency(ontology=str(tmp_path / "bad.obo")).check(typed(60), dataset="d")


def test_models_that_would_know_too_much_take_no_part_or_in_part(cells):
    task = OntologyConsistency(ontology=MINI)
    assert "seen the test cells" in task.refuses(Scanorama)
    assert not task.refuses(Random)
    found = score(cells, Oracle().embed(cells), learns_labels=True).scores
    assert found["scgraph"].value is None
    assert "learns from labels" in found["scgraph_ontorwr"].reason
    assert found["lcad_symmetric"].value == 0


def test_without_large_batches_only_scgraph_is_undefined():
    cells = typed(150, batch=np.arange(150) // 50)
    found = score(cells, Oracle().embed(cells)).scores
    assert found["scgraph"].reason == "no batch has 100 cells"
    assert found["scgraph_ontorwr"].value is not None


def test_the_packaged_ontology_is_the_default():
    cells = typed(150)
    OntologyConsistency().check(cells, dataset="d")
    with pytest.raises(InvalidInputError, match="label"):
        OntologyConsistency().check(typed(50, types=("monocyte",)), dataset="d")

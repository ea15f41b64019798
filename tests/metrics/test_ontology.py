"""LCAD, hierarchical scores and semantic similarity: golden values, hand-worked pairs, and what must hold."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics import ontology as panel
from scfm_eval.metrics import semantic
from scfm_eval.metrics.metric import UndefinedMetricError
from scfm_eval.metrics.ontology import Lineages
from scfm_eval.metrics.permutation import permutation_null, type_orders
from scfm_eval.ontology import Ontology, read_obo
from tests.metrics.conftest import GOLDEN

MINI = read_obo(GOLDEN / "ontology_graph" / "mini_cl.obo")
T_CELL, TREG = "CL:0000084", "CL:0000792"


def golden(name):
    return json.loads((GOLDEN / name / "expected.json").read_text())


def column(name, file, key):
    with (GOLDEN / name / file).open() as rows:
        return np.array([row[key] for row in csv.DictReader(rows)])


TRUTH, PREDICTED = (column("lcad", "predictions.csv", key) for key in ("y_true", "y_pred"))
LINEAGES = Lineages.of([*TRUTH, *PREDICTED], MINI)
CORPUS = semantic.annotation_information(MINI, column("semantic_similarity", "annotations.csv", "term"))
INTRINSIC = semantic.intrinsic_information(MINI)


def panel_of(truth, predicted, lineages):
    known = {"lineages": lineages}
    plain = (
        panel.lcad, panel.lcad_symmetric, panel.hierarchical_precision, panel.hierarchical_recall,
        panel.hierarchical_f1, semantic.wang,
    )  # fmt: skip
    informed = (semantic.resnik, semantic.lin, semantic.jiang_conrath)
    made = {metric.name: metric.statistic(truth, predicted, **known) for metric in plain}
    information = semantic.intrinsic_information(lineages.ontology)
    return made | {m.name: m.statistic(truth, predicted, information=information, **known) for m in informed}


def test_lcad_is_golden():
    expected = golden("lcad")
    corrected = expected["corrected"]
    found = panel.lcad(TRUTH, PREDICTED, lineages=LINEAGES)
    low, high = expected["reference"]["attainable_range"]
    assert low - 1e-12 <= found <= high
    assert found == pytest.approx(corrected["lcad_to_truth_min_over_lcas"]["mean_over_errors"], abs=1e-12)
    symmetric = panel.lcad_symmetric(TRUTH, PREDICTED, lineages=LINEAGES)
    assert symmetric == pytest.approx(corrected["lcad_symmetric"]["mean_over_all_cells"], abs=1e-12)


def test_all_lowest_common_ancestors_of_every_pair_are_golden():
    pairs = golden("lcad")["intermediate"]["error_pairs"]
    assert len(pairs) > 90
    for pair, known in pairs.items():
        i, j = LINEAGES.codes(pair.split("|"))
        lowest = [MINI.terms[c] for c in LINEAGES.columns[LINEAGES.lowest_common[i, j]]]
        assert lowest == sorted(known["lcas"])
        assert (LINEAGES.to_first[i, j], LINEAGES.between[i, j]) == (known["lcad_min"], known["sym"])


def test_too_fine_costs_nothing_as_published_and_as_much_as_too_coarse_when_symmetric():
    both = Lineages.of([T_CELL, TREG], MINI)
    assert panel.lcad([T_CELL], [TREG], lineages=both) == 0
    assert panel.lcad([TREG], [T_CELL], lineages=both) == 3
    assert panel.lcad_symmetric([T_CELL], [TREG], lineages=both) == 3
    assert panel.lcad_symmetric([TREG], [T_CELL], lineages=both) == 3


@pytest.mark.parametrize("root", ["with_root", "without_root"])
@pytest.mark.parametrize("score", ["precision", "recall", "f1"])
def test_hierarchical_scores_are_golden(root, score):
    expected = golden("hierarchical_prf")["values"][root]["micro"][score]
    metric = getattr(panel, f"hierarchical_{score}")
    found = metric(TRUTH, PREDICTED, lineages=LINEAGES, with_root=root == "with_root")
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("control", ["always_root", "always_majority"])
def test_hierarchical_controls_are_golden(control):
    names, counts = np.unique(TRUTH, return_counts=True)
    same = np.full(len(TRUTH), {"always_root": MINI.root, "always_majority": names[counts.argmax()]}[control])
    lineages = Lineages.of([*TRUTH, MINI.root], MINI)
    expected = golden("hierarchical_prf")["controls"]["with_root"][control]
    found = {s: getattr(panel, f"hierarchical_{s}")(TRUTH, same, lineages=lineages, with_root=True) for s in expected}
    assert found["precision"] == pytest.approx(expected["precision"], abs=0.02)
    if control == "always_root":
        assert panel.hierarchical_f1(TRUTH, same, lineages=lineages) == 0
        with pytest.raises(UndefinedMetricError, match="nothing but the root"):
            panel.hierarchical_precision(TRUTH, same, lineages=lineages)


def test_information_content_is_golden():
    expected = golden("semantic_similarity")["information_content"]
    for found, name in ((CORPUS, "corpus_add_one"), (INTRINSIC, "intrinsic_descendants")):
        np.testing.assert_allclose(found, [expected[name][term] for term in MINI.terms], atol=1e-9)


def test_semantic_similarity_of_every_pair_is_golden():
    names = {"resnik": semantic.resnik, "lin": semantic.lin, "jc_similarity": semantic.jiang_conrath}
    for pair, known in golden("semantic_similarity")["values"].items():
        first, second = pair.split("|")
        lineages = Lineages.of([first, second], MINI)
        for kind, information in (("corpus_add_one", CORPUS), ("intrinsic_descendants", INTRINSIC)):
            for name, metric in names.items():
                found = metric([first], [second], lineages=lineages, information=information)
                assert found == pytest.approx(known[kind][name], abs=1e-9), (pair, kind, name)
        assert semantic.wang([first], [second], lineages=lineages) == pytest.approx(known["wang_0_8"], abs=1e-9)


def test_right_predictions_reach_the_best():
    for metric in (panel.hierarchical_precision, panel.hierarchical_recall, panel.hierarchical_f1, semantic.wang):
        assert metric(TRUTH, TRUTH, lineages=LINEAGES) == pytest.approx(metric.best)
    for metric in (semantic.lin, semantic.jiang_conrath):
        assert metric(TRUTH, TRUTH, lineages=LINEAGES, information=CORPUS) == pytest.approx(1)
    assert panel.lcad_symmetric(TRUTH, TRUTH, lineages=LINEAGES) == 0
    resnik = semantic.resnik.statistic(TRUTH, TRUTH, lineages=LINEAGES, information=CORPUS)
    assert resnik.value() == pytest.approx(resnik.how["of right predictions"])
    with pytest.raises(UndefinedMetricError, match="no cell is misclassified"):
        panel.lcad(TRUTH, TRUTH, lineages=LINEAGES)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_weights_are_repeated_cells_and_order_means_nothing(seed):
    weights = np.random.default_rng(seed).integers(0, 4, size=len(TRUTH))
    repeated = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(TRUTH)), weights))
    weighted = panel_of(TRUTH, PREDICTED, LINEAGES)
    again = panel_of(TRUTH[repeated], PREDICTED[repeated], LINEAGES)
    for name, statistic in weighted.items():
        found = statistic.of_weights(weights[None].astype(np.float64))[0]
        assert found == pytest.approx(again[name].value(), rel=1e-9), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_values_stay_in_their_range_and_symmetric_ones_are(seed):
    guess = np.random.default_rng(seed).permutation(PREDICTED)
    there, back = panel_of(TRUTH, guess, LINEAGES), panel_of(guess, TRUTH, LINEAGES)
    for name in ("lcad_symmetric", "hierarchical_f1", "wang", "resnik", "lin", "jiang_conrath"):
        assert there[name].value() == pytest.approx(back[name].value())
    for name in ("hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "wang", "lin", "jiang_conrath"):
        assert 0 <= there[name].value() <= 1
    assert there["lcad"].value() <= there["lcad_symmetric"].value() / np.mean(guess != TRUTH) + 1e-12


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInputError, match="CL:none"):
        Lineages.of(["CL:none"], MINI)
    with pytest.raises(InvalidInputError, match=TREG):
        panel.lcad_symmetric([T_CELL], [TREG], lineages=Lineages.of([T_CELL], MINI))
    with pytest.raises(InvalidInputError, match="2 and 1"):
        panel.lcad_symmetric([T_CELL, T_CELL], [T_CELL], lineages=Lineages.of([T_CELL], MINI))
    with pytest.raises(InvalidInputError, match="information content of 50 terms"):
        semantic.lin([T_CELL], [T_CELL], lineages=Lineages.of([T_CELL], MINI), information=[1.0])


def test_terms_without_a_common_ancestor_have_no_distance():
    apart = Ontology(release="two trees", names={"CL:1": "a", "CL:2": "b"}, parents={}, synonyms={}, replaced={})
    with pytest.raises(UndefinedMetricError, match="1 cells have no ancestor common to both"):
        panel.lcad_symmetric(["CL:1"], ["CL:2"], lineages=Lineages.of(["CL:1", "CL:2"], apart))


def test_a_null_counts_what_is_as_good_and_what_is_unknown():
    null = permutation_null(2.0, [1.0, 2.0, 3.0, np.nan], higher_is_better=True)
    assert (null["mean"], null["n_permutations"], null["p_value"]) == (2.0, 4, 4 / 5)
    assert permutation_null(2.0, [1.0, 2.5, 3.0], higher_is_better=False)["p_value"] == 2 / 4
    orders = type_orders(5)
    assert orders.shape == (1000, 5)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(5), (1000, 1)))


def test_information_by_hand():
    chain = Ontology(
        release="chain",
        names={"CL:1": "root", "CL:2": "cell", "CL:3": "B"},
        parents={"CL:2": ["CL:1"], "CL:3": ["CL:2"]},
        synonyms={},
        replaced={},
    )
    place = [chain.position[term] for term in ("CL:1", "CL:2", "CL:3")]
    found = semantic.annotation_information(chain, ["CL:3", "CL:2", "CL:3"])
    np.testing.assert_allclose(found[place], [0, 0, -np.log(3 / 4)], atol=1e-12)
    np.testing.assert_allclose(semantic.intrinsic_information(chain)[place], np.log([1, 3 / 2, 3]))
    lineages = Lineages.of(["CL:2", "CL:3", "CL:3"], chain)
    assert lineages.types == ("CL:2", "CL:3")
    assert lineages.codes(["CL:3", "CL:2"]).tolist() == [1, 0]
    np.testing.assert_array_equal(lineages.to_first, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(lineages.between, [[0, 1], [1, 0]])
    pair = {"lineages": lineages}
    assert panel.lcad(["CL:3", "CL:2"], ["CL:2", "CL:3"], **pair) == pytest.approx(0.5)
    assert panel.lcad_symmetric(["CL:3", "CL:3"], ["CL:2", "CL:3"], **pair) == pytest.approx(0.5)
    meaning = {"CL:2": 1 + 0.8, "CL:3": 1 + 0.8 + 0.64}
    shared = (1 + 0.8) + (0.8 + 0.64)
    assert semantic.wang(["CL:3"], ["CL:2"], **pair) == pytest.approx(shared / (meaning["CL:2"] + meaning["CL:3"]))
    information = semantic.intrinsic_information(chain)
    own = {term: information[chain.position[term]] for term in ("CL:2", "CL:3")}
    pair["information"] = information
    assert semantic.resnik(["CL:3"], ["CL:2"], **pair) == pytest.approx(own["CL:2"])
    assert semantic.lin(["CL:3"], ["CL:2"], **pair) == pytest.approx(2 * own["CL:2"] / (own["CL:2"] + own["CL:3"]))
    assert semantic.jiang_conrath(["CL:3"], ["CL:2"], **pair) == pytest.approx(1 / (1 + own["CL:3"] - own["CL:2"]))

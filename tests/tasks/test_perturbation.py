# ruff: noqa: ARG002 - stand-ins have the arguments of what they stand for
"""Perturbation: the truth reaches the best, a constant answer lands on chance, and a missing answer gains nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scfm_eval.baselines.perturbation import Additive, LinearMap, NoChange, RidgeOneHot, TrainingMean
from scfm_eval.datasets.expression import log_normalised
from scfm_eval.datasets.perturbation_conditions import Condition, perturbed, pseudobulk
from scfm_eval.datasets.synthetic import simulate_perturbations
from scfm_eval.errors import InvalidInputError, UnknownGeneError
from scfm_eval.fits import Fit, Rows
from scfm_eval.metrics.distributions import squared_mmd
from scfm_eval.models.protocols import missing_methods
from scfm_eval.tasks import perturbation_heads as heads
from scfm_eval.tasks.perturbation import Perturbation
from scfm_eval.tasks.perturbation_scores import HEADLINE, Part, Truth, scores_of

KINDS = ("single", "combination0", "combination1", "combination2")
CELLS, TRUTH = simulate_perturbations(seed=0)
RNG = np.random.default_rng(0)


class Told:
    """Answers of a predictor, made anew each time; remembers which cells it learned from."""

    def __init__(self, make, cells=CELLS):
        self.make, self.cells, self.seen = make, cells, []

    def can(self, capability):
        return not missing_methods(self.make, capability)

    def predict_perturbations(self, conditions, *, train, seed):
        return self.predict_rows(conditions, train=train, seed=seed).values

    def predict_rows(self, conditions, *, train, seed):
        self.seen.append((tuple(conditions), train))
        model = self.make()
        model.fit_perturbations(self.cells[train].copy())
        fits = (Fit("the fit", np.flatnonzero(train)),)
        return Rows(model.predict_perturbations(conditions), np.array(conditions), fits=fits, of="conditions")

    def embed_rows(self, *, seed, train=None):
        return Rows(self.make().embed(self.cells), np.arange(self.cells.n_obs))

    def embed_genes(self, genes, *, seed):
        return self.make().embed_genes(genes)

    def perturb(self, *, seed, rows, genes, effect):
        return self.make().perturb(self.cells[rows], genes=genes, effect=effect)


class Oracle:
    """Is given the truth, of all cells; the subclass forgets some of it."""

    cells = CELLS

    def fit_perturbations(self, cells):
        self.means = pseudobulk(self.cells)

    def predict_perturbations(self, conditions):
        asked = [Condition.named(name) for name in conditions]
        return np.array([self.means.control[c.context] + self.means.changes[c] for c in asked], dtype=np.float32)


class Frozen:
    """Knows the true effect of each gene, in its gene vectors and in its cells."""

    unknown = ()

    def embed(self, cells):
        return log_normalised(cells.X).toarray()[:, :20]

    def embed_genes(self, genes):
        known = dict(zip(TRUTH.perturbations, TRUTH.effects, strict=True))
        missing = np.full(500, np.nan)
        return np.array(
            [missing if gene in self.unknown else known.get(gene, missing) for gene in genes], dtype=np.float32
        )


class InSilico(Frozen):
    def perturb(self, cells, *, genes, effect):
        if set(genes) & set(self.unknown):
            raise UnknownGeneError(asked="a gene", found=f"no {genes}", remedy="none")
        shift = self.embed_genes(genes).sum(axis=0)
        return self.embed(cells) + shift[:20] * (1 if effect == "knockdown" else -1)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr("scfm_eval.tasks.perturbation_scores.N_RESAMPLES", 200)


@cache
def scored(make, **known):
    return Perturbation(**known).score(Told(make), CELLS, seeds=[0])


def values(found, name, *, splits=KINDS):
    return [found.scores[f"{split}_{name}"].value for split in splits]


def test_the_truth_reaches_the_best():
    found = scored(Oracle)
    for name in (*HEADLINE, "pearson_delta_top20", "direction_match", "centroid_accuracy"):
        assert values(found, name) == pytest.approx([1.0] * 4, abs=1e-4)
    for name in ("variance_error", "effect_size_error"):
        assert values(found, name) == pytest.approx([0.0] * 4, abs=1e-4)
    assert values(found, "mae") == pytest.approx([0.0] * 4, abs=1e-5)
    assert [found.scores[f"oracle_single_{name}"].value for name in HEADLINE] == pytest.approx([1.0] * 3)
    assert not any(guard["flagged"] for guard in found.details["collapse"].values())
    assert set(found.scores) <= set(scored(TrainingMean).scores)


def test_the_training_mean_is_at_chance_of_discrimination_and_nothing_against_itself():
    found = scored(TrainingMean)
    for split in (*KINDS, "combination"):
        score = found.scores[f"{split}_pds_l1"]
        assert score.value == pytest.approx(score.chance)
        assert found.scores[f"{split}_centroid_accuracy"].value == pytest.approx(0.5)
        against_itself = found.scores[f"{split}_pearson_delta_centroid"]
        assert against_itself.value is None
        assert "mean of the training perturbations" in against_itself.reason
        correlation = found.scores[f"{split}_pearson_delta"]
        assert correlation.value == pytest.approx(correlation.chance)
        assert found.details["collapse"][split]["flagged"]
    assert any("collapse" in note for note in found.notes)


def test_no_change_is_undefined_where_it_has_no_direction():
    found = scored(NoChange)
    assert values(found, "pearson_delta") == [None] * 4
    assert "the prediction is the control" in found.scores["single_pearson_delta"].reason
    assert values(found, "direction_match") == [0.5] * 4
    assert values(found, "effect_size_error") == values(found, "variance_error") == [1.0] * 4
    assert found.scores["single_effect_size_error"].how["mean_ratio"] == 0
    assert values(found, "de_overlap") == [0.0] * 4
    assert {guard["variance_ratio"] for guard in found.details["collapse"].values()} == {0.0}


def test_the_ceiling_is_above_constant_answers_and_the_same_for_all():
    found, other = scored(TrainingMean), scored(NoChange)
    for split in KINDS:
        assert found.scores[f"ceiling_{split}_pds_l1"].value > found.scores[f"{split}_pds_l1"].value + 0.2
        assert found.scores[f"ceiling_{split}_pearson_delta"].value > found.scores[f"{split}_pearson_delta"].value
    assert found.scores["ceiling_single_pds_l1"] == other.scores["ceiling_single_pds_l1"]


def test_some_changes_are_kept_the_same_pairs_for_every_model():
    of = {make: scored(make).details["deltas"] for make in (Oracle, NoChange, TrainingMean, Additive)}
    oracle, none = of[Oracle], of[NoChange]
    assert len(oracle["gene"]) == 300
    for found in of.values():
        assert {name: found[name] for name in ("kind", "condition", "gene", "true")} == {
            name: oracle[name] for name in ("kind", "condition", "gene", "true")
        }
    assert oracle["predicted"] == pytest.approx(oracle["true"], abs=2e-4)
    assert set(none["predicted"]) == {0.0}
    unanswered = [change is None for change in of[Additive]["predicted"]]
    assert unanswered == [kind != "combination2" for kind in oracle["kind"]]


def test_kept_changes_are_those_of_the_most_changed_genes_that_were_not_perturbed():
    found = scored(Oracle).details["deltas"]
    means = pseudobulk(CELLS)
    for kind, name, gene, change in zip(*(found[key] for key in ("kind", "condition", "gene", "true")), strict=True):
        assert kind in KINDS
        condition = Condition.named(name)
        true = means.changes[condition][~CELLS.var_names.isin(condition.genes)]
        assert gene not in condition.genes
        assert abs(change) >= np.sort(np.abs(true))[-20] - 1e-4
        assert change == pytest.approx(means.changes[condition][CELLS.var_names.get_loc(gene)], abs=1e-4)


def test_additive_answers_combinations_of_seen_parts_only():
    found = scored(Additive)
    assert found.scores["combination2_pearson_delta"].value > 0.6
    for split in ("single", "combination0", "combination1"):
        record = found.scores[f"{split}_pearson_delta"]
        assert record.value is None
        assert "no prediction for any of" in record.reason
    pooled = found.scores["combination_pearson_delta"]
    assert len(pooled.how["no_answer"]["conditions"]) == 12
    third = np.mean([scored(TrainingMean).scores[f"combination{i}_pearson_delta"].value for i in (0, 1)])
    assert pooled.value == pytest.approx((2 * third + found.scores["combination2_pearson_delta"].value) / 3)
    assert len(found.details["no_answer"]["own"]) == 24


def test_linear_map_answers_singles_only():
    found = scored(LinearMap, splits=("single", "combination2"))
    assert found.scores["single_pearson_delta"].value is not None
    assert found.scores["combination2_mae"].value is None


def test_a_missing_answer_is_worth_the_training_mean():
    class Reticent(Oracle):
        def predict_perturbations(self, conditions):
            found = super().predict_perturbations(conditions)
            found[[TRUTH.perturbations[0] in name.split("+") for name in conditions]] = np.nan
            return found

    found = scored(Reticent, splits=("single",))
    record = found.scores["single_mae"]
    assert record.how["no_answer"]["conditions"] == [TRUTH.perturbations[0]]
    assert record.value > scored(Oracle).scores["single_mae"].value + 0.01
    assert found.scores["single_pearson_delta_centroid"].value == pytest.approx(11 / 12, abs=1e-4)
    assert any("questions without an answer" in note for note in found.notes)


def test_learning_never_sees_what_is_asked():
    answers = Told(NoChange)
    Perturbation().score(answers, CELLS, seeds=[0])
    names = CELLS.obs["perturbation"].to_numpy().astype(str)
    assert len(answers.seen) == 9
    for conditions, train in answers.seen:
        assert not set(conditions) & set(names[train])
        assert train[names == "control"].all()


def test_perturbed_genes_do_not_score_and_their_value_stands_beside():
    class Half(Oracle):
        """Is wrong on the perturbed genes only."""

        def predict_perturbations(self, conditions):
            found = super().predict_perturbations(conditions)
            for row, name in zip(found, conditions, strict=True):
                row[CELLS.var_names.isin(name.split("+"))] += 3
            return found

    record = scored(Half, splits=("single",)).scores["single_mae"]
    assert record.value == pytest.approx(0, abs=1e-5)
    assert record.how["with_perturbed_genes"] == pytest.approx(3 / 500, abs=1e-5)


def test_frozen_embeddings_answer_through_both_heads():
    found = scored(Frozen, splits=("single", "combination2"))
    for prefix in ("", "mlp_"):
        single, pair = (found.scores[f"{prefix}{split}_pearson_delta"] for split in ("single", "combination2"))
        assert pair.value > 0.5 > single.value
        assert pair.value > pair.chance + 0.2
    assert not any(name.startswith("in_silico") for name in found.scores)
    assert set(found.details["no_answer"]) == {"own", "mlp_"}


def test_perturbing_the_input_is_scored_beside():
    found = scored(InSilico, splits=("combination2",))
    assert found.scores["in_silico_combination2_pds_l1"].value > found.scores["in_silico_combination2_pds_l1"].chance
    assert any("as in a knockdown" in note for note in found.notes)

    class OnlyInSilico:
        embed, perturb = Frozen.embed, InSilico.perturb
        embed_genes = None
        unknown = ()

    alone = Perturbation(splits=("combination2",)).score(_WithVectors(OnlyInSilico), CELLS, seeds=[0])
    assert alone.scores["combination2_mae"].value == alone.scores["in_silico_combination2_mae"].value
    same = found.scores["in_silico_combination2_pearson_delta"].value
    assert alone.scores["in_silico_combination2_pearson_delta"].value == pytest.approx(same)


class _WithVectors(Told):
    def perturb(self, *, seed, rows, genes, effect):
        return InSilico().perturb(self.cells[rows], genes=genes, effect=effect)


def test_an_unknown_gene_is_named_under_every_head():
    class Partial(InSilico):
        unknown = (TRUTH.perturbations[0],)

    found = scored(Partial, splits=("single",))
    for name in ("own", "mlp_", "in_silico_"):
        (condition,) = found.details["no_answer"][name]
        assert condition == f"single {TRUTH.perturbations[0]}"
    assert found.scores["single_mae"].how["no_answer"]["conditions"] == list(Partial.unknown)


def test_seeds_are_averaged_and_the_result_is_repeatable():
    found = Perturbation(splits=("single",)).score(Told(RidgeOneHot), CELLS, seeds=[0, 1])
    record = found.scores["single_mae"]
    assert len(set(record.per_seed)) == 2
    assert record.value == pytest.approx(np.mean(record.per_seed))
    assert record.low < record.value < record.high
    again = Perturbation(splits=("single",)).score(Told(RidgeOneHot), CELLS, seeds=[0, 1])
    assert again.scores == found.scores


def lesson(inputs, changes, wanted, held):
    numbers = np.arange(len(inputs) + len(wanted))
    known = Rows(inputs, numbers[: len(inputs)], labels=changes)
    return heads.Lesson(known, Rows(wanted, numbers[len(inputs) :]), held, 0)


@pytest.mark.parametrize("head", [heads.ridge, heads.perceptron])
def test_heads_learn_a_linear_rule_and_do_not_care_for_scale(head):
    inputs, rule = RNG.normal(size=(60, 4)), RNG.normal(size=(4, 30))
    changes, wanted = inputs @ rule, RNG.normal(size=(20, 4))
    halves = [(np.arange(60) < 30, np.arange(60) >= 30)]
    found = head(lesson(inputs, changes, wanted, halves)).values
    assert np.corrcoef(found.ravel(), (wanted @ rule).ravel())[0, 1] > 0.9
    scaled = head(lesson(inputs * [1e3, 1, 1e-3, 1] + 5, changes, wanted * [1e3, 1, 1e-3, 1] + 5, halves)).values
    np.testing.assert_allclose(scaled, found, atol=0.05 * np.abs(found).max())


def test_what_says_nothing_is_answered_by_the_mean():
    changes = RNG.normal(size=(12, 30))
    held = heads.inner_folds([Condition("", (f"G{i}",)) for i in range(12)], kind="single")
    found = heads.ridge(lesson(RNG.normal(size=(12, 50)), changes, RNG.normal(size=(3, 50)), held)).values
    np.testing.assert_allclose(found, np.tile(changes.mean(axis=0), (3, 1)), atol=0.4)


def test_inner_folds_hide_what_the_outer_ones_hide():
    conditions = [Condition("", tuple(name.split("+"))) for name in ("A", "B", "C", "A+B")]
    for kind, asked in (("single", {(0,), (1,), (2,)}), ("combination2", {(0,), (1,), (2,), (3,)})):
        folds = heads.inner_folds(conditions, kind=kind)
        assert {tuple(np.flatnonzero(held)) for _, held in folds} == asked
    seen, held = heads.inner_folds(conditions, kind="combination1")[0]
    assert (list(np.flatnonzero(seen)), list(np.flatnonzero(held))) == ([1, 2], [3])
    lines = [Condition(context, (gene,)) for context in "xy" for gene in "AB"]
    assert [list(np.flatnonzero(held)) for _, held in heads.inner_folds(lines, kind="context")] == [[0, 1], [2, 3]]


def test_who_can_take_part():
    task = Perturbation()
    for model in (Oracle, Frozen, InSilico, NoChange):
        assert task.refuses(model) == ""

    class Plain:
        embed = Frozen.embed

    refused = task.refuses(Plain)
    assert "no method fit_perturbations" in refused
    assert "no method embed_genes, or no method perturb" in refused

    class Learner(InSilico):
        def fit(self, cells): ...

    class SeesAll(InSilico):
        transductive = True

    class Both(Learner, Oracle):
        pass

    assert "it learns from the dataset" in task.refuses(Learner)
    assert "would have seen the perturbed cells" in task.refuses(SeesAll)
    assert task.refuses(Both) == ""


def test_scores_say_what_they_are_made_of():
    found, other = (scored(make, splits=("single",)).scores for make in (TrainingMean, RidgeOneHot))
    top = found["single_pearson_delta_top20"].how
    assert "significant or not" in top["genes"]
    assert (top["most_cells_of_z"], 0 < top["mean_significant_genes"] <= 20) == (300, True)
    assert "same for every prediction" in found["single_mmd"].how["width"]
    exchanged = other["single_pearson_delta"].how["chance"]
    assert (exchanged["seed"], exchanged["n_exchanges"] > 0, exchanged["undefined_exchanges"]) == (0, True, 0)
    assert found["single_pds_l1"].how["chance"]["seed"] == 0


def test_every_prediction_is_judged_under_the_same_kernel(monkeypatch):
    seen = []

    def spy(X, Y, *, width):
        seen.append(width)
        return squared_mmd(X, Y, width=width)

    monkeypatch.setattr("scfm_eval.metrics.distributions.squared_mmd", spy)
    for make in (NoChange, RidgeOneHot):
        Perturbation(splits=("single",)).score(Told(make), CELLS, seeds=[0])
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert len(set(seen)) > 1


def test_exchanges_without_a_value_are_counted():
    asked = Perturbation(splits=("single",))._asked(Truth(CELLS, 300), seeds=[0])[0]
    known = asked.responses({})
    truth, predicted = known.truth.copy(), known.truth.copy()
    truth[0] = predicted[0] = known.control[0]
    part = Part(
        asked, np.arange(len(truth)), replace(known, truth=truth, predicted=predicted, answered=True | known.answered)
    )
    record = scores_of([part], names=("pearson_delta",))["pearson_delta"]
    assert record.value == pytest.approx(1)
    assert 0 < record.how["chance"]["undefined_exchanges"] <= record.how["chance"]["n_exchanges"]


def named(names, *, n_cells=20):
    which = np.repeat(np.arange(len(names)), n_cells)
    obs = pd.DataFrame(
        {"perturbation": pd.Categorical(np.array(names)[which])}, index=[f"c{i}" for i in range(len(which))]
    )
    return AnnData(CELLS.X[: len(which)], obs=obs, var=CELLS.var)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["A", "B", "C", "D"], "control cells"),
        (["control", "A"], "several perturbations"),
        (["control", "A", "B", "A_B"], "A_B"),
        (["control", "A", "B", "A,B"], "A,B"),
        (["control", "A", "B", "A|B"], r"A\|B"),
        (["control", "A", "B"], "conditions that can be held out"),
    ],
)
def test_what_cannot_be_asked_is_refused(names, message):
    with pytest.raises(InvalidInputError, match=message):
        Perturbation().check(named(names), dataset="mine")


def test_a_split_that_would_be_empty_is_refused_before_anything_is_learned():
    singles = named(["control", "A", "B+ctrl", "ctrl+C", "D"])
    Perturbation().check(singles, dataset="mine")
    with pytest.raises(InvalidInputError, match="'combination2'"):
        Perturbation(splits=("combination2",)).check(singles, dataset="mine")
    with pytest.raises(InvalidInputError, match="'context'"):
        Perturbation(splits=("context",)).check(singles, dataset="mine")


def test_real_cell_lines(real_data):
    file = anndata.read_h5ad(real_data / "perturbseq_norman_mcfaline.h5ad")
    effect = np.where(file.obs["perturbation_type"] == "CRISPRa", "activation", "knockdown")
    obs = {
        "perturbation": file.obs["condition"].astype(str),
        "context": file.obs["cell_type"].astype(str),
        "effect": effect,
    }
    cells = AnnData(file.X, obs=pd.DataFrame(obs).astype("category"), var=file.var)
    task = Perturbation()
    task.check(cells, dataset="perturbseq")
    found = task.score(Told(Additive, cells), cells, seeds=[0])
    assert found.scores["combination2_pearson_delta"].value > 0.7
    assert set(found.details["splits"]) == {*KINDS, "context"}
    assert any("were not measured" in note for note in found.notes)
    contexts = {fold["test"][0].split("|")[0] for fold in found.details["splits"]["context"]}
    assert contexts == {"A172", "T98G", "U87MG"}
    assert len(perturbed(cells).conditions) == 60

"""Fine-tuned annotation: who takes part, what is learned from, gains, intervals, and pairs of models."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval.baselines.controls import Oracle, Random
from scfm_eval.baselines.hvg import HVG
from scfm_eval.baselines.scanorama import Scanorama
from scfm_eval.datasets.splits import parts
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Embedder, FineTuner, FineTuning, Mode
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result
from scfm_eval.tasks import probes
from scfm_eval.tasks.finetuning import FineTunedAnnotation, HeadAnnotation
from scfm_eval.tasks.pairs import paired_tests
from scfm_eval.tasks.task import FineTuned
from tests.tasks.given import Given, blobs, cells_with


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(probes, "boosted_trees", probes.nearest_neighbors)


class Answers(Given):
    """Answers with one embedding, and after fine-tuning with the truth on a share of the test cells."""

    def __init__(self, embedding, *, truth=None, share=1.0, capabilities=(Embedder,), **history):
        super().__init__(embedding)
        self.truth, self.share, self.capabilities = truth, share, capabilities
        self.history, self.tunings = history, []

    def can(self, capability):
        return capability in self.capabilities

    def fine_tune(self, *, labels, train, validation, test, how, seed):
        self.tunings.append((labels, train, validation, test, how, seed))
        classes = np.unique(labels[train])
        share = self.share / 2 if how.from_scratch else self.share
        codes = np.searchsorted(classes, self.truth[test])
        wrong = np.random.default_rng(seed).permutation(len(codes)) >= share * len(codes)
        said = np.where(wrong, (codes + 1) % len(classes), codes)
        return FineTuned(classes, np.eye(len(classes), dtype=np.float32)[said], {"chosen_epoch": 1} | self.history)


TUNED = (Embedder, FineTuner)
LABELS = np.array(["a", "b", "c", "d"])[np.arange(400) % 4]


def score(answers, *, seeds=(0,), task=None, **keys):
    return (task or FineTunedAnnotation()).score(answers, cells_with(**({"label": LABELS} | keys)), seeds=seeds)


def tuned(*, share=1.0, noise=5.0, **known):
    known = {"capabilities": TUNED} | known
    return Answers(blobs(LABELS, noise=noise), truth=LABELS, share=share, **known)


def test_models_are_fine_tuned_and_others_are_probed():
    task = FineTunedAnnotation()

    class OnlyEmbeds:
        name = "only"
        embed = HVG.embed

    assert "fine_tune" in task.refuses(OnlyEmbeds)
    assert [task.refuses(model) for model in (HVG, Random, Oracle)] == ["", "", ""]
    assert "cannot place cells" in task.refuses(Scanorama)


def test_modes_have_names_of_their_own():
    kinds = [FineTunedAnnotation, *FineTunedAnnotation.__subclasses__()]
    assert {kind().how.mode for kind in kinds} == set(Mode.__args__)
    assert len({kind.name for kind in kinds}) == 5
    answers = tuned()
    score(answers, task=HeadAnnotation(how=FineTuning(mode="head", epochs=7)))
    assert answers.tunings[0][4] == FineTuning(mode="head", epochs=7)
    with pytest.raises(InvalidInputError, match=r"(?s)_head with mode 'full'.*a task of mode 'head'"):
        HeadAnnotation(how=FineTuning(epochs=7))


def test_a_perfect_answer_reaches_the_best_and_noise_lands_on_chance():
    perfect, blind = score(tuned()).scores, score(tuned(share=0.25)).scores
    assert perfect["macro_f1"].value == perfect["accuracy"].value == perfect["balanced_accuracy"].value == 1.0
    assert perfect["log_loss"].value == pytest.approx(0, abs=1e-6)
    assert perfect["frozen_macro_f1"].value == pytest.approx(0.25, abs=0.2)
    assert blind["macro_f1"].value == pytest.approx(blind["macro_f1"].chance, abs=0.05)


def test_gains_are_paired_with_the_frozen_probe_by_hand():
    found = score(tuned(share=0.75, noise=0.5)).scores
    before, after = found["frozen_accuracy"].value, found["accuracy"].value
    assert after == 0.75
    assert found["gain_absolute"].value == pytest.approx(after - before)
    assert found["gain_relative_percent"].value == pytest.approx((after - before) / before * 100)
    assert found["gain_absolute"].low < after - before < found["gain_absolute"].high
    f1 = found["macro_f1"].value - found["frozen_macro_f1"].value
    assert found["macro_f1_gain_absolute"].value == pytest.approx(f1)


def test_training_and_validation_cells_are_those_of_the_split_and_test_labels_stay_hidden():
    answers = tuned()
    labels = LABELS.astype(object)
    labels[:40] = np.nan
    score(answers, label=labels)
    seen, train, validation, test, how, seed = answers.tunings[0]
    split = parts(LABELS[40:], seed=0)
    for mask, part in ((train, split.train), (validation, split.validation), (test, split.test)):
        np.testing.assert_array_equal(np.flatnonzero(mask), 40 + np.flatnonzero(part))
    np.testing.assert_array_equal(answers.trained_on[0], train)
    assert set(seen[:40]) == {""}
    assert (how, seed) == (FineTuning(), 0)


def test_pretrained_models_are_trained_from_scratch_too_and_controls_are_that_already():
    control, pretrained = tuned(from_scratch=True), tuned()
    first, second = score(control).scores, score(pretrained).scores
    assert first["from_scratch_macro_f1"].value == first["macro_f1"].value == 1.0
    assert second["from_scratch_macro_f1"].value == pytest.approx(0.5, abs=0.05)
    assert [[tuning[4].from_scratch for tuning in a.tunings] for a in (control, pretrained)] == [[False], [False, True]]


def test_a_model_without_embedding_has_no_frozen_scores():
    found = score(tuned(capabilities=(FineTuner,)))
    for name in ("frozen_macro_f1", "gain_absolute", "macro_f1_gain_relative_percent"):
        assert (found.scores[name].value, found.scores[name].reason[:19]) == (None, "it gives no embeddi")
    assert "against_frozen" not in found.details


def test_baselines_are_probed_on_the_training_cells_of_the_split():
    answers = Answers(blobs(LABELS, noise=0.01))
    found = score(answers)
    np.testing.assert_array_equal(answers.trained_on[0], parts(LABELS, seed=0).train)
    assert found.scores["macro_f1"].value == found.scores["xgboost_macro_f1"].value == 1.0
    for name in ("frozen_macro_f1", "from_scratch_macro_f1", "gain_absolute"):
        assert (found.scores[name].value, found.scores[name].reason[:22]) == (None, "it cannot be fine-tune")
    assert found.details["training"] == {}


def test_each_seed_has_its_own_split_on_one_axis_of_cells():
    answers = tuned(share=0.6)
    found = score(answers, seeds=(0, 1, 2)).scores["accuracy"]
    tests = [tuning[3] for tuning in answers.tunings if not tuning[4].from_scratch]
    assert (tests[0] != tests[1]).any()
    assert len(found.per_seed) == 3
    assert found.low < found.value < found.high
    alone = score(tuned(share=0.6)).scores["accuracy"]
    assert found.high - found.low < alone.high - alone.low


def test_intervals_are_over_donors_where_there_are_enough():
    donors = np.arange(400) // 4 % 40
    by_donor = score(tuned(share=0.6), donor=donors)
    assert by_donor.details["split"]["unit"] == "donor"
    assert not any("intervals are over its cells" in note for note in by_donor.notes)
    few = score(tuned(share=0.6), donor=np.arange(400) // 4 % 5)
    assert any("intervals are over its cells" in note for note in few.notes)


def test_too_few_cells_of_a_label_are_named_before_anything_is_trained():
    cells = cells_with(label=np.array([*"aaaaaabbbbb", "rare", "rare"]))
    with pytest.raises(InvalidInputError, match=r"rare \(2\)"):
        FineTunedAnnotation().check(cells, dataset="toy")


def test_what_is_to_be_said_of_the_split_of_any_seed_is_said_once():
    """Where labels lie by donor, a seed's parts lack other labels than the first seed's do."""
    labels, donors = np.array(list("aabbccddee"))[np.arange(400) // 40], np.arange(400) // 40
    cells = {"label": labels, "donor": donors}
    said = [parts(labels, donors=donors.astype(str), seed=seed).notes for seed in (0, 1, 2, 3)]
    assert set(said[0]) != {note for notes in said for note in notes}
    answers = Answers(blobs(labels, noise=0.1))
    notes = score(answers, seeds=(0, 1, 2, 3), **cells).notes
    assert {note for of_seed in said for note in of_seed} <= set(notes)
    assert len(set(notes)) == len(notes)


def test_a_gain_says_what_it_compares():
    found = score(tuned()).scores
    for name in ("gain_absolute", "macro_f1_gain_relative_percent"):
        assert "last layer" in found[name].how["tuned"]
        assert "another layer" in found[name].how["frozen"]
        assert found[name].how["formula"].startswith(("tuned - frozen", "(tuned - frozen)"))


def test_divergence_is_noted():
    notes = score(tuned(diverged_at_step=17)).notes
    for what in ("training", "from scratch training"):
        assert f"{what} diverged at step 17 (seed 0): the state after epoch 1 is used" in notes


def result_of(name, found, *, seeds=(0,), pairing="p"):
    record = DatasetRecord(name="toy", sha256="", n_cells=400, n_genes=2, n_unlabelled=0)
    return Result(
        task=FineTunedAnnotation.name,
        parameters={},
        headline=["macro_f1"],
        seeds=list(seeds),
        pairing=pairing,
        dataset=record,
        model=ModelRecord(name=name, role="model", trained_here=True),
        readable=ReadableRecord(genes=1, counts=1, n_genes=2),
        scores=found.scores,
        details=found.details,
        seconds={},
        from_store=False,
    )


def test_pairs_of_models_are_compared_on_the_same_test_cells():
    seeds = tuple(range(8))
    made = {share: score(tuned(share=share), seeds=seeds) for share in (1.0, 0.5)}
    results = [result_of(str(share), found, seeds=seeds) for share, found in made.items()]
    results += [result_of("same", made[1.0], seeds=seeds), result_of("elsewhere", made[0.5], seeds=seeds, pairing="q")]
    bare = results[0].model_copy(update={"details": {}})
    worse, same, mirrored = paired_tests([*results, bare])
    assert (worse["left"], worse["right"], len(worse["splits"])) == ("1.0", "0.5", 8)
    first = worse["splits"][0]
    assert (first["seed"], first["n_cells"], first["only_left"], first["only_right"]) == (0, 40, 20, 0)
    assert first["p"] == first["q"] == mirrored["splits"][0]["q"] == pytest.approx(2 / 2**20)
    assert worse["seeds"]["p"] == pytest.approx(2 / 2**8)
    assert (same["left"], same["right"], same["splits"][0]["p"], same["splits"][0]["q"]) == ("1.0", "same", None, None)
    assert "very same cells" in same["splits"][0]["reason"]
    assert "differ on 0 of 8 seeds" in same["seeds"]["reason"]


def test_a_report_of_nothing_has_no_pairs():
    assert paired_tests([]) == []


def test_the_frozen_probe_is_compared_cell_by_cell():
    details = score(tuned(noise=50.0)).details["against_frozen"]
    assert details["mcnemar"]["only_right"] == 0 < details["mcnemar"]["only_left"]
    assert details["wilcoxon_p"] is None
    assert "0 of 1 seeds" in details["wilcoxon_p_reason"] or "1 of 1 seeds" in details["wilcoxon_p_reason"]
    assert set(FineTunedAnnotation.headline) >= {"macro_f1", "frozen_macro_f1"}

"""A headline score whose interval reaches chance is told, in the right direction, and of no control."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval import guards
from scfm_eval.chance import tell_of_chance
from scfm_eval.results import ScoreRecord
from scfm_eval.tasks.few_shot import FewShot
from tests.guards.test_test_cells import TOY

FEW = FewShot(n_folds=2, n_draws=1)


def record(low, value, high, **known):
    return ScoreRecord(value=value, low=low, high=high, **({"chance": 0.5} | known))


def told(role="model", headline=("f1", "loss"), **scores):
    with guards.listening() as found:
        tell_of_chance(scores, headline=headline, role=role, asked="toy of mine on cells")
    return [finding.found for finding in found]


def test_an_interval_that_reaches_chance_is_told():
    assert told(f1=record(0.49, 0.6, 0.7)) == ["no better than chance: f1 (chance 0.500)"]
    assert told(f1=record(0.1, 0.2, 0.3)) == ["no better than chance: f1 (chance 0.500)"]
    assert told(f1=record(0.5, 0.5, 0.5)) == ["no better than chance: f1 (chance 0.500)"]


def test_one_finding_names_all_scores_of_a_result():
    loss = record(0.4, 0.45, 0.51, higher_is_better=False)
    assert told(f1=record(0.4, 0.6, 0.7), loss=loss) == [
        "no better than chance: f1 (chance 0.500), loss (chance 0.500)"
    ]


@pytest.mark.parametrize(
    "scores",
    [
        {"f1": record(0.51, 0.6, 0.7)},
        {"loss": record(0.3, 0.4, 0.49, higher_is_better=False)},
        {"f1": record(0.4, 0.6, 0.7, chance=None)},
        {"f1": record(None, 0.4, None)},
        {"f1": ScoreRecord(value=None, reason="none", chance=0.5)},
        {"beside": record(0.1, 0.2, 0.3)},
    ],
)
def test_what_is_better_or_not_known_is_no_fault(scores):
    assert told(**scores) == []


def test_nothing_is_told_of_controls_and_of_what_noise_satisfies():
    assert told("control", f1=record(0.4, 0.5, 0.6)) == []
    assert len(told("baseline", f1=record(0.4, 0.5, 0.6))) == 1
    assert told(headline=("ilisi",), ilisi=record(0.4, 0.5, 0.6)) == []


def test_it_is_switched_off_by_its_name():
    with guards.without(["chance"]):
        assert told(f1=record(0.4, 0.6, 0.7)) == []


class Blind:
    def embed(self, cells):
        return np.stack([np.random.default_rng([ord(c) for c in name]).normal(size=3) for name in cells.obs_names])


class Sees:
    def embed(self, cells):
        return np.log1p(cells.X.toarray())


def test_a_model_that_knows_nothing_has_that_in_its_result(judge):
    (finding,) = [finding for finding in judge(Blind).findings if finding.guard == "chance"]
    assert (finding.asked, finding.found[:21]) == ("annotation_few_shot of blind on toy", "no better than chance")
    assert [finding for finding in judge(Sees).findings if finding.guard == "chance"] == []


@pytest.fixture
def judge(tmp_path):
    from scfm_eval.cells import Cells
    from scfm_eval.device import Resident
    from scfm_eval.evaluate import evaluate
    from scfm_eval.store import Store

    def run(model):
        resident = Resident(device="cpu", precision="float32", offline=True)
        return evaluate(FEW, model, Cells(TOY, TOY.load()), store=Store(tmp_path), resident=resident)

    return run

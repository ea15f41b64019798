"""A score that cannot tell the oracle from noise is told for its dataset, and one that can is not."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval import guards
from scfm_eval.power import powerless_scores
from tests.made_reports import STEADY, result, score

NOISE = np.random.default_rng(0).normal(size=1000)


def made(oracle, random, *, name="f1", baseline=None, dataset="cells", up=True, pairing=None):
    known = {"dataset": dataset, "pairing": pairing}
    spread = 0.02 * NOISE

    def of(value, shift):
        resamples = None if value is None else shift
        reason = "" if value is not None else "no value"
        return {name: score(value, spread=resamples, higher_is_better=up, reason=reason)}

    results = [
        result("oracle", role="control", **known, **of(oracle, spread)),
        result("random", role="control", **known, **of(random, spread[::-1])),
    ]
    return results + (
        [] if baseline is None else [result("pca", role="baseline", **known, **of(baseline, 0.01 * STEADY))]
    )


def found(*results):
    return [finding.found for finding in powerless_scores([one for some in results for one in some])]


def test_an_oracle_that_is_no_better_than_noise_is_told():
    assert found(made(0.50, 0.49)) == ["toy f1 on cells does not tell the oracle from noise"]
    assert found(made(0.30, 0.60)) == ["toy f1 on cells does not tell the oracle from noise"]


@pytest.mark.parametrize("given", [made(0.9, 0.1), made(0.1, 0.9, up=False), made(0.5, 0.49, baseline=0.9)])
def test_what_tells_the_oracle_or_a_baseline_from_noise_is_no_fault(given):
    assert found(given) == []


def test_a_score_whose_best_is_low_is_read_in_its_direction():
    assert len(found(made(0.9, 0.1, up=False))) == 1


def test_what_cannot_be_asked_is_passed_over():
    without_oracle, without_noise = made(0.5, 0.5)[1:], made(0.5, 0.5)[:1]
    assert found(without_oracle) == found(without_noise) == found(made(None, 0.5)) == found(made(0.5, None)) == []
    assert found(made(0.5, 0.5, name="ilisi")) == []


def test_each_dataset_speaks_for_itself():
    assert found(made(0.9, 0.1, dataset="large"), made(0.5, 0.49, dataset="small")) == [
        "toy f1 on small does not tell the oracle from noise"
    ]
    # scores of other folds are not compared: neither run has both controls
    assert found(made(0.5, 0.5, pairing="one")[:1], made(0.5, 0.5, pairing="two")[1:]) == []


def test_it_is_switched_off_by_its_name():
    with guards.without(["power"]):
        assert found(made(0.50, 0.49)) == []
    with guards.without(["chance"]):
        assert len(found(made(0.50, 0.49))) == 1

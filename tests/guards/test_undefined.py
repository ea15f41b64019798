"""An average with a member that has no value has none either, and says which member that is."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scfm_eval
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.responses import mean_over_conditions
from scfm_eval.ranking import ranks
from scfm_eval.results import ScoreRecord, combine, measure
from tests.made_reports import STEADY, score

DROPPING = {"nanmean", "nanmedian", "nansum", "nanstd", "nanvar", "nanmax", "nanmin", "nanquantile", "nanpercentile"}
JUSTIFIED = {
    "metrics/gene_networks.py": {"nansum"},
    "metrics/perturbation.py": {"nanmean"},
    "metrics/noise.py": {"nanvar"},
    "metrics/resampling.py": {"nanmean", "nanstd"},
    "baselines/genes.py": {"nanquantile"},
    "results.py": {"nanmean"},
}
"""Sums and means that pass over NaN, each for a reason.

The precision of a bin without pairs is weighted with no gain; the mean ratio stands beside a score and is over the
conditions whose truth changes, which the score names; what is taken of resamples only moves or stretches
them, and with one that has no value there is no interval; a pair of genes of which one never varies has no correlation.
"""


@metric(best=1.0, worst=0.0, source="a test")
def share(values):
    """Share."""
    values = np.asarray(values, dtype=float)
    return Statistic(lambda weights: weights @ values / weights.sum(axis=1), n_cells=len(values), how={})


def test_a_sum_with_a_member_without_value_has_none():
    records = {"a": score(0.9, spread=0.01 * STEADY), "b": ScoreRecord(value=None, reason="one batch")}
    total = combine(records, weights={"a": 0.5, "b": 0.5}, source="", how={})
    assert (total.value, total.low, total.chance) == (None, None, None)
    assert total.reason == "a member is undefined (b: one batch)"
    assert combine(records, weights={"a": 1.0}, source="", how={}).value == 0.9


def test_a_mean_over_seeds_with_a_seed_without_value_has_none():
    weights = np.ones((3, 4))

    def seeds(*values):
        return measure(share, lambda: [share.statistic(each) for each in values], weights=weights)

    assert seeds([1, 1, 0, 0], [1, 0, 0, 0]).value == pytest.approx(0.375)
    undefined = seeds([1, 1, 0, 0], [1, np.nan, 0, 0])
    assert undefined.value is None
    assert undefined.reason


def test_a_mean_over_conditions_with_a_prediction_without_value_has_none():
    names, values = np.array(["A", "B", "C"]), np.array([1.0, 0.0, np.nan])
    with pytest.raises(UndefinedMetricError, match=r"constant: 1 conditions \(B\)"):
        mean_over_conditions(values, names, undefined=np.array([False, True, True]), why="constant")
    made = mean_over_conditions(values, names, left_out="no true change")
    assert made.value() == 0.5
    assert made.how["left_out"] == {"why": "no true change", "conditions": ["C"]}


def test_a_resample_without_value_takes_the_interval_away():
    cells = np.array([1.0, 0.0, 0.0, 0.0])

    def of(weights):
        return np.where(weights[:, 0] > 0, weights @ cells / weights.sum(axis=1), np.nan)

    statistic = Statistic(of, n_cells=4, how={})
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 1]] * 20)
    made = measure(share, lambda: [statistic], weights=weights)
    assert (made.value, made.low, made.high) == (0.25, None, None)
    assert "no interval" in made.how


def test_a_rank_is_never_over_what_is_left():
    rows = [(f"block{i}", model, 0.1 * place, True, "") for i in range(6) for place, model in enumerate("abcd")]
    frame = pd.DataFrame(rows, columns=["block", "model", "value", "higher_is_better", "reason"])
    frame.loc[3, ["value", "reason"]] = [np.nan, "it gave no answer"]
    found = ranks(frame)
    assert found.ranks.notna().all(axis=None)
    assert any("it gave no answer" in why for why in found.left_out.values())


def test_no_mean_of_the_package_passes_over_what_has_no_value():
    root, found = Path(scfm_eval.__file__).parent, {}
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in DROPPING:
                found.setdefault(file.relative_to(root).as_posix(), set()).add(node.attr)
    assert {file: names for file, names in found.items() if names - JUSTIFIED.get(file, set())} == {}

"""Throughput: speed and phases in matrix products of the machine, by round."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from scfm_eval.results import ScoreRecord
from scfm_eval.tasks.throughput import Rounds, Throughput, scored, timed
from scfm_eval.timing import phase

EVENLY = np.full(5, 2.0)


def rounds(**changed):
    known = {"once": EVENLY, "twice": 2 * EVENLY, "product": EVENLY / 4, "n_cells": 8, "loads": (EVENLY, EVENLY / 8)}
    return Rounds(**known | {"phases": {"forward": EVENLY / 2}} | changed)


def test_phases_are_counted_in_matrix_products_of_their_round():
    scores = scored(rounds())
    assert scores["log2_load"].value == 3.0
    assert scores["log2_forward"].value == 1.0
    assert scores["growth"].value == 2.0
    assert scores["log2_speed"].value == 1.0
    assert not scores["log2_load"].higher_is_better
    assert scores["log2_load"].n_units == 5


def test_a_slower_machine_is_no_slower_model():
    slow = rounds(once=3 * EVENLY, product=0.75 * EVENLY, phases={"forward": 1.5 * EVENLY})
    assert scored(slow)["log2_forward"].value == pytest.approx(scored(rounds())["log2_forward"].value)


def test_a_phase_that_the_model_does_not_state_does_not_apply():
    absent: ScoreRecord = scored(rounds())["log2_tokenise"]
    assert absent.value is None
    assert not absent.applies
    assert "tokenise" in absent.reason


def test_a_phase_without_any_time_is_finite():
    assert np.isfinite(scored(rounds(phases={"forward": np.zeros(5)}))["log2_forward"].value)


def test_every_round_loads_anew_and_keeps_the_last_model():
    loads = []

    class Model:
        def embed(self, cells):
            with phase("tokenise"):
                return np.zeros((cells.n_obs, 2), dtype=np.float32)

    def load(fresh):
        loads.append(fresh)
        return Model()

    made = timed(load, AnnData(np.ones((8, 3), dtype=np.float32)), task=Throughput(n_cells=4, n_rounds=3))
    assert loads == [False, True, True, True, False]
    assert set(made.seconds()) == {"load", "tokenise"}
    assert all(len(values) == 3 for values in (made.once, made.twice, made.product, *made.loads))

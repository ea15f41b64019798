"""What the card says of numbers that are unusual."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

import scfm_eval
from scfm_eval.pretrain.card_text import card_text


@pytest.fixture
def facts():
    return json.loads((Path(scfm_eval.__file__).parent / "weights" / "scgpt-mini" / "pretraining.json").read_text())


def with_loss(facts, share):
    """Return facts whose loss on disk is a ``share`` of the unigram model's."""
    made = copy.deepcopy(facts)
    held_out = made["loss"]["held_out"]
    for one in (held_out["all"], *held_out["sources"].values()):
        one["float16"]["value"] = share * one["unigram"]
    return card_text(made)


def test_a_worse_model_is_called_worse(facts):
    assert "the loss is 25.0 % lower than that of the unigram model." in with_loss(facts, 0.75)
    worse = with_loss(facts, 1.25)
    assert "the loss is 25.0 % higher than that of the unigram model." in worse
    assert "| -25.0 % |" in worse


def test_no_share_is_said_of_no_error(facts):
    facts["loss"]["held_out"]["all"]["unigram"] = 0.0
    assert "the loss is no share of that of the unigram model" in card_text(facts)


def test_it_was_trained_on_the_cells_that_it_learned_from(facts):
    assert "trained on 22,533 cells" in card_text(facts)
    assert "of 11 sources: " in card_text(facts)


def test_one_is_not_many(facts):
    facts["data"]["sources"] = {"a\nb": {"training": 1, "held_out": 1}}
    facts["loss"].update(still_falling=False, best=len(facts["loss"]["curve"]) - 2)
    said = card_text(facts)
    for part in ("trained on 1 cell:", "of 1 source: a b.", "was 1 judgement earlier"):
        assert part in said


def test_every_place_is_named(facts):
    (place,) = facts["compute"]["places"]
    facts["compute"]["places"] = [place, {**place, "machine": "other", "threads": 2}]
    assert "then on `other` (2 cores, of which 2 used" in card_text(facts)

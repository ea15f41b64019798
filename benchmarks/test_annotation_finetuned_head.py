"""Fine-tuned annotation, head only: a linear head on the last layer, beside a probe of what ``embed`` gives."""

import pytest

from scfm_eval.tasks.finetuning import HeadAnnotation

task = HeadAnnotation()
pytestmark = pytest.mark.heavy


def test_gains_over_the_frozen_probe(result):
    assert result["macro_f1_gain_absolute"] > 0


def test_knows_more_than_hvg(result, hvg):
    assert result["macro_f1"] > hvg["macro_f1"]


def test_pretraining_helps(result):
    assert result["macro_f1"] > result["from_scratch_macro_f1"]


def test_has_not_regressed(result, reference):
    assert result["macro_f1"].has_not_regressed_from(reference["macro_f1"])

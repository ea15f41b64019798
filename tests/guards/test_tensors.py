"""No tensor of a checkpoint is skipped in silence, in any family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scfm_eval import guards
from scfm_eval.guards import GuardError
from scfm_eval.models import checkpoint
from tests.guards.families import FAMILIES, PARITY, altered

FAULTS = {
    "is missing": lambda tensors, name: tensors.pop(name),
    "is unexpected": lambda tensors, name: tensors.update({f"{name}_copy": tensors[name].clone()}),
    "has shape": lambda tensors, name: tensors.update({name: tensors[name][:, 1:].clone()}),
    "is of type": lambda tensors, name: tensors.update({name: tensors[name].int()}),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_checkpoint_as_it_is_is_no_false_alarm(name):
    assert FAMILIES[name].load(PARITY / FAMILIES[name].folder).loaded_share > 0.7


@pytest.mark.parametrize("said", FAULTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_fault_in_one_tensor_is_refused(name, said, tmp_path):
    family = FAMILIES[name]
    folder = altered(family, tmp_path, lambda tensors: FAULTS[said](tensors, family.matrix))
    with pytest.raises(GuardError, match=said) as told:
        family.load(folder)
    assert "--without-guard tensors" in told.value.remedy


@pytest.mark.parametrize("said", FAULTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_without_the_guard_what_fits_is_loaded_and_the_share_says_so(name, said, tmp_path):
    family = FAMILIES[name]
    folder = altered(family, tmp_path, lambda tensors: FAULTS[said](tensors, family.matrix))
    whole = family.load(PARITY / family.folder)
    with guards.without(["tensors"]):
        made = family.load(folder)
        assert np.isfinite(made.embed(family.cells())).all()
    assert made.loaded_share < whole.loaded_share <= 1
    same = made.n_parameters == whole.n_parameters
    assert same == (said == "is unexpected")


def test_the_share_counts_what_is_missing_and_what_is_left_over():
    good = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    assert checkpoint.loaded_share(nn.Linear(3, 2), good) == 1
    assert checkpoint.loaded_share(nn.Linear(3, 2), {"weight": good["weight"]}) == 1 / 2
    assert checkpoint.loaded_share(nn.Linear(3, 2), {**good, "more": good["bias"]}) == 2 / 3
    assert checkpoint.loaded_share(nn.Linear(3, 2), {"weight": torch.ones(3, 3), "other": good["bias"]}) == 0


def test_what_does_not_fit_stays_as_it_was_drawn():
    layer, drawn = nn.Linear(3, 2), nn.Linear(3, 2)
    layer.load_state_dict(drawn.state_dict())
    with guards.without(["tensors"]):
        assert checkpoint.load_strictly(layer, {"weight": torch.ones(9, 9), "bias": torch.ones(2)}) == 2
    assert torch.equal(layer.weight, drawn.weight)
    assert torch.equal(layer.bias, torch.ones(2))


def test_a_tied_tensor_that_is_absent_is_not_missing():
    module = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    tied = {"b.weight": "a.weight"}
    assert checkpoint.loaded_share(module, {"a.weight": torch.eye(2)}, tied=tied) == 1
    with pytest.raises(GuardError, match=r"b\.weight is missing"):
        checkpoint.load_strictly(module, {}, tied=tied)

"""One model at a time; batches shrink when memory runs out."""

from __future__ import annotations

import pytest
import torch

from scfm_eval.device import Resident, accepted, check_device, fitting, peak_memory
from scfm_eval.errors import InvalidInputError


class Plain:
    def __init__(self, *, seed: int = 0, device: str = "cpu") -> None:
        self.seed, self.device = seed, device


class Bare:
    pass


def test_a_held_model_is_not_loaded_again():
    resident = Resident(device="cpu", precision="float32")
    first = resident.load(Plain, name="plain", seed=1)
    assert resident.load(Plain, name="plain", seed=1) is first
    assert resident.loads == ["plain"]


def test_other_arguments_or_models_are_loaded_and_the_first_let_go():
    resident = Resident(device="cpu")
    first = resident.load(Plain, name="plain", seed=1)
    assert resident.load(Plain, name="plain", seed=2) is not first
    assert isinstance(resident.load(Bare, name="bare"), Bare)
    assert resident.loads == ["plain", "plain", "bare"]


def test_a_model_gets_the_arguments_that_it_names():
    offered = {"seed": 3, "device": "cpu", "precision": "float32"}
    assert accepted(Plain, offered) == {"seed": 3, "device": "cpu"}
    assert accepted(Bare, offered) == {}


def test_out_of_memory_halves_the_batch_until_it_fits():
    model = Plain()
    model.batch_size = 64

    def call():
        if model.batch_size > 10:
            raise torch.cuda.OutOfMemoryError("full")
        return model.batch_size

    assert fitting(model, call) == 8


def test_out_of_memory_with_one_cell_is_an_error():
    model = Plain()
    model.batch_size = 1
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fitting(model, lambda: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("full")))


def test_other_errors_are_not_swallowed():
    with pytest.raises(RuntimeError, match="shape"):
        fitting(Plain(), lambda: (_ for _ in ()).throw(RuntimeError("shape")))


def test_peak_memory_sees_what_is_freed_again():
    with peak_memory() as small:
        pass
    with peak_memory() as large:
        block = bytearray(b"x") * (300 * 2**20)
        torch.ones(64, 64)
        assert len(block) == 300 * 2**20
        import time

        time.sleep(0.2)
    assert large["host"] - small["host"] > 200 * 2**20
    assert large["device"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that must be missing")
def test_a_missing_device_is_refused():
    with pytest.raises(InvalidInputError, match="--device cpu"):
        check_device("cuda")

"""Options of a constructor from the command line: they reach the model, the report and the key in the store."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from scfm_eval.cells import Cells
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset
from scfm_eval.ensembles import ask
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.options import other_options, with_options
from scfm_eval.models.scgpt import ScGPTMini
from scfm_eval.provenance import adapter_sha256
from scfm_eval.store import Store


class Toy:
    """Multiplies."""

    name = "toy"
    text = "class"

    def __init__(self, *, seed: int = 0, factor: float = 1.0, text: str = "none", twice: bool = False) -> None:
        self.made = (seed, factor, text, twice)


def test_values_are_read_as_what_they_are():
    made = with_options(Toy, {"factor": "0.5", "text": "a=b", "twice": "true"})
    assert made().made == (0, 0.5, "a=b", True)
    assert made(seed=3, factor=2.0).made == (3, 2.0, "a=b", True)
    assert Toy().made == (0, 1.0, "none", False)
    assert made.text == "a=b"
    assert Toy.text == "class"


def test_the_signature_states_them_and_the_rest_stays():
    made = with_options(Toy, {"factor": "2"})
    assert inspect.signature(made).parameters["factor"].default == 2
    assert card(made) == card(Toy)
    assert adapter_sha256(made) == adapter_sha256(Toy)
    assert with_options(Toy, {}) is Toy


@pytest.mark.parametrize(
    ("options", "found"), [({"facto": "1"}, "no such option"), ({"seed": "1"}, "--seed is an option of the run")]
)
def test_what_the_constructor_does_not_have_is_refused(options, found):
    with pytest.raises(InvalidInputError, match=found) as caught:
        with_options(Toy, options)
    assert "factor, text, twice" in caught.value.remedy


def test_answers_with_other_options_are_others(tmp_path):
    dataset = find_dataset("pbmc68k_reduced")
    cells = Cells(dataset, dataset.load()[:20].copy())
    store, resident = Store(tmp_path), Resident()
    rows, parameters = [], []
    for options in ({}, {"pooling": "mean"}):
        model = with_options(ScGPTMini, options)
        answers, _ = ask(model, card(model), cells, store, resident, weights=None, member_weights=None)
        rows.append(answers.embed(seed=0))
        parameters.append(answers.parameters(0)["pooling"])
    assert parameters == ["cls", "mean"]
    assert not np.allclose(rows[0], rows[1])


def test_which_options_are_not_the_defaults_is_known():
    assert other_options(with_options(Toy, {"factor": "0.5", "twice": "false"})) == {"factor": 0.5}
    assert other_options(Toy) == {}
    heir = type("Heir", (with_options(Toy, {"factor": "0.5"}),), {})
    assert other_options(heir) == {}

"""Values of options that mean nothing are refused by every adapter, with those that mean something in the message."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import anndata as ad
import numpy as np
import pytest

from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.batching import Precision, Unread
from scfm_eval.models.options import require_flag, require_known, require_whole, with_options

PARITY = Path(__file__).parents[1] / "parity"
FOLDERS = {
    "geneformer": PARITY / "geneformer_v2",
    "geneformer-mini": None,
    "geneformer-untrained": None,
    "scgpt": PARITY / "scgpt",
    "scgpt-mini": None,
    "scgpt-untrained": None,
    "uce": PARITY / "uce",
    "langcell": PARITY / "langcell",
    "nicheformer": PARITY / "nicheformer",
    "scbert": PARITY / "scbert",
    "scimilarity": PARITY / "scimilarity",
    "scfoundation": PARITY / "scfoundation",
    "genept-w": PARITY / "genept",
    "genept-s": PARITY / "genept",
    "gene2vec": PARITY / "genept",
    "celltypist": PARITY,
    "scvi-reference": PARITY,
}
"""Where the weights are; what is refused before they are read needs none."""
TEXTS = {
    "geneformer": {"pooling": "mean, cls"},
    "geneformer-mini": {"pooling": "mean, cls"},
    "scgpt": {"pooling": "cls, mean", "binning": "midpoint, random"},
    "scgpt-mini": {"pooling": "cls, mean", "binning": "midpoint, random"},
    "uce": {"sampling": "cell, upstream", "padding": "masked, attended", "species": "human, mouse"},
    "langcell": {"pooling": "projection, cls, mean, mean_genes", "ranking": "exact, float32"},
    "nicheformer": {
        "means": "filled, rounded, raw",
        "pooling": "mean, padded_mean",
        "specie": "'human', 'mouse'",
        "modality": "'dissociated', 'spatial'",
        "assay": "'merfish', 'cosmx'",
        "technology": "men_mean_script.npy",
    },
    "scbert": {"pooling": "all, genes, max, last, expressed", "stabiliser": "cell, batch"},
    "scfoundation": {
        "pooling": "all, max",
        "version": "ce, rde",
        "input_type": "singlecell, bulk",
        "pre_normalized": "F, T, A",
        "bulk_target": "'median'",
        "tgthighres": "t4, f2.5 or a5",
    },
    "genept-w": {"divisor": "weights, genes", "total": "readable, all"},
    "gene2vec": {"divisor": "weights, genes", "total": "readable, all"},
    "celltypist": {"probabilities": "shares, each"},
}
SHARED = {"precision": ", ".join(get_args(Precision)), "unread": ", ".join(get_args(Unread))}
NUMBERS = ("batch_size", "layer", "seed", "max_length", "bin_num", "fewest_genes", "max_genes")
FLAGS = ("normalise", "filtering", "with_context", "unit")


def of(name, options):
    """The options of that kind which the constructor has."""
    return [option for option in options if option in inspect.signature(find_model(name)).parameters]


def refused(name, **options):
    with pytest.raises(InvalidInputError) as found:
        find_model(name)(**({"weights": FOLDERS[name]} if FOLDERS[name] else {}), **options)
    return found.value


CASES = [
    *((name, option, allowed) for name, options in TEXTS.items() for option, allowed in options.items()),
    *((name, option, SHARED[option]) for name in FOLDERS for option in of(name, SHARED)),
]


@pytest.mark.parametrize(("name", "option", "allowed"), CASES)
def test_a_text_without_meaning_is_refused(name, option, allowed):
    error = refused(name, **{option: "men"})
    assert allowed in str(error)
    assert "men" in str(error)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *((name, option, value) for name in FOLDERS for option in of(name, NUMBERS) for value in (1.5, "many", True)),
        *((name, "batch_size", value) for name in FOLDERS if of(name, ["batch_size"]) for value in (0, -1)),
    ],
)
def test_a_number_that_is_not_whole_is_refused(name, option, value):
    error = refused(name, **{option: value})
    assert error.remedy.startswith("give a whole number")
    assert f"{option} {value!r}" in error.asked


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in FOLDERS for option in of(name, FLAGS)])
def test_what_is_neither_true_nor_false_is_refused(name, option):
    assert refused(name, **{option: "no"}).remedy == "give true or false"


@pytest.mark.parametrize("options", [{"tgthighres": 4}, {"bulk_target": float("inf")}, {"bulk_target": -1}])
def test_numbers_of_scfoundation(options):
    assert refused("scfoundation", **options).found == "an option without meaning"


@pytest.mark.parametrize("temperature", [0, -1.0, "warm", float("inf")])
def test_a_temperature_is_a_number_above_0(temperature):
    assert "no number above 0" in refused("langcell", temperature=temperature).found


def test_a_stabiliser_of_genes_in_cells_is_known():
    cells = ad.read_h5ad(PARITY / "scfoundation" / "cells.h5ad")
    model = find_model("scfoundation")(weights=FOLDERS["scfoundation"])
    with pytest.raises(InvalidInputError, match="cell, batch"):
        model.embed_genes_in_cells(cells, stabiliser="men")


def test_those_of_the_command_line_are_refused_too():
    with pytest.raises(InvalidInputError, match="give one of cls, mean"):
        with_options(find_model("scgpt-mini"), {"pooling": "men"})()


def test_every_choice_between_texts_is_tried():
    """An option whose type names its values is in these lists, for each adapter."""
    for name in FOLDERS:
        texts = {
            option
            for option, about in inspect.signature(find_model(name)).parameters.items()
            if str(about.annotation)[0].isupper() or "Literal" in str(about.annotation)
        }
        assert texts <= {*TEXTS.get(name, {}), *SHARED}


def test_what_means_something_passes():
    require_known("pooling", "cls", known=("cls", "mean"))
    require_flag("unit", True)
    for value in (3, np.int64(3)):
        require_whole("layer", value, least=3)
    require_whole("layer", -4)

"""Weights are found where they should be, and a damaged or hostile file is refused, not executed."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.pickles import Inert


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_plain_pickles_are_read(tmp_path, protocol):
    content = {"g": 1, "n": np.int16(3), "f": np.float64(0.5), "a": np.arange(3), "o": OrderedDict(b=[None, (1, "x")])}
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = checkpoint.read_pickle(tmp_path / "p.pkl")
    np.testing.assert_array_equal(read.pop("a"), content.pop("a"))
    assert read == content


def test_json_is_read_in_its_place(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"g": 1}))
    assert checkpoint.read_dictionary(tmp_path / "p.json") == {"g": 1}
    (tmp_path / "p.json").write_text("[1]")
    with pytest.raises(InvalidInputError, match="list"):
        checkpoint.read_dictionary(tmp_path / "p.json")


@pytest.mark.parametrize("strange", ["x", None, 1.0, True, -1, 3, 10**9, [0]])
def test_token_ids_are_whole_and_in_range(tmp_path, strange):
    (tmp_path / "t.json").write_text(json.dumps({"a": 0, "b": strange, "c": 2}))
    with pytest.raises(InvalidInputError, match=r"from 0 to 2[\s\S]*'b'"):
        checkpoint.read_tokens(tmp_path / "t.json")


def test_token_ids_are_of_one_name_each(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"a": 1, "b": np.int16(0), "c": 2}))
    assert checkpoint.read_tokens(tmp_path / "t.pkl") == {"a": 1, "b": 0, "c": 2}
    (tmp_path / "t.json").write_text(json.dumps({"a": 0, "b": 2, "c": 2}))
    with pytest.raises(InvalidInputError, match="several names"):
        checkpoint.read_tokens(tmp_path / "t.json")


@pytest.mark.parametrize("strange", [None, "x", 0, -1, 2.0, True])
def test_sizes_are_whole_numbers_of_one_or_more(tmp_path, strange):
    checkpoint.require_sizes({"a": 1, "b": np.int64(2)}, "ab", path=tmp_path)
    with pytest.raises(InvalidInputError, match=f"b {strange!r}"):
        checkpoint.require_sizes({"a": 1, "b": strange}, "ab", path=tmp_path)


def test_a_hostile_pickle_is_not_executed(tmp_path):
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"g": Hostile(tmp_path / "touched")}))
    with pytest.raises(InvalidInputError, match=r"posix\.mkdir|nt\.mkdir"):
        checkpoint.read_pickle(tmp_path / "p.pkl")
    assert not (tmp_path / "touched").exists()


def test_a_hostile_state_dict_is_not_executed(tmp_path):
    torch.save({"w": Hostile(tmp_path / "touched")}, tmp_path / "m.pt")
    with pytest.raises(InvalidInputError, match="nothing of it was executed"):
        checkpoint.read_tensors(tmp_path / "m.pt")
    assert not (tmp_path / "touched").exists()


class Shaped(Hostile):
    """Fills itself from code of its own when it is unpickled."""

    def __reduce__(self):
        return Shaped, (self.touched,), {"width": 3}

    def __setstate__(self, state) -> None:
        self.touched.mkdir()


@pytest.mark.parametrize("protocol", [2, 5])
def test_objects_of_named_classes_stay_inert(tmp_path, protocol):
    content = {"o": Shaped(tmp_path / "touched").touched.name, "s": Shaped(tmp_path / "touched"), "a": np.arange(2)}
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    inert = (r".*\.Shaped", r"pathlib\..*")
    made = checkpoint.read_pickle(tmp_path / "p.pkl", inert=inert)
    assert isinstance(made["s"], Inert)
    assert made["s"].state == {"width": 3}
    assert isinstance(made["s"].arguments[0], Inert)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(InvalidInputError, match="Shaped"):
        checkpoint.read_pickle(tmp_path / "p.pkl", inert=(r"pathlib\..*", "Shaped"))


def test_objects_in_a_torch_file_stay_inert(tmp_path):
    frame = pd.DataFrame({"x": [1.0], "y": ["a"]}, index=pd.Index(["i"]))
    content = {"f": frame, "n": np.array(["g", "h"], dtype=object), "d": defaultdict(dict, k=1), "t": torch.ones(2)}
    torch.save(content, tmp_path / "m.pt")
    made = checkpoint.read_checkpoint(tmp_path / "m.pt", inert=(r"pandas\..*", r"builtins\.slice"))
    assert isinstance(made["f"], Inert)
    assert made["n"].tolist() == ["g", "h"]
    assert made["d"] == {"k": 1}
    assert torch.equal(made["t"], torch.ones(2))
    torch.save({**content, "h": Hostile(tmp_path / "touched")}, tmp_path / "m.pt")
    with pytest.raises(InvalidInputError, match=r"mkdir; nothing of it was executed"):
        checkpoint.read_checkpoint(tmp_path / "m.pt", inert=(r"pandas\..*", r"builtins\.slice"))
    assert not (tmp_path / "touched").exists()
    # what was let in for one file is not let in for the next
    torch.save({"n": content["n"]}, tmp_path / "n.pt")
    with pytest.raises(InvalidInputError, match="nothing of it was executed"):
        checkpoint.read_checkpoint(tmp_path / "n.pt")


@pytest.mark.parametrize("keep", [0, 1, 10, 40])
def test_cut_files_are_refused(tmp_path, keep):
    torch.save({"w": torch.ones(50)}, tmp_path / "m.pt")
    save_file({"w": torch.ones(50)}, tmp_path / "m.safetensors")
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(dict.fromkeys(map(str, range(50)), 1.0)))
    readers = {
        "m.pt": checkpoint.read_tensors,
        "m.safetensors": checkpoint.read_tensors,
        "m.pkl": checkpoint.read_pickle,
    }
    for file, read in readers.items():
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content[:keep])
        with pytest.raises(InvalidInputError, match=file):
            read(tmp_path / file)


def test_a_nested_state_dict_is_refused(tmp_path):
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "m.pt")
    with pytest.raises(InvalidInputError, match="state_dict"):
        checkpoint.read_tensors(tmp_path / "m.pt")


def test_every_tensor_has_to_fit():
    module, good = nn.Linear(3, 2), {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    assert checkpoint.load_strictly(module, good) == 8
    assert (module.weight == 1).all()
    faults = {
        "bias is missing": {"weight": good["weight"]},
        "extra.w is unexpected": {**good, "extra.w": torch.ones(1)},
        r"weight has shape \(3, 3\), not \(2, 3\)": {**good, "weight": torch.ones(3, 3)},
    }
    for said, tensors in faults.items():
        with pytest.raises(InvalidInputError, match=said):
            checkpoint.load_strictly(module, tensors)


def test_ignored_names_are_matched_whole():
    good = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "head.w": torch.ones(1)}
    assert checkpoint.load_strictly(nn.Linear(3, 2), good, ignored=(r"head\..*",)) == 8
    with pytest.raises(InvalidInputError, match=r"head\.w is unexpected"):
        checkpoint.load_strictly(nn.Linear(3, 2), good, ignored=("head",))


def test_tied_tensors_may_be_absent_but_never_differ():
    module = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    tied = {"b.weight": "a.weight"}
    assert checkpoint.load_strictly(module, {"a.weight": torch.eye(2)}, tied=tied) == 4
    assert torch.equal(module["b"].weight, torch.eye(2))
    with pytest.raises(InvalidInputError, match=r"b\.weight differs from a\.weight"):
        checkpoint.load_strictly(module, {"a.weight": torch.eye(2), "b.weight": torch.ones(2, 2)}, tied=tied)


def test_two_tensors_of_one_meaning_are_refused():
    with pytest.raises(InvalidInputError, match="b twice"):
        checkpoint.renamed({"a": torch.ones(1), "b": torch.ones(1)}, [("^a$", "b")])


def test_sha256_is_of_the_listing(tmp_path):
    (tmp_path / "b").write_bytes(b"abc")
    (tmp_path / "a").write_bytes(b"")
    import hashlib

    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    expected = hashlib.sha256(f"{empty}  a\n{abc}  b\n".encode()).hexdigest()
    assert checkpoint.weights_sha256([tmp_path / "b", tmp_path / "a"]) == expected


def test_a_name_that_stands_twice_in_a_dictionary_is_refused(tmp_path):
    (tmp_path / "d.json").write_text('{"A": 1, "A": 2}')
    with pytest.raises(InvalidInputError, match="twice"):
        checkpoint.read_dictionary(tmp_path / "d.json")


@pytest.mark.parametrize("kind", [torch.int32, torch.complex64])
def test_weights_of_another_kind_are_not_cast(kind):
    layer = nn.Linear(2, 1)
    tensors = {"weight": torch.ones(1, 2, dtype=kind), "bias": torch.zeros(1)}
    with pytest.raises(InvalidInputError, match=f"weight is of type {kind}"):
        checkpoint.load_strictly(layer, tensors)


def test_buffers_are_no_parameters():
    norm = nn.BatchNorm1d(3)
    assert checkpoint.load_strictly(norm, nn.BatchNorm1d(3).state_dict()) == 6


@pytest.mark.parametrize("content", [{1: torch.ones(1)}, {"w": torch.ones(2, 2).to_sparse()}])
def test_a_state_dict_has_names_and_dense_tensors(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InvalidInputError):
        checkpoint.read_tensors(tmp_path / "w.pt")


def test_settings_of_another_size_are_refused_before_such_a_network_is_made():
    made = []

    def build():
        layer = nn.Linear(2_000_000, 2_000_000)
        made.append(layer.weight.device.type)
        return layer

    with pytest.raises(InvalidInputError, match="has shape"):
        checkpoint.loaded(build, nn.Linear(2, 2).state_dict(), files=[], settings="absurd settings")
    assert made == ["meta"]


@pytest.mark.parametrize(("name", "value"), [("width", 10**12), ("num_hidden_layers", 10**6), ("depth", 2000)])
def test_sizes_beyond_reason_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=name):
        checkpoint.require_sizes({name: value}, [name], path=Path("settings.json"))

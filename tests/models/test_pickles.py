"""Arrays out of pickles take no more memory than the file has, and read none that is not theirs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import read_checkpoint, read_pickle, read_tokens


class Made:
    """Is pickled as whatever it is told to be."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def _array(state):
    return Made(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state)


HOSTILE = {
    "an array of a size that is not there": Made(np.ndarray, ((10**9,),)),
    "bytes of a size": Made(bytes, (10**10,)),
    "numbers that are not there": _array((1, (10**9,), np.dtype("f8"), False, b"")),
    "objects that are not there": _array((1, (10**9,), np.dtype("O"), False, [None])),
    "bytes as objects": _array((1, (2,), np.dtype("O"), False, b"A" * 16)),
    "text of no letters without an end": _array((1, (10**18,), np.dtype("V0"), False, b"")),
    "a negative shape": _array((1, (-1, -1), np.dtype("u1"), False, b"a")),
    "a type with parts": np.zeros(2, dtype=[("a", "f8")]),
    "a type whose parts lie outside": _array(
        (1, (1,), Made(np.dtype, ("V1", 0, 1), (3, "|", None, ("a",), {"a": (np.dtype("f8"), 9)}, 1, 1, 0)), 0, b"a")
    ),
    "an object as a number": Made(np._core.multiarray.scalar, (np.dtype("O"), b"A" * 8)),
    "a large number of zeros": Made(np._core.multiarray.scalar, (np.dtype("V1000000000"),)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_hostile_array_is_refused(tmp_path, name, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": HOSTILE[name]}, protocol))
    try:
        read = read_pickle(tmp_path / "a.pkl")["a"]
    except InvalidInputError:
        return
    assert name == "an array of a size that is not there"
    assert read.size == 0


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_all_plain_kinds_are_read(tmp_path, protocol):
    content = [np.arange(6).reshape(2, 3).astype(kind) for kind in ("i1", ">i8", "<f4", "f2", "u2", "?", "c8")]
    content += [
        np.asfortranarray(content[0]),
        np.array(["ü", "b"]),
        np.array([b"a", b"bc"]),
        np.array(3.0),
        np.zeros((0, 3)),
    ]
    content += [np.array(["a", None, np.ones(2)], dtype=object)]
    (tmp_path / "a.pkl").write_bytes(
        pickle.dumps({"all": content, "scalar": np.float32(1.5), "text": np.str_("x")}, protocol)
    )
    made = read_pickle(tmp_path / "a.pkl")
    assert made["scalar"] == np.float32(1.5)
    assert made["text"] == "x"
    for read, wanted in zip(made["all"][:-1], content[:-1], strict=True):
        assert type(read) is np.ndarray
        assert read.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read, wanted)
    assert type(made["all"][-1][2]) is np.ndarray


def test_a_dictionary_of_torch_cannot_hide_its_methods(tmp_path):
    made = torch.nn.Linear(2, 2).state_dict()
    made.keys = 5
    torch.save(made, tmp_path / "a.pt")
    assert list(read_checkpoint(tmp_path / "a.pt").keys())


def test_values_that_repeat_without_an_end_are_not_told(tmp_path):
    value = ["x"]
    for _ in range(50):
        value = [value, value]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": value}))
    with pytest.raises(InvalidInputError, match="too much memory"):
        read_tokens(tmp_path / "a.pkl")

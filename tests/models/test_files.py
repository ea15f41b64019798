"""What is written is whole, and what cannot be read or written is told in one way."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.files import refusing, resumed, written_whole


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def written_until(path, error):
    with written_whole(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise error


def failed(path, error):
    with pytest.raises(InvalidInputError) as refused:
        written_until(path, error)
    assert not list(path.parent.glob(".*"))
    return refused.value


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("basic_ios::clear")])
def test_a_full_disk_is_told_with_what_is_free(tmp_path, error):
    told = failed(tmp_path / "file", error)
    assert "basic_ios" not in told.found
    assert "bytes are free" in told.found
    assert told.remedy.startswith("free some disk space")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_place_that_takes_no_file_is_told_as_such(tmp_path, code):
    told = failed(tmp_path / "file", OSError(code, os.strerror(code)))
    assert told.found == os.strerror(code)
    assert told.remedy.startswith("give a folder")


def test_an_earlier_version_is_spoken_of_only_where_there_is_one(tmp_path):
    path, error = tmp_path / "file", RuntimeError("torn")
    assert "unharmed" not in failed(path, error).remedy
    path.write_text("before")
    assert "unharmed" in failed(path, error).remedy
    assert path.read_text() == "before"


def test_whatever_is_raised_is_one_refusal_in_one_line():
    with pytest.raises(InvalidInputError) as refused, refusing(asked="this", remedy="that"):
        raise KeyError("first\nsecond " + 300 * "x ")
    assert refused.value.found.startswith("KeyError: ")
    assert len(refused.value.found) < 300
    assert "\n" not in refused.value.found
    own = InvalidInputError(asked="a", found="b", remedy="c")
    with pytest.raises(InvalidInputError) as refused, refusing(asked="this", remedy="that"):
        raise own
    assert refused.value is own


def test_a_state_is_given_to_the_block_that_takes_it_up(tmp_path):
    torch.save({"step": 3}, tmp_path / "state.pt")
    with resumed(tmp_path / "state.pt") as state:
        assert state["step"] == 3
    with (
        pytest.raises(InvalidInputError, match=r"damaged or foreign[\s\S]*delete state.pt"),
        resumed(tmp_path / "state.pt") as state,
    ):
        state["curve"]
    torch.save({"step": Hostile(tmp_path / "touched")}, tmp_path / "state.pt")
    with pytest.raises(InvalidInputError, match="nothing of it was executed"), resumed(tmp_path / "state.pt"):
        pass
    assert not (tmp_path / "touched").exists()

"""A file is there whole or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from scfm_eval.atomic import replacing
from scfm_eval.commands.written import refusing, written
from scfm_eval.errors import InvalidInputError


def test_a_file_takes_its_place_when_all_is_written(tmp_path):
    path = tmp_path / "new" / "folder" / "a.csv"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".csv"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def broken(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        broken(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to_and_stays_one():
    with replacing(Path("/dev/null")) as temporary:
        temporary.write_text("gone")
    assert Path("/dev/null").is_char_device()


def test_text_and_bytes_are_written(tmp_path):
    assert written(tmp_path / "a", "ä").read_bytes() == "ä".encode()
    assert written(tmp_path / "a", b"b").read_bytes() == b"b"


@pytest.mark.parametrize("place", ["{folder}", "{folder}/file/x", "/proc/nope/x"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="name a file in a folder that can be written to"):
        written(Path(place.format(folder=tmp_path)), "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_the_system_is_refused():
    with pytest.raises(ValueError, match="own fault"), refusing(Path("x")):
        raise ValueError("own fault")

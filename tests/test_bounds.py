"""Only ordinary files are read, and only what there is room for."""

from __future__ import annotations

import gzip
import json
import os
import time
import zipfile

import pytest

from scfm_eval import bounds
from scfm_eval.errors import InvalidInputError
from scfm_eval.printable import printable


def test_links_to_files_are_ordinary_and_what_never_ends_is_not(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    assert bounds.read_text(tmp_path / "link") == "x"
    for path, said in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder")):
        with pytest.raises(InvalidInputError, match=said):
            bounds.read_bytes(path)
    with pytest.raises(FileNotFoundError):
        bounds.read_bytes(tmp_path / "absent")


def test_a_device_is_no_file():
    from pathlib import Path

    with pytest.raises(InvalidInputError, match="a device"):
        bounds.read_bytes(Path("/dev/zero"))


def test_a_file_has_to_have_room(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes(100))
    monkeypatch.setattr(bounds, "room", lambda: 1000)
    assert len(bounds.read_bytes(tmp_path / "a", grows=10)) == 100
    with pytest.raises(InvalidInputError, match="1,100 bytes once unpacked, where 1,000"):
        bounds.read_bytes(tmp_path / "a", grows=11)


def test_what_gzip_compressed_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "FREELY", 10_000)
    assert bounds.inflated(gzip.compress(bytes(9_000)), path=tmp_path) == bytes(9_000)
    with pytest.raises(InvalidInputError, match="are allowed"):
        bounds.inflated(gzip.compress(bytes(10**6)), path=tmp_path)


def test_a_zip_may_unpack_to_a_lot_but_not_to_more_than_it_has_a_reason_to(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in "ab":
            packed.writestr(name, bytes(10**6))
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        bounds.require_small_members(packed, path=tmp_path / "a.zip")
        monkeypatch.setattr(bounds, "FREELY", 10**6)
        with pytest.raises(InvalidInputError, match="2,000,000 bytes"):
            bounds.require_small_members(packed, path=tmp_path / "a.zip")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "[" * 10**6, '["\\ud800"]', '{"\\udfff": 1}', "1" * 5000, '{"a": ', ""]
)
def test_strange_json_is_no_json(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    began = time.monotonic()
    with pytest.raises(ValueError):  # noqa: PT011 each has words of its own
        bounds.read_json(tmp_path / "a.json")
    assert time.monotonic() - began < 5


def test_whole_letters_that_json_writes_in_halves_are_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"🧬": "\\ud800"}))
    assert bounds.read_json(tmp_path / "a.json") == {"🧬": "\\ud800"}


def test_nothing_in_a_message_moves_the_cursor():
    assert printable("heart 🧬\n\tü") == "heart 🧬\n\tü"
    assert printable("\x1b[31m\x07\r\x9b\u202e\ud800\x7f") == "␛[31m␇␍\ufffd\ufffd\ufffd␡"
    error = InvalidInputError(asked="\x1b]0;a", found="\x9b", remedy="\u202e")
    assert str(error).isprintable() or str(error).replace("\n", "").isprintable()

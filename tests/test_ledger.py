"""The ledger: what is torn or changed in it stands for nothing, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.ledger import Kept, Ledger, require_same_run
from tests.reliability.same_report import differences
from tests.reliability.suites import Suite

RUN = {"python": "3.11", "source of scfm_eval": "a" * 64, "weights of mine": None}
TESTS = [
    {"test": "a", "error": False, "reports": [{"duration": 0.1 + 0.2, "longrepr": ["é\n", float("inf"), None]}]},
    {"test": "b", "error": True, "reports": []},
]


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "out.json")
    made.begin(RUN)
    for test in TESTS:
        made.append(test)
    return made


def test_it_lies_beside_the_report(ledger, tmp_path):
    assert ledger.path == tmp_path / "out.ledger.jsonl"


def test_what_was_written_is_read(ledger):
    ledger.append({"resumed": 1})
    kept = ledger.read()
    assert kept == Kept(RUN, {test["test"]: test for test in TESTS}, resumed=1)


def test_there_is_nothing_in_none(tmp_path):
    assert Ledger(tmp_path / "out.json").read() == Kept()


def test_the_last_record_of_a_test_stands(ledger):
    again = {"test": "b", "error": False, "reports": []}
    ledger.append(again)
    assert ledger.read().tests["b"] == again


def test_a_new_run_takes_the_place_of_the_earlier_one(ledger):
    ledger.begin({"python": "3.12"})
    assert ledger.read() == Kept({"python": "3.12"})


def test_a_ledger_that_is_torn_at_any_byte_keeps_what_was_whole_and_takes_more(ledger, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    whole = ledger.path.read_bytes()
    for end in range(len(whole) + 1):
        ledger.path.write_bytes(whole[:end])
        # the last byte of a line is its end, without which it says the same
        n_whole = sum(len(whole[:end] + b"\n") > place for place, byte in enumerate(whole) if byte == 10)
        kept = ledger.read()
        assert (kept.run is not None) == (n_whole > 0)
        assert list(kept.tests) == ["a", "b"][: max(n_whole - 1, 0)]
        assert kept.damaged == (end > 0 and whole[:end] not in _whole_heads(whole))
        ledger.append({"test": "c", "error": False, "reports": []})
        assert "c" in ledger.read().tests


def _whole_heads(whole):
    ends = [place for place, byte in enumerate(whole) if byte == 10]
    return {whole[:end] for end in ends} | {whole[: end + 1] for end in ends}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Bytes of a ledger."""
    made = Ledger(tmp_path_factory.mktemp("whole") / "out.json")
    made.begin(RUN)
    for test in TESTS:
        made.append(test)
    return made.path.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_is_never_taken_for_a_record(content, tmp_path_factory, place, bits):
    ledger = Ledger(tmp_path_factory.getbasetemp() / "flipped.json")
    flipped = bytearray(content)
    flipped[int(place * len(flipped))] ^= bits
    ledger.path.write_bytes(bytes(flipped))
    kept = ledger.read()
    assert kept.run in (RUN, None)
    assert kept.tests.items() <= {test["test"]: test for test in TESTS}.items()


@given(content=st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_as_damage(tmp_path_factory, content):
    ledger = Ledger(tmp_path_factory.getbasetemp() / "bytes.json")
    ledger.path.write_bytes(content)
    assert ledger.read() == Kept(damaged=sum(bool(line) for line in content.split(b"\n")))


def test_only_the_first_line_says_what_the_run_is(ledger):
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(b"#" + content)
    ledger.append({"run": RUN})
    assert ledger.read().run is None


def test_deep_nesting_is_damage(ledger):
    with ledger.path.open("ab") as file:
        file.write(b"[" * 100_000 + b"\n")
    assert ledger.read().damaged == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_full_disk_is_an_error_that_leaves_what_was_written(ledger):
    other = Ledger(ledger.path.parent / "full.json")
    other.path.symlink_to("/dev/full")
    for write in (other.begin, other.append):
        with pytest.raises(OSError, match="No space"):
            write({"test": "a"})


def test_one_that_cannot_be_read_is_refused(tmp_path):
    ledger = Ledger(tmp_path / "out.json")
    ledger.path.mkdir()
    with pytest.raises(InvalidInputError, match="directory"):
        ledger.read()


def test_what_is_no_json_is_not_written(ledger):
    before = ledger.path.read_bytes()
    with pytest.raises(TypeError):
        ledger.append({"test": object()})
    assert ledger.path.read_bytes() == before


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path):
    path = tmp_path / "out.json"
    code = f"import pathlib, scfm_eval.ledger as l\nkept = l.Ledger(pathlib.Path({str(path)!r}))\nkept.lock()\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "print('locked', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"locked\n"
    ledger = Ledger(path)
    with pytest.raises(InvalidInputError, match="another run that is writing it"):
        ledger.lock()
    holder.kill()
    holder.communicate()
    ledger.lock()
    ledger.unlock()


def test_another_run_is_refused_by_what_differs(ledger):
    require_same_run(RUN, dict(RUN), ledger=ledger.path)
    require_same_run(RUN | {"weights of mine": "b"}, RUN, ledger=ledger.path)
    with pytest.raises(InvalidInputError, match=r"python is 3\.12 and was 3\.11; seeds is 2 and was absent") as refused:
        require_same_run(RUN | {"python": "3.12", "seeds": 2}, RUN, ledger=ledger.path)
    assert "scfm_eval" not in refused.value.found
    with pytest.raises(InvalidInputError, match="source of scfm_eval is bbbbbbbb… and was aaaaaaaa…"):
        require_same_run(RUN | {"source of scfm_eval": "b" * 64}, RUN, ledger=ledger.path)


def test_a_run_that_was_killed_while_it_wrote_goes_on_and_reports_the_same(tmp_path):
    suite = Suite.made(tmp_path / "suite")
    whole = suite.uninterrupted()
    suite.kill_at("ledger", 3)
    assert suite.run()[0] == -9
    assert not (suite.folder / "out.json").exists()
    n_before = suite.n_embedded()
    code, said = suite.run("--resume")
    assert code == 1, said
    assert "1 damaged line(s)" in said
    assert differences(whole, suite.report) == []
    assert suite.report.resumed == 1
    assert suite.n_embedded() == n_before

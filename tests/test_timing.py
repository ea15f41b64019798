"""Phases add up, and none counts the time of another."""

from __future__ import annotations

import contextlib

import pytest

from scfm_eval import timing


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing, "_now", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


def test_an_outer_phase_does_not_count_the_inner_one(clock):
    with timing.recording() as seconds, timing.phase("forward"):
        clock(1)
        with timing.phase("tokenise"):
            clock(10)
        clock(2)
    assert seconds == {"forward": 3, "tokenise": 10}


def test_equal_phases_add_up(clock):
    with timing.recording() as seconds:
        for _ in range(3):
            with timing.phase("forward"):
                clock(2)
    assert seconds == {"forward": 6}


def test_an_outer_recording_stands_still_meanwhile(clock):
    with timing.recording() as outer, timing.phase("score"):
        clock(1)
        with timing.recording() as inner, timing.phase("forward"):
            clock(5)
        clock(1)
    assert (outer, inner) == ({"score": 2}, {"forward": 5})


def test_a_failing_phase_is_still_counted(clock):
    with timing.recording() as seconds:
        with contextlib.suppress(ZeroDivisionError), timing.phase("forward"):
            clock(4)
            raise ZeroDivisionError
        clock(8)
    assert seconds == {"forward": 4}


def test_what_another_process_measured_is_taken_out_of_the_waiting_for_it(clock):
    with timing.recording() as seconds, timing.phase("forward"):
        clock(10)
        timing.take_over({"tokenise": 3, "forward": 5})
        clock(1)
    assert seconds == {"forward": 8, "tokenise": 3}


def test_no_phase_is_ever_shorter_than_nothing(clock):
    with timing.recording() as seconds, timing.phase("load"):
        clock(1)
        timing.take_over({"tokenise": 3})
    assert seconds == {"load": 0, "tokenise": 3}
    timing.take_over({"tokenise": 3})


def test_nothing_is_kept_outside_of_a_recording():
    with timing.phase("load"):
        pass
    with timing.recording() as seconds:
        pass
    assert seconds == {}

"""Throughput: cost should grow with the cells and no faster, and should not creep up on the same kind of machine."""

from scfm_eval.tasks.throughput import Throughput

task = Throughput()


def test_twice_the_cells_take_at_most_three_times_as_long(throughput):
    assert throughput["growth"] <= 3.0


def test_has_not_halved_its_speed(throughput, reference_on_this_machine):
    assert throughput["log2_speed"].has_not_regressed_from(reference_on_this_machine["log2_speed"] - 1)

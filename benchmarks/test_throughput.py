"""Throughput: cost should grow with the cells and no faster, and should not creep up on the same kind of machine.

Speed and phases are in matrix products of the machine, on a scale of doublings: a tolerance of 1 is a factor of two.
"""

from scfm_eval.tasks.throughput import Throughput

task = Throughput()


def test_twice_the_cells_take_at_most_three_times_as_long(throughput):
    assert throughput["growth"] <= 3.0


def test_has_not_halved_its_speed(throughput, reference_on_this_machine):
    assert throughput["log2_speed"].has_not_regressed_from(reference_on_this_machine["log2_speed"] - 1)


def test_loads_within_twice_the_time(throughput, reference_on_this_machine):
    assert throughput["log2_load"].has_not_regressed_from(reference_on_this_machine["log2_load"] + 1)


def test_tokenises_within_twice_the_time(throughput, reference_on_this_machine):
    assert throughput["log2_tokenise"].has_not_regressed_from(reference_on_this_machine["log2_tokenise"] + 1)


def test_runs_forward_within_twice_the_time(throughput, reference_on_this_machine):
    assert throughput["log2_forward"].has_not_regressed_from(reference_on_this_machine["log2_forward"] + 1)

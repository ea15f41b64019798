"""Ranks over tasks: Demšar's worked example, who is left out and why, and what ranks do not depend on."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scfm_eval.__main__ import main
from scfm_eval.ranking import duels, friedman, nemenyi_difference, ranked, ranks
from scfm_eval.report import write_report
from tests.made_reports import STEADY, report, result, score

# Demšar 2006, table 6: AUC of C4.5 with and without tuned m and cf; of voting, rounding hides that the third is ahead
DEMSAR = """
    .763 .768 .771 .798   .599 .591 .590 .569   .954 .971 .968 .967   .628 .661 .654 .657   .882 .888 .886 .898
    .936 .931 .916 .931   .661 .668 .609 .685   .583 .583 .563 .625   .775 .838 .866 .875   1 1 1 1
    .940 .962 .965 .962   .619 .666 .614 .669   .972 .981 .9751 .975   .957 .978 .946 .970
"""


OUTCOMES = ["wins", "ties", "losses", "better_by_value", "worse_by_value"]


def frame(values, *, higher_is_better=True, reason=""):
    """Blocks in rows, models a, b, c … in columns."""
    return pd.DataFrame(
        [
            (f"block {row}", chr(ord("a") + column), value, higher_is_better, reason)
            for row, block in enumerate(values)
            for column, value in enumerate(block)
        ],
        columns=["block", "model", "value", "higher_is_better", "reason"],
    )


def test_the_worked_example():
    found = ranks(frame(np.array(DEMSAR.split(), dtype=float).reshape(14, 4)))
    assert found.average.to_dict() == pytest.approx({"d": 27.5 / 14, "b": 2.0, "c": 40.5 / 14, "a": 44 / 14})
    # 9.28 as published, over 1 - 78 / 840 for its ties: two of two, two of two, four of four, two of two
    assert found.friedman_p == pytest.approx(stats.chi2.sf(9.2785714 / (1 - 78 / 840), df=3), rel=1e-5)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.groups == (("d", "b", "c", "a"),)


@pytest.mark.parametrize(("n_models", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_published_critical_values(n_models, q):
    spread = math.sqrt(n_models * (n_models + 1) / (6 * 30))
    assert nemenyi_difference(n_models=n_models, n_blocks=30) / spread == pytest.approx(q, abs=0.001)


def test_groups_overlap_and_end_where_the_difference_is_critical():
    # 20 blocks in one order: ranks 1 to 5, critical difference 1.364
    found = ranks(frame([[5, 4, 3, 2, 1]] * 20))
    assert found.average.tolist() == [1, 2, 3, 4, 5]
    assert found.groups == (("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"))
    assert found.share_won.tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert found.firsts.tolist() == [1, 0, 0, 0, 0]


def test_a_shared_first_place_is_shared():
    found = ranks(frame([[2, 2, 1], [3, 2, 1]]))
    assert found.average.to_dict() == {"a": 1.25, "b": 1.75, "c": 3.0}
    assert found.firsts.to_dict() == {"a": 0.75, "b": 0.25, "c": 0.0}


def test_models_that_are_tied_everywhere_have_no_p_and_one_group():
    found = ranks(frame([[1, 1, 1]] * 4))
    assert math.isnan(found.friedman_p)
    assert found.groups == (("a", "b", "c"),)


def test_groups_are_all_models_where_the_test_does_not_reject():
    # the first and the last are further apart than is critical, but the eight between them have no order
    middle = list(range(2, 10))
    found = ranks(frame([[10, *order, 1] for order in (middle, middle[::-1], middle)]))
    assert found.average["j"] - found.average["a"] == 9 > found.critical_difference
    assert found.friedman_p > 0.05
    assert [len(group) for group in found.groups] == [10]


def test_less_is_better_where_it_is():
    assert ranks(frame([[3, 2, 1]] * 3, higher_is_better=False)).average.index[0] == "c"


def test_undefined_is_left_out_and_never_last():
    found = ranks(frame([[4, 3, 2, None]] + [[4, 3, 2, math.nan]] * 2 + [[4, 3, 2, 1]], reason="one batch only"))
    assert list(found.average.index) == ["a", "b", "c"]
    assert found.left_out == {"d": "no value for 3 of 4 blocks, e.g. block 0: one batch only"}


def test_a_block_that_most_models_lack_is_left_out():
    found = ranks(frame([[3, 2, 1], [3, 2, 1], [3, None, None]]))
    assert list(found.ranks.columns) == ["block 0", "block 1"]
    assert found.left_out == {"block 2": "no value for 2 of 3 models"}


@pytest.mark.parametrize("values", [[], [[1, 2]] * 5, [[1, 2, 3]], [[None, None, None]] * 3, [[math.inf, 1, 2]] * 3])
def test_too_few_models_or_blocks_give_a_reason(values):
    found = ranks(frame(values))
    assert "a ranking needs 3 models and 2 blocks" in found.reason
    assert math.isnan(found.friedman_p)
    assert math.isnan(found.critical_difference)
    assert found.average.empty


TABLES = st.integers(3, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(-5, 5), min_size=n, max_size=n), min_size=2, max_size=8)
)


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_ranks_do_not_change_with_a_monotone_transform(values):
    before, after = ranks(frame(values)), ranks(frame(np.exp(np.array(values) / 3)))
    pd.testing.assert_frame_equal(before.ranks, after.ranks)
    assert before.groups == after.groups


@settings(max_examples=40, deadline=None)
@given(TABLES, st.randoms())
def test_ranks_do_not_depend_on_the_order_of_rows(values, random):
    rows = frame(values)
    order = list(rows.index)
    random.shuffle(order)
    before, after = ranks(rows), ranks(rows.loc[order])
    pd.testing.assert_series_equal(before.average, after.average)
    assert before.friedman_p == pytest.approx(after.friedman_p, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_ranks_add_up_and_wins_are_half(values):
    found = ranks(frame(values))
    n_models = len(found.average)
    assert found.average.sum() == pytest.approx(n_models * (n_models + 1) / 2)
    assert found.share_won.mean() == pytest.approx(0.5)
    assert found.firsts.sum() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(TABLES)
def test_losses_are_wins_of_the_reverse(values):
    up, down = ranks(frame(values)), ranks(frame(-np.array(values)))
    assert up.share_won.to_dict() == pytest.approx((1 - down.share_won).to_dict())


def test_friedman_by_hand():
    # three models in one order in ten blocks: 12 · 10 / (3 · 4) · (1 + 4 + 9) - 3 · 10 · 4 = 20
    assert friedman(np.array([[1.0] * 10, [2.0] * 10, [3.0] * 10])) == pytest.approx(math.exp(-10))


def test_with_few_blocks_every_order_is_counted():
    # of 6⁴ orders of three models in four blocks, 6 are the same in all; of 6², 6
    assert friedman(np.array([[1.0] * 4, [2.0] * 4, [3.0] * 4])) == pytest.approx(6 / 6**4)
    assert friedman(np.array([[1.0] * 2, [2.0] * 2, [3.0] * 2])) == pytest.approx(6 / 6**2)


def test_with_few_blocks_and_many_models_orders_are_drawn_and_the_draw_is_seeded():
    placed = np.tile(np.arange(1.0, 9.0)[:, None], 6)
    assert friedman(placed) == friedman(placed) == pytest.approx(1e-4)


def test_conclusions_name_every_model_that_is_not_told_apart():
    apart = ranks(frame([[5, 4, 3, 2, 1]] * 20)).conclusions()
    assert apart[0].endswith("so the models differ.")
    assert apart[1:] == [
        "Nemenyi's critical difference: from 1.36 average ranks on, two models are told apart.",
        *(f"Not told apart: {pair}." for pair in ("a, b", "b, c", "c, d", "d, e")),
    ]
    assert ranks(frame([[3, 2, 1]] * 60)).conclusions()[-1] == "All are told apart."
    assert "Not told apart: a, b, c, d, e." in ranks(frame([[8, 8, 8, 8, 8, 0]] * 20)).conclusions()


def test_conclusions_tell_nothing_apart_where_the_test_does_not_reject():
    (said,) = ranks(frame([[3, 2, 1], [1, 2, 3]])).conclusions()
    assert said.endswith("so the models are not told apart.")
    assert ranks(frame([[1, 1, 1]] * 4)).conclusions() == ["All models are tied in every block."]
    assert ranks(frame([])).conclusions() == []


def test_what_rounding_alone_decides_is_a_tie():
    results = [
        result(model, task=task, total=score(value, spread=STEADY))
        for task in ("one", "two")
        for model, value in (("a", 0.5), ("b", 0.5), ("c", 0.0))
    ]
    found = duels([report(*results)], ranked([report(*results)])).set_index(["left", "right"])
    assert found.loc[("a", "b"), OUTCOMES].tolist() == [0, 2, 0, 0, 0]


@pytest.fixture
def three_tasks():
    """Model a is surely ahead of b in annotation and clustering, and level in transfer; c is last."""
    ahead = {"annotation": 0.05, "clustering": 0.05, "transfer": 0.001}
    results = [
        result(model, task=task, total=score(0.5 + by, spread=0.01 * noise))
        for task, gap in ahead.items()
        for model, by, noise in (("a", gap, STEADY), ("b", 0.0, STEADY[::-1]), ("c", -0.3, STEADY))
    ]
    controls = [result("random", task=task, role="control", total=score(0.1)) for task in ahead]
    return report(*results, *controls, result("a", task="throughput", total=score(100.0)))


def test_controls_and_costs_are_left_out(three_tasks):
    found = ranked([three_tasks])
    assert found.average.to_dict() == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert found.left_out == {"throughput, cells: total": "a cost, not a quality"}
    assert "random" in ranked([three_tasks], controls=True).average.index


def test_tasks_can_be_named(three_tasks):
    found = ranked([three_tasks], tasks=["annotation", "transfer"])
    assert list(found.ranks.columns) == ["annotation, cells: total", "transfer, cells: total"]
    assert found.left_out["clustering, cells: total"] == "not asked for"


def test_duels_go_by_the_interval(three_tasks):
    found = duels([three_tasks], ranked([three_tasks])).set_index(["left", "right"])
    assert found.loc[("a", "b"), OUTCOMES].tolist() == [2, 1, 0, 0, 0]
    # a difference of 2 average ranks, and a standard deviation of sqrt(3 · 4 / (6 · 3))
    assert found.loc[("a", "c"), "p"] == pytest.approx(2 * stats.norm.sf(2 / math.sqrt(2 / 3)))
    assert (found["q"] >= found["p"]).all()


def test_duels_go_by_the_interval_where_less_is_better_too():
    results = [
        result(model, task=task, total=score(value, spread=0.01 * STEADY, higher_is_better=False))
        for task in ("one", "two")
        for model, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    ]
    found = duels([report(*results)], ranked([report(*results)])).set_index(["left", "right"])
    assert found.loc[("a", "b"), OUTCOMES].tolist() == [2, 0, 0, 0, 0]


def test_duels_without_resamples_are_counted_apart():
    results = [
        result(model, task=task, total=score(value, higher_is_better=False))
        for task in ("one", "two")
        for model, value in (("a", 1.0), ("b", 2.0), ("c", 2.0))
    ]
    found = duels([report(*results)], ranked([report(*results)])).set_index(["left", "right"])
    assert found.loc[("a", "b"), OUTCOMES].tolist() == [0, 0, 0, 2, 0]
    assert found.loc[("b", "c"), OUTCOMES].tolist() == [0, 0, 0, 0, 0]


def test_the_first_headline_score_decides_not_the_first_score():
    results = []
    for task in ("one", "two"):
        for model, value in (("a", 0.9), ("b", 0.5), ("c", 0.1)):
            made = result(model, task=task, side=score(-value), total=score(value))
            results.append(made.model_copy(update={"headline": ["total"]}))
    assert ranked([report(*results)]).average.index[0] == "a"


def test_a_task_that_was_measured_twice_counts_once():
    once = [result(m, task=t, total=score(v)) for t in ("one", "two") for m, v in zip("abc", (3, 2, 1), strict=True)]
    more = [result(model, task="one", seeds=(0, 1), total=score(1.0)) for model in "ad"]
    found = ranked([report(*once), report(*more)])
    assert found.ranks.shape == (3, 2)
    assert found.left_out["one, cells: total, measured again"].endswith("without d")


def test_the_later_report_counts_where_two_overlap():
    values = {"a": 3.0, "b": 2.0, "c": 1.0}
    old = report(*(result(m, task=t, total=score(v)) for t in ("one", "two") for m, v in values.items()))
    new = report(*(result("c", task=t, total=score(9.0)) for t in ("one", "two")))
    assert ranked([old, new]).average.index[0] == "c"
    assert ranked([new, old]).average.index[0] == "a"


def test_results_without_a_headline_are_passed_over():
    assert ranked([report(result("a"), result("b"))]).reason.startswith("0 models")


def test_the_command_ranks_and_draws(three_tasks, tmp_path, capsys):
    path = write_report(three_tasks, tmp_path / "run.json")
    assert main(["rank", str(path), "--figure", str(tmp_path / "ranks.svg")]) == 0
    said = capsys.readouterr().out
    assert "ranking over 3 blocks" in said
    assert "a cost, not a quality" in said
    assert "Blocks that share cells are not independent" in said
    assert (tmp_path / "ranks.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_command_says_why_there_is_no_ranking(tmp_path, capsys):
    path = write_report(report(), tmp_path / "empty.json")
    assert main(["rank", str(path)]) == 0
    assert "none: 0 models have a value" in capsys.readouterr().out
    assert main(["rank", str(path), "--figure", str(tmp_path / "ranks.svg")]) == 2
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "ranks.svg").exists()


@pytest.mark.parametrize(
    ("place", "said"), [("/proc/nope/x.svg", "that can be written to"), ("x.docx", "name one of png, svg, pdf")]
)
def test_a_figure_that_cannot_be_drawn_is_refused_before_printing(three_tasks, tmp_path, capsys, place, said):
    path = write_report(three_tasks, tmp_path / "run.json")
    assert main(["rank", str(path), "--figure", place]) == 2
    printed = capsys.readouterr()
    assert (printed.out, said in printed.err) == ("", True)


def test_the_command_refuses_tasks_that_no_report_has(three_tasks, tmp_path, capsys):
    path = write_report(three_tasks, tmp_path / "run.json")
    assert main(["rank", str(path), "--task", "anotation"]) == 2
    assert "results of annotation, clustering, throughput, transfer" in capsys.readouterr().err


def test_names_do_nothing_in_markdown(tmp_path, capsys):
    results = [
        result(m, task=t, total=score(1.0)) for t in ("one", "two") for m in ("a|b", "<script>", "c\n# head", "d")
    ]
    assert main(["rank", str(write_report(report(*results), tmp_path / "run.json")), "--format", "md"]) == 0
    said = capsys.readouterr().out
    assert "<script>" not in said
    assert "\n# head" not in said
    assert "a\\|b" in said


def test_many_models_are_ranked_without_duels(tmp_path, capsys):
    results = [result(f"model {n:02}", task=t, total=score(float(n))) for t in ("one", "two") for n in range(41)]
    assert main(["rank", str(write_report(report(*results), tmp_path / "run.json"))]) == 0
    said = capsys.readouterr().out
    assert "not fought: over 40 models" in said
    assert "model 40" in said

"""Tables of a report by hand."""

from __future__ import annotations

from scfm_eval.html import sections
from scfm_eval.report import PairedTest, SeedsTest, SplitTest
from tests.html.reports import comparison, report, result, small, verdict


def rows(table):
    return [dict(zip((column.head for column in table.columns), row, strict=True)) for row in table.rows]


def test_scores_hold_value_interval_and_why_there_is_none():
    first, undefined = rows(sections.scores(report(result("mine", "model", 0.5)).to_frame(), task="annotation"))
    assert [first[key] for key in ("score", "value", "low", "high", "chance", "better", "seeds")] == [
        *("macro_f1", "0.500", "0.490", "0.510", "0.100", "higher", "1")
    ]
    assert first["why undefined"] is None
    assert (undefined["value"], undefined["why undefined"]) == (None, "one batch only")


def test_a_claim_shows_the_comparison_that_was_lost():
    made = [comparison(0.2, 0.1, 0.3), comparison(-0.1, -0.2, 0.05)]
    (row,) = rows(sections.claims(report(verdicts=[verdict("failed", made=made)])))
    assert [row[key] for key in ("claim", "benchmark", "difference", "low", "high")] == [
        *("is better than hvg", "annotation", "-0.100", "-0.200", "0.050")
    ]
    assert row["outcome"] == '<span class="outcome failed">failed</span>'


def test_an_expected_failure_keeps_its_reason():
    (row,) = rows(sections.claims(report(verdicts=[verdict("expected failure", reason="known to lose")])))
    assert row["what was found"] == "known to lose"


def test_costs_are_in_seconds_and_mebibytes_and_not_measured_is_none():
    time, host, device = rows(sections.costs(report(result("mine", "model", 0.5))))
    assert (time["amount"], time["unit"]) == ("1.500", "s")
    assert (host["amount"], host["unit"]) == ("1,024", "MiB")
    assert device["amount"] is None


def test_models_and_datasets_have_licence_and_citation():
    assert {row["citation"] for row in rows(sections.models(small()))} == {"Nobody 2026"}
    (dataset,) = rows(sections.datasets(small()))
    assert (dataset["licence"], dataset["cells"]) == ("CC0", "400")


def test_the_environment_is_one_row_per_entry():
    assert ["machine kind", "small"] in sections.environment(small()).rows
    assert ["machine gpu", None] in sections.environment(small()).rows


def test_pairs_of_a_task_with_their_first_split():
    split = SplitTest(p=0.01, q=0.02, seed=0, n_cells=70, only_left=3, only_right=9)
    test = PairedTest(
        task="t", dataset="d", left="a", right="b", splits=[split], seeds=SeedsTest(p=None, q=None, reason="one seed")
    )
    table = sections.pairs(report(paired_tests=[test]), task="t")
    assert table.rows == [["a", "b", "d", "70", "3", "9", "0.020", None, "one seed"]]
    assert sections.pairs(report(paired_tests=[test]), task="other") is None


def test_pairs_say_why_either_test_is_undefined():
    split = SplitTest(p=None, q=None, reason="never one alone", seed=0, n_cells=9, only_left=0, only_right=0)
    both, one = (
        PairedTest(task="t", dataset="d", left="a", right=right, splits=[split], seeds=seeds)
        for right, seeds in (("b", SeedsTest(p=None, q=None, reason="one seed")), ("c", SeedsTest(p=0.1, q=0.2)))
    )
    table = sections.pairs(report(paired_tests=[both, one]), task="t")
    assert [row[-1] for row in table.rows] == [
        "never one alone; one seed",
        "never one alone",
    ]


def heads(table):
    return [column["title"] for column in table.options()["columns"]]


def test_what_a_card_says_has_a_column_only_where_a_card_says_it():
    said = {"not with its defaults", "not as the published code", "checks not passed"}
    assert not said & set(heads(sections.models(small())))
    card = {"licence": "MIT", "weights_licence": "research only", "options": {"layer": -1}}
    card |= {"definition": "Padding is <b>masked</b>.", "exceptions": {"same_alone": "it sees others"}}
    one = result("mine", "model", 0.5)
    made = report(one.model_copy(update={"model": one.model.model_copy(update=card)}), one)
    table = sections.models(made)
    assert said <= set(heads(table))
    plain, own = rows(table)
    assert plain["not with its defaults"] is None
    assert (own["not with its defaults"], own["checks not passed"]) == ("layer = -1", "same alone: it sees others")
    assert own["licence"] == "MIT; of the weights: research only"
    assert "Padding is &lt;b&gt;masked&lt;/b&gt;." in table.options()["data"][1]


def test_without_a_value_nothing_is_said_to_be_better():
    _, undefined = rows(sections.scores(report(result("mine", "model", 0.5)).to_frame(), task="annotation"))
    assert undefined["better"] is None

"""What changed between reports: paired differences, noise, and all that is explained instead of subtracted."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scfm_eval.__main__ import main
from scfm_eval.compare import changes, only_model, read_comparable
from scfm_eval.differences import unpaired
from scfm_eval.errors import InvalidInputError
from scfm_eval.report import write_report
from tests.made_reports import STEADY, report, result, score, verdict

MACHINE = {"machine": {"kind": "cpu-x2"}, "workers": 2}
NO_RESAMPLES = "one of the two has no resamples, or another number of them"
NO_VALUES = score(0.6, spread=STEADY * math.nan)
OTHER = {
    "sha": {"sha": "f" * 64},
    "seeds": {"seeds": (0, 1, 2, 3, 4)},
    "parameters": {"parameters": {"n_folds": 10}},
    "unstated": {"pairing": "another"},
}


def moved(before, after, **known):
    """The one row of two reports of one score each."""
    found = changes([report(result(**known, total=before)), report(result(**known, total=after))]).scores
    assert len(found) == 1
    return found.iloc[0]


def test_the_difference_is_paired():
    # both scores vary by 0.2 with the cells, their difference by 0.01 only
    row = moved(score(0.5, spread=0.2 * STEADY), score(0.6, spread=0.21 * STEADY))
    assert (row["before"], row["after"]) == (0.5, 0.6)
    assert [row["difference"], row["low"], row["high"]] == pytest.approx([0.1, 0.09, 0.11], abs=1e-6)
    # the standard deviation of 1,000 values of ±0.01
    assert row["p"] == pytest.approx(2 * stats.norm.sf(0.1 / (0.01 * math.sqrt(1000 / 999))), rel=1e-3)
    assert row["finding"] == "better"


def test_less_is_better_where_it_is():
    known = {"higher_is_better": False}
    row = moved(score(0.5, spread=0.01 * STEADY, **known), score(0.6, spread=0.02 * STEADY, **known))
    assert row["finding"] == "worse"


def test_an_interval_that_holds_zero_is_noise():
    assert moved(score(0.5, spread=0.01 * STEADY), score(0.505, spread=0.02 * STEADY))["finding"] == "noise"


def test_an_interval_that_holds_zero_is_noise_whatever_the_normal_approximation_says():
    # 40 of 1,000 resamples are below zero, so the lower end is; p is 0.01
    difference = np.r_[np.full(960, 0.1), np.full(40, -0.1)]
    row = moved(score(0.5, spread=0 * STEADY), score(0.6, spread=difference - 0.1))
    assert row["low"] < 0 < row["high"]
    assert row["q"] < 0.05
    assert (row["finding"], row["reason"]) == ("noise", "")


def test_the_same_value_from_other_cells_right_is_noise_and_not_identical():
    row = moved(score(0.5, spread=0.1 * STEADY), score(0.5, spread=-0.1 * STEADY))
    assert (row["finding"], row["difference"]) == ("noise", 0)


def test_the_order_of_sums_makes_no_difference():
    row = moved(score(0.5, spread=0.1 * STEADY), score(0.5 + 1e-12, spread=0.1 * STEADY + 1e-8))
    assert row["finding"] == "identical"


def test_one_of_many_differences_is_noise_although_its_interval_excludes_zero():
    # p = 0.034 alone: the smallest of twenty has to be below 0.0025
    spread = np.random.default_rng(0).normal(size=1000)
    spread = 0.01 * (spread - spread.mean()) / spread.std(ddof=1)
    sides = [
        report(
            *(
                result(f"model {number}", total=score(0.5 + by, spread=0.0 * spread + (spread if by else 0.0)))
                for number, by in enumerate(gaps)
            )
        )
        for gaps in ([0.0] * 20, [0.0212] + [0.001] * 19)
    ]
    found = changes(sides).scores
    assert found.loc[0, "low"] > 0
    assert found.loc[0, "p"] == pytest.approx(0.034, abs=0.001)
    assert found.loc[0, "q"] > 0.05
    assert set(found["finding"]) == {"noise"}
    assert "one of so many" in found.loc[0, "reason"]
    alone = changes([only_model(side, "model 0", name="model 0") for side in sides]).scores
    assert alone.loc[0, "finding"] == "better"


@pytest.mark.parametrize("other", OTHER)
def test_what_is_not_paired_is_explained_and_not_subtracted(other):
    before = result(parameters={"n_folds": 5}, total=score(0.5, spread=STEADY))
    after = result(**{"parameters": {"n_folds": 5}, "total": score(0.9, spread=STEADY)} | OTHER[other])
    row = changes([report(before), report(after)]).scores.iloc[0]
    assert row["finding"] == "not comparable"
    assert row[["difference", "low", "high", "p", "q"]].isna().all()
    assert (row["before"], row["after"]) == (0.5, 0.9)
    said = {
        "sha": "other cells: 100 cells of cells (0) against 100 cells of cells (ffffffff)",
        "seeds": "other seeds: 1 (0) against 5 (0, 1, 2, 3, 4)",
        "parameters": "other parameters of the task: n_folds 5 against 10",
        "unstated": "other conditions that the report does not state",
    }[other]
    assert row["reason"].startswith(said)
    assert unpaired(before, before) == ""


def test_a_dataset_of_another_name_and_the_same_cells_is_compared():
    sides = [report(result(dataset=name, total=score(0.5, spread=STEADY))) for name in ("cells", "renamed")]
    assert changes(sides).scores["finding"].tolist() == ["identical"]


def test_reports_of_other_datasets_have_nothing_in_common():
    sides = [report(result(dataset=name, sha=name, total=score(0.5))) for name in ("heart", "blood")]
    found = changes(sides)
    assert found.scores.empty
    assert found.notes == (
        "reports 1 and 2 have no task, dataset and model in common: 1 is of heart, 2 of blood. "
        "Scores of other cells are not subtracted",
    )


@pytest.mark.parametrize(
    ("before", "after", "finding", "reason"),
    [
        (score(None, reason="one batch"), score(0.5), "now defined", "one batch"),
        (score(0.5), score(None, reason="no donor"), "now undefined", "no donor"),
        (score(None, reason="one batch"), score(None, reason="no donor"), "undefined", "no donor"),
        (score(math.nan), score(0.5), "now defined", "the report has no number, and no reason"),
        (score(math.inf), score(math.nan), "undefined", "the report has no number, and no reason"),
        (score(0.5, applies=False, reason="no head"), score(0.5), "now defined", "no head"),
        (score(0.5), score(0.6), "no interval", NO_RESAMPLES),
        (score(0.5, spread=STEADY), score(0.6, spread=STEADY[:10]), "no interval", NO_RESAMPLES),
        (NO_VALUES, score(0.5, spread=STEADY), "no interval", "1000 of 1000 resamples have no value"),
        (score(0.5, spread=STEADY), NO_VALUES, "no interval", "1000 of 1000 resamples have no value"),
        (score(0.5), score(0.5), "identical", ""),
    ],
)
def test_what_is_undefined_has_a_reason(before, after, finding, reason):
    row = moved(before, after)
    assert (row["finding"], row["reason"]) == (finding, reason)
    assert pd.isna(row["low"])


def test_a_score_that_one_report_lacks_is_named():
    sides = [report(result(total=score(0.5), old=score(1.0))), report(result(total=score(0.5), new=score(1.0)))]
    found = changes(sides).scores.set_index("score")["finding"]
    assert found.to_dict() == {"total": "identical", "old": "only before", "new": "only after"}


def test_claims_turn_red_and_green():
    outcomes = {
        "lost": ("passed", "failed"),
        "won": ("failed", "passed"),
        "fell": ("expected failure", "error"),
        "excused": ("failed", "expected failure"),
        "kept": ("passed", "passed"),
        "broke": ("failed", "error"),
        "skipped": ("passed", "skipped"),
    }
    before, after = (
        report(verdicts=[verdict(claim, sides[side]) for claim, sides in outcomes.items()]) for side in (0, 1)
    )
    before.verdicts.append(verdict("gone"))
    after.verdicts.append(verdict("new", model=None, dataset=None))
    found = changes([before, after]).claims.set_index("claim")["finding"]
    assert found.to_dict() == {
        "lost": "newly red",
        "won": "newly green",
        "fell": "newly red",
        "excused": "changed",
        "kept": "same",
        "broke": "changed",
        "skipped": "changed",
        "gone": "only before",
        "new": "only after",
    }


def test_a_claim_has_the_interval_of_both_sides_and_says_when_cells_differ():
    def side(difference, sha):
        made = {"text": "a > b", "holds": True, "difference": difference, "low": difference - 0.1, "high": None}
        return report(result(sha=sha, total=score(0.5)), verdicts=[verdict(comparisons=[made])])

    row = changes([side(0.1, "0"), side(0.2, "1")]).claims.iloc[0]
    assert (row["difference_before"], row["difference_after"]) == (0.1, 0.2)
    assert pd.isna(row["high_after"])
    assert row["caution"].startswith("other cells")


def test_claims_of_one_name_are_told_apart_by_their_order():
    sides = [report(verdicts=[verdict(), verdict(outcome=second)]) for second in ("passed", "failed")]
    assert changes(sides).claims["finding"].tolist() == ["same", "newly red"]


def costs(*, before=MACHINE, after=MACHINE, seconds=2.0, **known):
    """The ratio of the forward phase of two runs, and why there is none."""
    sides = [
        report(result(seconds={"forward": taken}, total=score(0.5), **known), environment=environment)
        for taken, environment in ((1.0, before), (seconds, after))
    ]
    found = changes(sides).costs.iloc[0]
    return found["ratio"], found["reason"]


def test_seconds_are_compared_on_one_kind_of_machine_with_as_many_workers():
    assert costs() == (2.0, "")


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"after": MACHINE | {"workers": 1}}, "other number of workers: 2 against 1"),
        ({"before": {"machine": {"kind": "cpu-x2"}}}, "number of workers not stated"),
        ({"after": MACHINE | {"machine": {"kind": "h100-x1"}}}, "other kind of machine: cpu-x2 against h100-x1"),
        ({"before": {"machine": None, "workers": 2}}, "kind of machine not stated"),
        ({"from_store": True}, "from the store: the time of its making"),
        ({"seconds": 1.0}, "the same measurement"),
        ({"seconds": 0.0}, "not measured in both"),
        ({"seconds": math.nan}, "not measured in both"),
    ],
)
def test_seconds_that_mean_nothing_beside_each_other_have_no_ratio(known, reason):
    ratio, said = costs(**known)
    assert math.isnan(ratio)
    assert said == reason


def test_speed_of_another_kind_of_machine_is_not_subtracted():
    sides = [
        report(result(task="throughput", total=score(by, spread=STEADY)), environment=MACHINE | {"workers": workers})
        for by, workers in ((100.0, 1), (200.0, 2))
    ]
    row = changes(sides).scores.iloc[0]
    assert (row["finding"], row["reason"]) == ("not comparable", "other number of workers: 1 against 2")
    assert math.isnan(row["difference"])


def test_what_is_not_the_same_about_run_and_model_is_named():
    before = report(
        result(card={"revision": "1", "parameters": {"layers": [1, 2]}}, total=score(0.5)),
        environment={"python": "3.11.7", "packages": {"numpy": "2.0"}, "git": None},
    )
    after = report(
        result(card={"revision": "2", "parameters": {"layers": [3]}}, total=score(0.5)),
        environment={"python": "3.11.7", "packages": {"numpy": "2.1"}},
    )
    found = changes([before, after])
    assert found.environment[["what", "before", "after"]].to_numpy().tolist() == [["packages.numpy", "2.0", "2.1"]]
    assert found.models["what"].tolist() == ["revision", "parameters.layers"]


def test_what_only_one_report_has_is_named():
    before = report(result("mine", task="one", total=score(0.5)), result("old", task="one", total=score(0.5)))
    after = report(result("mine", task="one", total=score(0.5)), result("mine", task="two", total=score(0.5)))
    found = changes([before, after]).only[["kind", "name", "side"]].to_numpy().tolist()
    assert found == [["task", "two", "after"], ["model", "old", "before"]]
    missing = report(
        *(result(of, task="one", total=score(1)) for of in ("old", "mine")), result("old", task="two", total=score(1))
    )
    whole = report(*missing.results, result("mine", task="two", total=score(1)))
    assert changes([missing, whole]).only["name"].tolist() == ["two · cells · mine"]


def test_two_models_are_compared_under_one_name():
    both = report(
        result("a", total=score(0.4, spread=0.01 * STEADY)), result("b", total=score(0.6, spread=STEADY / 50))
    )
    row = changes([only_model(both, "a", name="a → b"), only_model(both, "b", name="a → b")]).scores.iloc[0]
    assert (row["model"], row["finding"]) == ("a → b", "better")
    with pytest.raises(InvalidInputError, match="a, b"):
        only_model(both, "c", name="c")


def test_each_report_is_compared_with_the_first():
    sides = [report(result(total=score(value))) for value in (0.5, 0.6, 0.5)]
    found = changes(sides).scores.set_index("report")["finding"]
    assert found.to_dict() == {2: "no interval", 3: "identical"}


@pytest.fixture
def files(tmp_path):
    """Write reports, and return their paths as text."""

    def write(*reports):
        return [str(write_report(made, tmp_path / f"{number}.json")) for number, made in enumerate(reports)]

    return write


def test_fewer_than_two_reports_are_refused(files, capsys):
    assert main(["compare", *files(report())]) == 2
    assert "give two or more" in capsys.readouterr().err


def test_another_schema_version_is_refused(files, tmp_path, capsys):
    paths = files(report(), report())
    old = json.loads((tmp_path / "1.json").read_text(encoding="utf-8")) | {"schema_version": 1}
    (tmp_path / "1.json").write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"1\.json has 1"):
        read_comparable(paths)
    assert main(["compare", *paths]) == 2
    assert "run the suite again with this version" in capsys.readouterr().err


def test_json_always_has_every_score(files, capsys):
    side = report(result(total=score(0.5), other=score(0.4)))
    assert main(["compare", *files(side, side), "--format", "json", "--every-score"]) == 2
    assert "leave --every-score out" in capsys.readouterr().err
    assert main(["compare", *files(side, side), "--format", "json"]) == 0
    assert [row["score"] for row in json.loads(capsys.readouterr().out)["scores"]] == ["total", "other"]


def test_the_same_file_twice_is_identical(files, capsys):
    (path,) = files(report(result(total=score(0.5, spread=STEADY)), verdicts=[verdict()], environment=MACHINE))
    assert main(["compare", path, path]) == 0
    said = capsys.readouterr().out
    assert "nothing differs" in said
    assert "report 2 against 1: 1 identical" in said
    assert "report 2 against 1: 1 same" in said


@pytest.mark.parametrize("format", ["text", "md", "csv", "json"])
def test_empty_reports_and_errors_only_are_said_to_be_so(files, capsys, format):  # noqa: A002
    errors = report(verdicts=[verdict(outcome="error", reason="died\nof memory")], interrupted=True)
    assert main(["compare", *files(report(), errors), "--format", format]) == 0
    said = capsys.readouterr().out
    if format == "csv":
        assert said.startswith("report,task,dataset,model,score")
    else:
        assert "report 1 has no results: it is empty" in said
        assert "report 2 has no results: its claims are 1 error" in said
        assert "report 2 was stopped before its end" in said


def test_nan_and_null_everywhere_can_be_printed(files, capsys):
    nothing = {"value": None, "low": math.nan, "high": None, "chance": math.nan, "best": None, "worst": None}
    made = {"text": "a > b", "holds": False, "difference": None, "low": None, "high": math.nan}
    sides = [
        report(
            result(card={"n_parameters": None}, seconds={"forward": 0.0}, total=score(**nothing)),
            result("other", seconds={"forward": 0.0}, total=score(0.5, spread=STEADY * spread, low=math.nan)),
            verdicts=[verdict(outcome=outcome, model=None, dataset=None, comparisons=[made])],
            environment={"machine": None, "python": None},
        )
        for outcome, spread in (("failed", math.nan), ("error", 0.1))
    ]
    for form in ("text", "md", "csv", "json"):
        every = [] if form == "json" else ["--every-score"]
        assert main(["compare", *files(*sides), *every, "--format", form]) == 0
        said = capsys.readouterr().out
        assert "other" in said
    assert json.loads(said)["scores"][0]["before"] is None


def test_names_do_nothing_in_markdown_and_in_the_terminal(files, capsys):
    wild = "<img src=x>|[bold]\x1b[31m\n# head"
    sides = [report(result(wild, total=score(value, spread=value * STEADY))) for value in (0.5, 0.6)]
    paths = files(*sides)
    assert main(["compare", *paths, "--format", "md"]) == 0
    said = capsys.readouterr().out
    assert "<img" not in said
    assert "\n# head" not in said
    assert main(["compare", *paths]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[bold]" in said


def test_two_models_of_one_report_are_compared(files, capsys):
    (path,) = files(
        report(result("a", total=score(0.4, spread=0.01 * STEADY)), result("b", total=score(0.6, spread=STEADY / 50)))
    )
    assert main(["compare", path, path, "--model", "a", "--with", "b"]) == 0
    assert "+0.200 [+0.190, +0.210]" in capsys.readouterr().out
    assert main(["compare", path, path, "--model", "c"]) == 2


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3), st.booleans())
def test_turning_the_reports_around_turns_the_differences_around(left, right, spread, up):
    scores = [score(left, spread=0.1 * STEADY, higher_is_better=up)]
    scores.append(score(right, spread=(0.1 + spread) * STEADY, higher_is_better=up))
    there, back = moved(*scores), moved(*scores[::-1])
    turned = {"better": "worse", "worse": "better"}
    assert back["finding"] == turned.get(there["finding"], there["finding"])
    ends = [there[name] for name in ("difference", "low", "high", "p")]
    assert [-back["difference"], -back["high"], -back["low"], back["p"]] == pytest.approx(ends, nan_ok=True, abs=1e-9)

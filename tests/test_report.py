"""A report is written whole, read back the same, refused when newer, upgraded when older."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import numpy as np
import pytest

from scfm_eval import report as report_module
from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.resampling import interval
from scfm_eval.report import (
    SCHEMA_VERSION,
    ComparisonRecord,
    Outcome,
    Report,
    Verdict,
    read_report,
    schema,
    write_report,
)
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord, by_role, combine, measure
from tests import made_reports as made

COMMITTED = Path(__file__).parents[1] / "reports" / "schema.json"
VALUES = np.array([0.0, 1.0, 1.0, 1.0])
WEIGHTS = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=500)


@metric(best=1.0, worst=0.0, chance=0.5, source="toy")
def share(values):
    """Mean of the values."""
    return Statistic(lambda weights: weights @ values / weights.sum(axis=1), n_cells=len(values))


@metric(best=1.0, worst=0.0, source="toy")
def never():
    """Has no value."""
    raise UndefinedMetricError("one batch only")


def record(values=VALUES):
    return measure(share, lambda: [share.statistic(values)], weights=WEIGHTS)


def made_of(record):
    return np.frombuffer(base64.b64decode(record.replicates), dtype="<f4").astype(np.float64)


@pytest.fixture
def result():
    return Result(
        task="toy",
        parameters={},
        headline=["share"],
        seeds=[0],
        pairing="p",
        dataset=DatasetRecord(name="cells", sha256="0", n_cells=4, n_genes=2, n_unlabelled=0),
        model=ModelRecord(name="mine", role="model", trained_here=False),
        readable=ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        scores={
            "share": record(),
            "other": record(),
            "never": measure(never, lambda: [never.statistic()], weights=WEIGHTS),
        },
        seconds={"forward": 1.0},
        from_store=False,
    )


@pytest.fixture
def report(result):
    return Report(
        created="2026-01-01T00:00:00+00:00",
        command=["pytest"],
        environment={},
        results=[result.for_report()],
        verdicts=[],
    )


def test_a_measured_value_has_interval_chance_and_resamples():
    found = record()
    assert (found.value, found.chance, found.reason) == (0.75, 0.5, "")
    assert 0.0 <= found.low < 0.75 < found.high <= 1.0


def test_undefined_is_null_with_its_reason():
    found = measure(never, lambda: [never.statistic()], weights=WEIGHTS)
    assert (found.value, found.reason, found.low) == (None, "one batch only", None)


def test_bias_of_resampling_is_taken_out():
    @metric(best=1.0, worst=0.0, source="toy")
    def biased():
        """Is larger the more cells are doubled."""
        return Statistic(lambda weights: 0.2 + 0.1 * (weights > 1).sum(axis=1), n_cells=4)

    found = measure(biased, lambda: [biased.statistic()], weights=WEIGHTS)
    assert found.low < found.value < found.high


def test_a_sum_with_an_undefined_member_is_undefined():
    records = {"a": record(), "b": ScoreRecord(value=None, reason="one batch only")}
    total = combine(records, weights={"a": 0.6, "b": 0.4}, source="toy", how={})
    assert total.value is None
    assert "b: one batch only" in total.reason


def test_a_sum_weighs_values_and_resamples():
    total = combine({"a": record(), "b": record(1 - VALUES)}, weights={"a": 0.6, "b": 0.4}, source="toy", how={})
    assert total.value == pytest.approx(0.6 * 0.75 + 0.4 * 0.25)
    alone = record()
    # not the ends of the record, which stay within the range of the metric
    low, high = interval(made_of(alone), n_units=alone.n_units)
    assert total.high - total.low == pytest.approx(0.2 * (high - low), rel=0.1)


@pytest.mark.parametrize(("units", "fewest"), [((5, 9), 5), ((5, None), 5), ((None, None), None)])
def test_a_sum_is_of_as_few_units_as_the_member_that_has_the_fewest(units, fewest):
    records = {name: record().model_copy(update={"n_units": n}) for name, n in zip("ab", units, strict=True)}
    assert combine(records, weights={"a": 0.6, "b": 0.4}, source="toy", how={}).n_units == fewest


def test_the_first_headline_score_stands_whether_defined_or_not(result):
    assert result.first_headline == "share"
    assert result.model_copy(update={"headline": ["never", "share"]}).first_headline == "never"
    assert result.model_copy(update={"headline": []}).first_headline == ""


def test_models_come_before_baselines_before_controls_before_what_is_not_known(result):
    cards = [("a", "guest"), ("a", "control"), ("b", "baseline"), ("a", "baseline"), ("z", "model")]
    made = [
        result.model_copy(update={"model": ModelRecord(name=name, role=role, trained_here=False)})
        for name, role in cards
    ]
    assert [(one.model.name, one.model.role) for one in sorted(made, key=by_role)] == [
        ("z", "model"),
        ("a", "baseline"),
        ("b", "baseline"),
        ("a", "control"),
        ("a", "guest"),
    ]


def test_what_makes_a_run_fail_is_red():
    outcomes = [*get_args(Outcome)]
    red = [outcome for outcome in outcomes if Verdict(claim="a", model=None, dataset=None, outcome=outcome).is_red]
    assert red == ["failed", "error", "unexpected pass"]


def test_a_claim_is_named_in_words_and_says_what_it_is_about():
    one = Verdict(claim="benchmarks/test_batch_integration.py::test_is_fast", model="a", dataset="b", outcome="passed")
    assert (one.file, one.test) == ("benchmarks/test_batch_integration.py", "test_is_fast")
    assert (one.benchmark, one.name, one.about) == ("batch integration", "is fast", "a on b")
    bare = Verdict(claim="alone", model=None, dataset="b", outcome="passed")
    assert (bare.file, bare.benchmark, bare.name, bare.about) == ("", "", "alone", "b")


def test_a_score_of_a_result_can_be_compared(result):
    assert result["share"] >= result["other"]
    with pytest.raises(KeyError, match="it has share, other, never"):
        result["macro_f1"]


def test_round_trip_keeps_headline_resamples_only(report, tmp_path):
    back = read_report(write_report(report, tmp_path / "report.json"))
    assert back == report
    assert back.results[0].scores["share"].replicates
    assert back.results[0].scores["other"].replicates is None


def test_others_may_read_a_report_as_far_as_the_umask_lets_them(report, tmp_path):
    before = os.umask(0o027)
    try:
        written = write_report(report, tmp_path / "out.json")
    finally:
        os.umask(before)
    assert written.stat().st_mode & 0o777 == 0o640


def test_the_committed_schema_is_current_and_reports_validate(report, tmp_path):
    assert COMMITTED.read_text(encoding="utf-8") == schema()
    written = json.loads(write_report(report, tmp_path / "report.json").read_text())
    jsonschema.validate(written, json.loads(schema()))
    written["results"][0]["scores"]["share"]["value"] = "good"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, json.loads(schema()))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1}', '{"schema_version": "1"}']
)
def test_what_is_no_report_of_a_known_form_is_refused(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InvalidInputError, match="asked: a report"):
        read_report(tmp_path / "report.json")


def test_an_older_form_is_upgraded_step_by_step(report, tmp_path, monkeypatch):
    old = json.loads(report.model_dump_json()) | {"schema_version": SCHEMA_VERSION - 1}
    old["when"] = old.pop("created")
    (tmp_path / "old.json").write_text(json.dumps(old))
    step = {
        SCHEMA_VERSION - 1: lambda found: {
            **{k: v for k, v in found.items() if k != "when"},
            "created": found["when"],
            "schema_version": SCHEMA_VERSION,
        }
    }
    monkeypatch.setattr(report_module, "UPGRADES", step)
    assert read_report(tmp_path / "old.json") == report


def test_a_failed_write_keeps_the_old_report(report, tmp_path, monkeypatch):
    path = write_report(report, tmp_path / "report.json")
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(report.model_copy(update={"created": "later"}), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_without_arrays_is_read(report, tmp_path):
    old = json.loads(report.model_dump_json())
    del old["results"][0]["arrays"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_report(tmp_path / "old.json").results[0].arrays == {}


def test_the_frame_has_a_row_for_each_score(report):
    frame = report.to_frame().set_index("score")
    assert frame.index.tolist() == ["share", "other", "never"]
    assert frame.loc["share", ["task", "dataset", "model", "role"]].tolist() == ["toy", "cells", "mine", "model"]
    assert frame.loc["share", ["value", "chance", "best", "worst"]].tolist() == [0.75, 0.5, 1.0, 0.0]
    assert frame.loc["share", "low"] == report.results[0].scores["share"].low
    assert frame["headline"].tolist() == [True, False, False]
    assert frame["n_seeds"].tolist() == [1, 1, 0]
    assert frame.loc["share", "seen_in_pretraining"] is None


def test_what_is_undefined_is_nan_with_its_reason(report):
    row = report.to_frame().set_index("score").loc["never"]
    assert row[["value", "low", "high", "chance"]].isna().all()
    assert (row["reason"], row["applies"]) == ("one batch only", True)


def test_the_frame_of_claims_has_their_first_comparison(report):
    made = [
        ComparisonRecord(text=text, holds=False, difference=gap, low=None, high=None)
        for text, gap in (("first", -0.2), ("second", 0.1))
    ]
    about = {"claim": "benchmarks/test_toy.py::test_wins", "model": "mine", "dataset": "cells"}
    verdicts = [
        Verdict(**about, outcome="failed", comparisons=made),
        Verdict(claim="test_toy.py::test_errs", model=None, dataset=None, outcome="error", reason="torn"),
    ]
    frame = report.model_copy(update={"verdicts": verdicts}).claims_frame()
    assert frame["claim"].tolist() == ["test_wins", "test_errs"]
    assert frame["file"].tolist() == ["benchmarks/test_toy.py", "test_toy.py"]
    assert frame["outcome"].tolist() == ["failed", "error"]
    assert frame.loc[0, ["text", "difference"]].tolist() == ["first", -0.2]
    assert np.isnan(frame["low"]).tolist() == [True, True]
    assert frame.loc[1, "reason"] == "torn"
    assert np.isnan(frame.loc[1, "difference"])


def test_the_frame_of_costs_has_a_row_for_each_phase_and_place(report):
    result = report.results[0].model_copy(update={"peak_memory_bytes": {"host": 100, "device": None}})
    frame = report.model_copy(update={"results": [result]}).costs_frame()
    assert frame[["what", "part"]].to_numpy().tolist() == [
        ["seconds", "forward"],
        ["peak_memory_bytes", "host"],
        ["peak_memory_bytes", "device"],
    ]
    assert frame["amount"].tolist()[:2] == [1.0, 100.0]
    assert np.isnan(frame["amount"][2])


@pytest.mark.parametrize("kind", ["to_frame", "claims_frame", "costs_frame"])
def test_an_empty_report_has_frames_of_the_same_form(report, kind):
    verdict = Verdict(claim="a::b", model="mine", dataset="cells", outcome="passed")
    full = getattr(report.model_copy(update={"verdicts": [verdict]}), kind)()
    empty = getattr(report.model_copy(update={"results": []}), kind)()
    assert len(full) > len(empty) == 0
    assert list(full) == list(empty)
    numbers = full.select_dtypes(["number", "bool"]).dtypes
    assert numbers.equals(empty.dtypes[numbers.index])


def test_the_package_is_light_until_a_report_is_read():
    asked = "import scfm_eval, sys; print(sorted({'pandas', 'numpy', 'torch', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    from scfm_eval import read_report as found

    assert found is read_report


def read_with(change, report, tmp_path):
    path = write_report(report, tmp_path / "out.json")
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    return read_report(path)


@pytest.mark.parametrize("packed", ["!!!not base64", "A", "AAAAAAA="])
def test_resamples_that_are_none_are_refused(report, tmp_path, packed):
    def change(found):
        next(iter(found["results"][0]["scores"].values()))["replicates"] = packed

    with pytest.raises(InvalidInputError, match="another form"):
        read_with(change, report, tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_undefined_with_a_reason(report, tmp_path, number):
    def change(found):
        for record in found["results"][0]["scores"].values():
            record.update(value=number, low=number, reason="")

    for record in read_with(change, report, tmp_path).results[0].scores.values():
        assert record.value is record.low is None
        assert record.reason


def test_an_environment_of_other_things_is_refused_and_null_is_not_known(report, tmp_path):
    read = read_with(lambda found: found["environment"].update(machine=None), report, tmp_path)
    assert read.environment["machine"] == {}
    with pytest.raises(InvalidInputError, match="git of the environment"):
        read_with(lambda found: found["environment"].update(git=[1]), report, tmp_path)


def test_nesting_without_end_and_a_version_that_is_no_number_are_refused(tmp_path):
    path = tmp_path / "deep.json"
    for text in ("[" * 200_000, '{"schema_version": true}'):
        path.write_text(text)
        with pytest.raises(InvalidInputError):
            read_report(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"toy"', '"\\ud800"'),
        lambda text: text.replace('"toy"', "[" * 10**6),
        lambda text: text.replace('"created"', '"command": [], "created"'),
        lambda text: text.replace('"toy"', "1" * 10**4),
        lambda text: "\ufeff\x00" + text,
        lambda text: text.replace('"results": [', '"results": [null, '),
    ],
)
def test_a_strange_report_is_refused(tmp_path, damage):
    path = write_report(made.report(made.result(f1=made.score(0.5))), tmp_path / "r.json")
    damaged = damage(path.read_text())
    assert damaged != path.read_text()
    path.write_text(damaged)
    with pytest.raises(InvalidInputError):
        read_report(path)


def test_names_in_a_report_do_nothing_on_a_terminal(tmp_path):
    path = write_report(made.report(made.result("\x1b]0;mine\x07", f1=made.score(0.5))), tmp_path / "r")
    assert read_report(path).results[0].model.name == "␛]0;mine␇"


def test_a_report_with_half_a_letter_in_it_is_written_and_read(tmp_path):
    whole = made.report(made.result(f1=made.score(0.5)))
    whole = whole.model_copy(
        update={"command": ["pytest", "caf\udce9.h5ad"], "environment": {"machine": {"a": "\ud800"}}}
    )
    read = read_report(write_report(whole, tmp_path / "r.json"))
    assert read.command == ["pytest", "caf\ufffd.h5ad"]
    assert read.environment["machine"] == {"a": "\ufffd"}

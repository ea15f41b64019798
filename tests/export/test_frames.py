"""CSV: numbers read back the same, undefined stays empty, several reports stay apart."""

from __future__ import annotations

import pandas as pd
import pytest

from scfm_eval.export.frames import FRAMES, frame, write_csv
from scfm_eval.results import ScoreRecord
from tests.export.made import EMPTY, NASTY, UNDEFINED, report, result, verdict

THIRD = 1 / 3
MADE = report(result(NASTY, scores={"f1": ScoreRecord(value=THIRD), "knn": UNDEFINED}), verdicts=[verdict(model=NASTY)])


def test_all_three_tables_are_written_and_read_back(tmp_path):
    files = write_csv({"a.json": MADE}, tmp_path / "out")
    assert [file.name for file in files] == ["scores.csv", "claims.csv", "costs.csv"]
    scores, claims, costs = (pd.read_csv(file) for file in files)
    assert scores["value"].tolist()[0] == THIRD
    assert scores["value"].isna().tolist() == [False, True]
    assert scores["reason"].tolist()[1] == "one batch only"
    assert scores["model"].tolist() == [NASTY, NASTY]
    assert claims[["report", "outcome", "difference"]].to_numpy().tolist() == [["a.json", "failed", -0.2]]
    assert costs["amount"].tolist()[:2] == [1.5, 1000.0]
    assert costs["amount"].isna().tolist() == [False, False, True]


def test_one_table_of_several_reports(tmp_path):
    (file,) = write_csv({"a": MADE, "b": EMPTY, "c": MADE}, tmp_path / "new" / "x.csv", what="scores")
    assert pd.read_csv(file)["report"].tolist() == ["a", "a", "c", "c"]


@pytest.mark.parametrize("what", FRAMES)
def test_an_empty_report_keeps_the_columns(what):
    assert list(frame({"a": EMPTY}, what)) == list(frame({"a": MADE}, what))
    assert len(frame({"a": EMPTY}, what)) == 0

"""``scfm-eval export``: every format ends in files, and refusals say what to do."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from scfm_eval.__main__ import main
from scfm_eval.discovery import find_dataset
from scfm_eval.export.cells import Cells
from scfm_eval.report import write_report
from scfm_eval.store import Store, key_of
from tests.export.made import EMPTY, report, result

PBMC = "pbmc68k_reduced"


@pytest.fixture
def run(tmp_path):
    return write_report(report(result(), result("pca", role="baseline")), tmp_path / "run.json")


@pytest.mark.parametrize(("kind", "begins"), [("md", "# "), ("latex", "% needs"), ("csv", "report,task,dataset")])
def test_tables(run, tmp_path, capsys, kind, begins):
    out = tmp_path / "new" / "file"
    arguments = ["--what", "scores"] if kind == "csv" else []
    assert main(["export", str(run), "--format", kind, "-o", str(out), *arguments]) == 0
    assert out.read_text().startswith(begins)
    assert capsys.readouterr().out == f"{out}\n"


def test_reports_are_told_apart_by_file_or_else_by_path(run, tmp_path):
    (tmp_path / "b").mkdir()
    twin, other = (write_report(report(result()), tmp_path / name) for name in ("b/run.json", "other.json"))
    out = tmp_path / "scores.csv"
    files = list(map(str, (run, twin, other)))
    assert main(["export", *files, "--format", "csv", "--what", "scores", "-o", str(out)]) == 0
    assert pd.read_csv(out)["report"].unique().tolist() == [str(run), str(twin), "other.json"]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_an_empty_report_has_no_figures_and_says_so(tmp_path, capsys, kind):
    empty = write_report(EMPTY, tmp_path / "empty.json")
    assert main(["export", str(empty), "--format", kind, "-o", str(tmp_path / "figures")]) == 0
    assert "no figures" in capsys.readouterr().out


def test_cells_of_an_installed_dataset(tmp_path, capsys):
    dataset = find_dataset(PBMC)
    sha256 = Cells(dataset, dataset.load()).sha256
    measured = result(dataset=PBMC, sha256=sha256, arrays={"embed": "0" * 64})
    run, out = write_report(report(measured), tmp_path / "run.json"), tmp_path / "cells.h5ad"
    assert main(["export", str(run), "--format", "h5ad", "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "the embedding of mine: 000000000000 is not in the store" in said
    assert f"the store is {Store().folder}" in said
    assert "SCFM_EVAL_CACHE" in said
    assert not out.exists()


def test_cells_are_written_with_the_embeddings_that_are_there(tmp_path, capsys, monkeypatch):
    dataset, key = find_dataset(PBMC), key_of(of="a test")
    cells = Cells(dataset, dataset.load())
    monkeypatch.setattr("scfm_eval.store.cache_folder", lambda: tmp_path)
    Store().get(key, lambda: ([np.ones((700, 2), dtype=np.float32)], {"seconds": {}}))
    known = {"dataset": PBMC, "sha256": cells.sha256}
    measured = [result(arrays={"embed": key}, **known), result("gone", arrays={"embed": "0" * 64}, **known)]
    run, out = write_report(report(*measured), tmp_path / "run.json"), tmp_path / "cells.h5ad"
    assert main(["export", str(run), "--format", "h5ad", "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith("missing: the embedding of gone: 000000000000 is not in the store")
    made = anndata.read_h5ad(out)
    assert made.obsm["mine"].shape == (700, 2)
    assert made.uns["scfm_eval"]["embedded"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--format", "h5ad"], "arrays or predictions of no dataset"),
        (["--format", "h5ad", "--dataset", PBMC], "the report has no dataset"),
        (["--format", "h5ad", "--dataset", "nowhere"], "no dataset of that name"),
        (["--format", "md", "--dataset", PBMC], "--dataset is for h5ad only"),
        (["--format", "png", "--what", "scores"], "--what is for csv only"),
    ],
)
def test_what_cannot_be_found_or_used_is_refused(run, tmp_path, capsys, arguments, why):
    assert main(["export", str(run), "-o", str(tmp_path / "x"), *arguments]) == 2
    assert why in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused(run, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["export", str(run), "--format", "csv", "-o", str(tmp_path / "file")]) == 2
    assert "name a file in a folder that can be written to" in capsys.readouterr().err

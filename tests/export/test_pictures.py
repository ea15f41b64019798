"""Figures: one file and one description each, several reports in folders of their own."""

from __future__ import annotations

import pytest

from scfm_eval.charts import Figure
from scfm_eval.export import pictures
from tests.export.made import EMPTY, report, result


@pytest.fixture
def two_figures(monkeypatch):
    made = [
        Figure(name=name, task="", title=f"{name} title", alt="what is seen.", chart=None, choices="A dropdown.")
        for name in ("one", "two")
    ]
    monkeypatch.setattr(pictures, "figures", lambda report: made if report.results else [])
    monkeypatch.setattr(pictures, "drawn", lambda figure, kind: f"{figure.name} as {kind}".encode())


@pytest.mark.usefixtures("two_figures")
def test_every_figure_is_drawn_with_its_description(tmp_path):
    files = pictures.write_figures({"a": report(result())}, tmp_path / "out", format="svg")
    assert [file.name for file in files] == ["one.svg", "two.svg"]
    assert files[0].read_bytes() == b"one as svg"
    assert files[1].with_suffix(".txt").read_text() == "two title\nwhat is seen.\n"


@pytest.mark.usefixtures("two_figures")
def test_several_reports_have_a_folder_each_inside_the_one_given(tmp_path):
    files = pictures.write_figures({"../up": report(result()), "../../up": report(result())}, tmp_path, format="png")
    assert [file.parent.name for file in files] == ["1-up", "1-up", "2-up", "2-up"]
    assert {file.parent.parent for file in files} == {tmp_path}


def test_an_empty_report_has_no_figures(tmp_path):
    assert pictures.write_figures({"a": EMPTY}, tmp_path, format="png") == []


def test_a_real_figure_is_a_picture(tmp_path):
    models = report(result("mine"), result("pca", role="baseline"))
    files = pictures.write_figures({"a": models}, tmp_path, format="png")
    assert files
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)

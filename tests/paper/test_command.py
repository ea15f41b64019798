"""``scfm-eval report``: formats, refusals, and the command that it prints."""

import hashlib

import pytest

from scfm_eval.__main__ import main
from scfm_eval.report import write_report
from tests.paper.given import HOSTILE, report, result, verdict


@pytest.fixture
def small(tmp_path):
    return write_report(report([result(), result("pca", 0.3, role="baseline")], [verdict()]), tmp_path / "run one.json")


@pytest.mark.parametrize(("name", "begins"), [("p.pdf", b"%PDF"), ("p.html", b"<!doctype html>"), ("p.md", b"# Bench")])
def test_the_ending_says_the_format(small, tmp_path, name, begins):
    output = tmp_path / "new folder" / name
    assert main(["report", str(small), "-o", str(output)]) == 0
    assert output.read_bytes().startswith(begins)


def test_the_format_may_be_named(small, tmp_path):
    assert main(["report", str(small), "--format", "html", "-o", str(tmp_path / "paper.txt")]) == 0
    assert (tmp_path / "paper.txt").read_text().startswith("<!doctype html>")


def test_the_document_says_how_it_is_made_again_and_from_what(small, tmp_path):
    assert main(["report", str(small), "-o", str(tmp_path / "p.md")]) == 0
    text = (tmp_path / "p.md").read_text()
    assert f"{hashlib.sha256(small.read_bytes()).hexdigest()}  run one.json" in text
    assert "scfm-eval report 'run one.json' --format md -o p.md" in text
    assert str(tmp_path) not in text


def test_markdown_has_its_figures_beside_it(small, tmp_path):
    assert main(["report", str(small), "-o", str(tmp_path / "p.md")]) == 0
    figures = sorted((tmp_path / "p_figures").glob("*.svg"))
    assert figures
    assert all(f"(p_figures/{figure.name})" in (tmp_path / "p.md").read_text() for figure in figures)


@pytest.mark.parametrize("suffix", ["pdf", "html", "md"])
@pytest.mark.parametrize("given", ["empty", "errors", "hostile"])
def test_bad_reports_make_a_document(tmp_path, suffix, given):
    reports = {
        "empty": report(),
        "errors": report(verdicts=[verdict("error", comparisons=[], model=None, dataset=None)]),
        "hostile": report(
            [result(text, task=HOSTILE[3], dataset=HOSTILE[2], notes=[text]) for text in HOSTILE],
            [verdict("skipped", claim=text, model=text, reason=text) for text in HOSTILE],
            command=list(HOSTILE),
            environment={text: text for text in HOSTILE},
        ),
    }
    path = write_report(reports[given], tmp_path / "r.json")
    assert main(["report", str(path), "-o", str(tmp_path / f"p.{suffix}")]) == 0
    assert (tmp_path / f"p.{suffix}").stat().st_size > 500


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{small}", "-o", "p.docx"], "no format that ends so"),
        (["{small}", "-o", "{small}", "--format", "md"], "it is one of the reports that are read"),
        (["nothing.json", "-o", "p.md"], "No such file"),
        (["{small}", "-o", "{small}/p.md"], "name a file in a folder that can be written to"),
        (["{small}", "-o", "{folder}", "--format", "html"], "name a file in a folder that can be written to"),
    ],
)
def test_refusals_say_what_to_do(small, tmp_path, capsys, arguments, said):
    filled = [argument.format(small=small, folder=tmp_path) for argument in arguments]
    assert main(["report", *filled]) == 2
    assert said in capsys.readouterr().err

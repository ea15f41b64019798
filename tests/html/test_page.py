"""The file: escaped, self-contained, whole for whatever a report holds."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from scfm_eval.__main__ import main
from scfm_eval.html.page import page, write_page
from scfm_eval.report import write_report
from tests.html import reports


class Elements(HTMLParser):
    """Collects elements, headings and ids."""

    def __init__(self, text):
        super().__init__()
        self.started, self.ids, self.targets = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.started.append((tag, known))
        if "id" in known:
            self.ids.append(known["id"])
        if tag == "a":
            self.targets.append(known["href"])

    def all(self, tag):
        return [known for found, known in self.started if found == tag]


@pytest.fixture(scope="module")
def hostile():
    return page([reports.hostile()])


def test_strangers_text_is_text(hostile):
    found = Elements(hostile)
    assert {script.get("type") for script in found.all("script")} <= {"application/json", "importmap", "module"}
    assert not found.all("img")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile
    assert "{{7*7}}" in hostile
    assert reports.HOSTILE not in hostile


def test_nothing_is_loaded(hostile):
    found = Elements(hostile)
    assert not found.all("link")
    assert not [known for _, known in found.started if "src" in known]
    policy = next(known["content"] for known in found.all("meta") if "Content-Security-Policy" in known.values())
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_ids_are_unique_and_links_lead_somewhere():
    found = Elements(page([reports.small(), reports.small()]))
    assert len(found.ids) == len(set(found.ids))
    assert {target.removeprefix("#") for target in found.targets} <= set(found.ids)


def test_headings_are_in_order(hostile):
    levels = [int(tag[1]) for tag, _ in Elements(hostile).started if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_figures_and_tables_have_descriptions():
    found = Elements(page([reports.small()]))
    described = [known for _, known in found.started if known.get("data-kind") == "chart"]
    assert described
    assert all(known["aria-label"] and known["role"] == "img" for known in described)
    assert all(known["aria-label"] for known in found.all("table"))


def test_each_report_is_told_from_the_others():
    other = reports.small().model_copy(update={"created": "2027-09-09T00:00:00+00:00", "interrupted": True})
    text = page([reports.small(), other])
    assert "2026-01-02 03:04:05 UTC" in text
    assert "2027-09-09 00:00:00 UTC" in text
    assert text.count("abc123, with changes") == 2
    assert text.count("was stopped before its end") == 1


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ([], "There is no report to show"),
        ([reports.report()], "No model was compared with a baseline"),
        ([reports.report(environment={})], "not known"),
        ([reports.report(verdicts=[reports.verdict("error", reason="torn weights")])], "torn weights"),
        ([reports.report(verdicts=[reports.verdict("error", model=None, dataset=None)])], "no reason is given"),
    ],
)
def test_what_is_empty_or_broken_is_said(shown, said):
    assert said in page(shown)


def test_null_and_nan_everywhere_make_a_page():
    nothing = reports.score(None)
    broken = reports.score(math.nan).model_copy(update={"low": math.nan, "high": None, "chance": math.nan})
    found = reports.report(
        reports.result("mine", "model", nothing),
        reports.result("nan", "model", broken),
        reports.result("none", "baseline", nothing, headline=[], scores={}, seconds={"forward": math.nan}),
        verdicts=[reports.verdict("failed", made=[reports.comparison(math.nan, math.nan, math.nan)])],
    )
    assert "NaN" not in re.sub(r"data:text/javascript;base64,[\w+/=]*", "", page([found])).partition("<body>")[2]


def test_the_command_writes_the_page_and_names_it(tmp_path, capsys):
    path = write_report(reports.small(), tmp_path / "report.json")
    assert main(["html", str(path), "-o", str(tmp_path / "made" / "page.html")]) == 0
    assert (tmp_path / "made" / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "page.html" in capsys.readouterr().out


def test_the_command_refuses_a_place_that_cannot_be_written(tmp_path, capsys):
    path = write_report(reports.small(), tmp_path / "report.json")
    assert main(["html", str(path), "-o", str(tmp_path)]) == 2
    assert "name a file in a folder that can be written to" in capsys.readouterr().err


def test_a_page_is_written_where_it_was_asked(tmp_path):
    assert write_page([reports.report()], tmp_path / "page.html") == tmp_path / "page.html"


def test_a_failure_is_seen_before_the_leaderboard_and_is_text():
    made = reports.result("mine", "model", reports.score(None), failure=reports.HOSTILE)
    shown = page([reports.report(made)])
    assert shown.index("Models that gave no answer") < shown.index(">Leaderboard</h3>")
    assert reports.HOSTILE not in shown
    assert "Models that gave no answer" not in page([reports.small()])

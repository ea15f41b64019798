"""Markdown and LaTeX: what is printed, that strangers' text does nothing, that empty reports say so."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scfm_eval.escape import latex, markdown
from scfm_eval.export.latex import as_latex
from scfm_eval.export.markdown import as_markdown
from tests.export.made import EMPTY, ERRORS, NASTY, UNDEFINED, report, result, verdict

NASTY_REPORT = report(
    result(NASTY, dataset=NASTY, scores={NASTY: UNDEFINED}),
    result("pca", dataset=NASTY, role="baseline"),
    verdicts=[verdict(model=NASTY, reason=NASTY)],
)


def rendered(text):
    return MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(text)


def test_a_table_in_markdown():
    page = as_markdown(
        {"run.json": report(result("mine"), result("my_pca", role="baseline", scores={"f1": UNDEFINED}))}
    )
    assert "## annotation\n\n### cells\n\n| model | macro_f1 | f1 |\n| --- | --- | --- |\n" in page
    assert "| mine | 0.500 \\[0.400, 0.600\\] | – |\n| my_pca (baseline) | – | undefined |" in page
    assert "- f1 of my_pca is undefined: one batch only" in page


def test_the_best_is_bold():
    best = rendered(as_markdown({"r": report(result("a"), result("b", scores={"macro_f1": UNDEFINED}), result("c"))}))
    assert best.count("<strong>0.500 [0.400, 0.600]</strong>") == 2


def test_the_names_of_strangers_do_nothing_in_markdown():
    page = rendered(as_markdown({NASTY: NASTY_REPORT}))
    assert "<script" not in page
    assert not set(re.findall(r"<(\w+)", page)) - {
        "h1",
        "h2",
        "h3",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
    }
    widths = {row.count("<td") + row.count("<th") - row.count("<thead") for row in page.split("<tr>")[1:]}
    assert widths == {3, 6}


def shown_in(page, tag):
    """What a reader sees in the first such element, without the space of no width that follows an at sign."""
    return unescape(page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]).replace("@\u200b", "@")


def plain(text):
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@given(st.text())
@example("1. x")
@example("12) x")
@example("- x")
@example("--")
@example("a_b _c_ __d__")
@example("see http://evil.org, www.evil.org and @octocat #1")
def test_escaped_markdown_prints_the_text_itself_in_a_cell_and_alone(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    cell = parser.render(f"| x |\n| - |\n| {markdown(text)} |\n")
    assert shown_in(cell, "td") == plain(text)
    assert parser.render(markdown(text)).count("<") == (2 if plain(text) else 0)
    assert not plain(text) or shown_in(parser.render(markdown(text)), "p") == plain(text)


@pytest.mark.parametrize(
    "text", ["http://evil.org", "HTTPS://evil", "ftp://evil", "www.evil.org", "WWW.evil", "@octocat"]
)
def test_addresses_and_mentions_are_broken_for_github(text):
    assert not re.search(r"(https?|ftp)://|www\.|@\w", markdown(f"a {text}"), re.IGNORECASE)


@given(st.text())
def test_escaped_latex_has_no_free_special_character(text):
    made = re.sub(r"\\text\w+\{\}|\$(-|\\pm|\\downarrow)\$|\\[&%$#_{}]", "", latex(text)).removeprefix("{}")
    assert not set(made) & set("\\&%$#_{}~^<>\n")
    assert not latex(text).startswith(("[", "*"))


def test_a_table_in_latex():
    page = as_latex({"run.json": report(result("a_b"), result("pca", role="baseline", scores={"macro_f1": UNDEFINED}))})
    assert "\\begin{tabular}{ll}\n\\toprule\n & macro\\_f1 \\\\\n\\midrule\n" in page
    assert "a\\_b & 0.500 [0.400, 0.600] \\\\\npca (baseline) & undefined \\\\\n\\bottomrule" in page
    assert "\\label{tab:run-json-annotation-cells}" in page
    assert "% macro\\_f1 of pca is undefined: one batch only" in page
    assert "\\textbf{" in as_latex({"r": report(result("a"), result("b"))})


def test_the_names_of_strangers_do_nothing_in_latex():
    page = as_latex({NASTY: NASTY_REPORT, "a|b": NASTY_REPORT})
    depth = 0
    for line in page.splitlines():
        body = re.sub(r"\\[{}]", "", "" if line.startswith("%") else line)
        depth += body.count("{") - body.count("}")
        assert depth == 0
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", page) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    labels = re.findall(r"\\label{([^}]*)}", page)
    assert len(labels) == len(set(labels)) == 4
    assert all(re.fullmatch(r"tab:[a-z0-9-]+", label) for label in labels)


@pytest.mark.parametrize("write", [as_markdown, as_latex])
def test_reports_without_results_say_so(write):
    assert re.search(r"[Nn]o scores.*nothing was measured", write({"run": EMPTY}))
    assert re.search(r"[Nn]o claims", write({"run": EMPTY}))
    assert "torn weights" in write({"run": ERRORS})


def test_what_cards_say_of_models_is_told_where_they_say_it():
    one = result()
    stated = {"definition": NASTY, "options": {"layer": -1}}
    made = {"r": report(one.model_copy(update={"model": one.model.model_copy(update=stated)}))}
    page = as_markdown(made)
    assert "## Models\n\n- mine: not with its defaults: layer = -1\n- mine: " in page
    assert "<script" not in rendered(page)
    assert "% mine: not with its defaults: layer = -1" in as_latex(made)
    assert "## Models" not in as_markdown({"r": report(one)})

"""Markdown and LaTeX: what is printed, that strangers' text does nothing, that empty reports say so."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
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
    assert "## annotation\n\n### cells\n\n| model | macro\\_f1 | f1 |\n| --- | --- | --- |\n" in page
    assert "| mine | 0.500 \\[0.400, 0.600\\] | – |\n| my\\_pca (baseline) | – | undefined |" in page
    assert "- f1 of my\\_pca is undefined: one batch only" in page


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


@given(st.text())
def test_escaped_markdown_prints_the_text_itself(text):
    page = MarkdownIt("commonmark").enable("table").render(f"| x |\n| - |\n| a{markdown(text)}b |\n")
    shown = page.split("<td>")[1].split("</td>")[0]
    for code, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(code, letter)
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert shown == f"a{plain}b"


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

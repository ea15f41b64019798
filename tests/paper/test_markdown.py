"""Markdown, read back by a parser: strangers' text is text, and figures lie beside it."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scfm_eval.paper import markdown
from scfm_eval.paper.document import Cell, Code, Document, Heading, Paragraph, entries, plain, table
from tests.paper.given import HOSTILE, full
from tests.paper.test_contents import made

_INLINE = {"text", "softbreak", "text_special", "link_open", "link_close", "strong_open", "strong_close"}


def parse(text):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def read(tokens):
    """The text that a reader sees, one entry per paragraph, cell or heading."""
    inline = ("".join(child.content for child in token.children) for token in tokens if token.type == "inline")
    return [text.replace("@\u200b", "@") for text in inline]


def kinds(tokens):
    return {child.type for token in tokens if token.type == "inline" for child in token.children}


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_shown_letter_by_letter(text):
    document = Document("t", "", (Heading(text), Paragraph(text), entries([text]), table(text, [text], [[text]])))
    tokens = parse(markdown.written(document, folder="f")[0])
    expected = [plain(text)] * 3 + [f"Table 1. {plain(text)}"] + [plain(text)] * 2
    assert read(tokens)[2:] == expected
    assert kinds(tokens) <= _INLINE | {"em_open", "em_close"}
    assert not {"html_block", "fence", "hr", "code_block"} & {token.type for token in tokens}


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
@example(text="a * b")
@example(text="\\")
@example(text="@octocat and www.x and http://x")
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_back(text):
    shown = plain(text)
    tokens = parse(f"x {markdown.escaped(text)}")
    assert read(tokens) == [f"x {shown}".strip()]


def test_bold_stands_in_cells():
    document = Document("t", "", (table("c", ["a"], [[Cell("0.5 [0.4, 0.6]", bold=True)]]),))
    tokens = parse(markdown.written(document, folder="f")[0])
    assert "strong_open" in kinds([token for token in tokens if token.type == "inline"][-1:])


def test_code_with_fences_stays_code():
    text = "a\n```\n# b  c"
    tokens = parse(markdown.written(Document("t", "", (Code(text),)), folder="f")[0])
    assert [token.content for token in tokens if token.type == "fence"] == [f"{text}\n"]


def test_figures_lie_in_the_folder_that_the_text_names():
    text, files = markdown.written(made(full()), folder="my paper (1)_figures")
    images = [
        child.attrs["src"]
        for token in parse(text)
        if token.type == "inline"
        for child in token.children
        if child.type == "image"
    ]
    assert images
    assert [re.sub("%20", " ", image).replace("%28", "(").replace("%29", ")") for image in images] == list(files)
    assert all(content.startswith(b"<svg") for content in files.values())

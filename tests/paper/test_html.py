"""The HTML page: escaped, alone, and complete."""

from html.parser import HTMLParser

import pytest

from scfm_eval.paper import html
from scfm_eval.paper.document import Code, Document, Heading, Paragraph, Picture, entries, plain, table
from tests.paper.given import HOSTILE, full
from tests.paper.test_contents import made


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.text.append(data)

    @property
    def seen(self):
        return "".join(self.text)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(html.written(made(full())))


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_shown_letter_by_letter(text):
    blocks = (Heading(text), Paragraph(text), Code(text), entries([text]), table(text, [text], [[text, text]]))
    page = Page(html.written(Document(text, text, blocks)))
    assert page.seen.count(plain(text)) == 3 + 2 + 2 + 1 + 3
    assert not {"script", "b", "i"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_the_page_needs_nothing_else(page):
    sources = [value for _, name, value in page.attributes if name in ("src", "srcset")]
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    links = [value for tag, name, value in page.attributes if name == "href"]
    assert all(link.startswith("https://doi.org/10.") for link in links)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_figures_have_a_text_and_tables_a_name(page):
    document = made(full())
    captions = [block.figure.alt for block in document.blocks if isinstance(block, Picture)]
    assert captions
    assert all(plain(caption) in page.seen for caption in captions)
    assert len([1 for tag, name, value in page.attributes if (tag, name) == ("img", "alt") and value]) == len(captions)
    named = {value for tag, name, value in page.attributes if (tag, name) == ("table", "aria-labelledby")}
    assert named <= {value for tag, name, value in page.attributes if (tag, name) == ("p", "id")}


def test_code_keeps_its_lines_and_spaces():
    page = Page(html.written(Document("t", "", (Code("ab  x\n<b>\x1b"),))))
    assert "ab  x\n<b>\ufffd" in page.seen

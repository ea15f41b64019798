"""The PDF, read back: text, title, bookmarks, headers; equal documents give equal bytes."""

import sys

import pypdfium2
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.paper import pdf
from scfm_eval.paper.document import Code, Document, Heading, Paragraph, entries, plain, table
from tests.paper.given import HOSTILE, full
from tests.paper.test_contents import made

_CREATED = "2026-01-02T03:04:05+00:00"


class Read:
    """A PDF with the text of its pages, without the places where words may be broken."""

    def __init__(self, document):
        self.bytes = pdf.written(document)
        with pypdfium2.PdfDocument(self.bytes) as opened:
            self.title = opened.get_metadata_value("Title")
            self.bookmarks = [entry.get_title() for entry in opened.get_toc()]
            self.pages = [page.get_textpage().get_text_bounded().replace("\u200b", "") for page in opened]

    @property
    def words(self):
        return "".join("".join(self.pages).split())


@pytest.fixture(scope="module")
def whole() -> Read:
    return Read(made(full()))


def test_it_has_a_title_bookmarks_and_page_numbers(whole):
    assert whole.title == "Benchmark of mine and yours on cells"
    assert {"Summary", "Results", "annotation", "Limits", "References"} <= set(whole.bookmarks)
    assert len(whole.pages) > 3
    for number, page in enumerate(whole.pages, start=1):
        assert f"{number} / {len(whole.pages)}" in page


def test_numbers_and_captions_are_in_it(whole):
    assert "0.800[0.781,0.819]" in whole.words
    assert "Figure1." in whole.words
    assert "surelyaheadofhvg(annotation,landscape)" in whole.words


def test_equal_documents_give_equal_bytes(whole):
    assert Read(made(full())).bytes == whole.bytes


def test_markup_is_shown_letter_by_letter():
    blocks = [
        block
        for text in HOSTILE
        for block in (Heading(text), Paragraph(text), Code(text), entries([text]), table(text, [text], [[text]]))
    ]
    read = Read(Document(HOSTILE[0], _CREATED, tuple(blocks)))
    assert read.title == HOSTILE[0]
    for text in HOSTILE:
        # a text may be broken at the end of a line, and 细胞 needs a font that the machine may lack
        shown = "".join(plain(text).replace("细胞", "").split())
        assert read.words.count(shown) >= 5, text


def test_heads_are_repeated_on_each_page():
    long = table("Long.", ["name of the row", "value"], [[f"row{place}", "1"] for place in range(200)])
    read = Read(Document("t", _CREATED, (long,)))
    rows = [page for page in read.pages if "row" in page.replace("name of the row", "")]
    assert len(rows) > 2
    assert all("name of the row" in page for page in rows)


def test_what_is_too_wide_goes_on_below_with_the_names_of_its_rows():
    heads = ["key", *(f"a_very_long_name_of_a_score_{place}" for place in range(12))]
    wide = table("Wide.", heads, [["first", *(f"0.{place:03} [0.100, 0.200]" for place in range(12))]])
    read = Read(Document("t", _CREATED, (wide,)))
    for place in range(12):
        assert f"a_very_long_name_of_a_score_{place}" in read.words
        assert f"0.{place:03}[0.100,0.200]" in read.words
    assert read.words.count("first") == read.words.count("Table1.") > 1


@pytest.mark.parametrize("long", ["x" * 300, "name_" * 60, "a b " * 200])
def test_long_names_stay_on_the_page(long):
    made = pdf.written(Document("t", _CREATED, (table("c", ["n", "m"], [[long, long]]),)))
    with pypdfium2.PdfDocument(made) as opened:
        width = opened[0].get_width()
        rights = [piece.get_bounds()[2] for page in opened for piece in page.get_objects()]
    assert max(rights) <= width


def test_a_date_that_is_none_is_no_obstacle():
    assert pdf.written(Document("t", "yesterday", ())).startswith(b"%PDF")


def test_without_typst_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(InvalidInputError, match="pip install typst, or ask for md or html"):
        pdf.written(Document("t", _CREATED, ()))
